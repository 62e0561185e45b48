"""Two towers as ONNX files whose answers are checked against them.

The picture's tower is traced once, with all its outputs; each output becomes a graph of its own, and all of them read
one file of weights.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from google.protobuf.message import Message
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from torch import Tensor, nn

from cxrzero.convert.towers import Towers
from cxrzero.errors import ImportModelError, InexactExportError
from cxrzero.model.model_json import IMAGE_ENCODER, PATCH_ENCODER, TEXT_ENCODER
from cxrzero.model.weights import IMAGE_WEIGHTS

OPSET = 17
MIN_COSINE = 0.99999  # between an exported embedding and the model's own
# A protobuf message ends at 2^31 − 1 bytes. The weights of a picture's tower are not part of one; of a text tower they
# are, beside a graph of some megabytes.
MAX_TEXT_WEIGHTS = 2**31 - 2**24
# Bytes from which numbers go into the file of weights. Smaller ones stay in the graph: axes and shapes are read there.
STORED_FROM = 1024
ALIGNMENT = 64  # bytes, of a tensor in the file of weights; a processor's cache line
EXAMPLES = (
    "pneumonia",
    "no pleural effusion",
    "There is a small left apical pneumothorax. The cardiac silhouette is normal in size. ",
)
Storage = Literal["float32", "float16"]


@dataclass(frozen=True)
class ExportedModel:
    """What was written.

    Attributes:
        patch_grid: (h, w), or None where the architecture has no patches in the space of the texts.
        cosine: the least cosine between an exported embedding and the model's own, both towers.
    """

    patch_grid: tuple[int, int] | None
    cosine: float


def export_onnx(
    towers: Towers, pixels: Tensor, ids: Tensor, folder: Path, *, storage: Storage, any_length: bool
) -> ExportedModel:
    """Trace both towers and check what comes out against the model's own forward pass.

    Writes `image_encoder.onnx`, where the architecture has patches `patch_encoder.onnx`, their `image_weights.bin`, and
    `text_encoder.onnx`; see docs/models.md.

    Args:
        towers: in evaluation mode, float32, on the CPU.
        pixels: (N, 3, H, W) float32, at least two pictures to trace and compare with.
        ids: (M, L) int64, at least two texts.
        folder: an empty one, to write into.
        storage: "float16" stores matrices rounded to half precision; "float32" stores as float16 only what it holds
            exactly (a checkpoint kept in half precision stays its size). The encoders compute in float32 either way.
        any_length: whether the text encoder takes fewer than L tokens.

    Raises:
        InexactExportError: an exported embedding's cosine with the model's is below MIN_COSINE.
        ImportModelError: a tower cannot be traced, or the text tower is too large for one ONNX file.
        OSError: a file cannot be written.
    """
    graphs = {"image_embeds": folder / IMAGE_ENCODER}
    if towers.has_patches:
        graphs["patch_embeds"] = folder / PATCH_ENCODER
    image = trace(towers.image, {"pixel_values": pixels}, {name: {0: "N"} for name in ("pixel_values", *graphs)})
    store(image, storage)
    move_weights(image.graph, folder / IMAGE_WEIGHTS)
    for output, path in graphs.items():
        write(_part(image, output), path)
    del image
    text_encoder = folder / TEXT_ENCODER
    axes = {"input_ids": {0: "N", 1: "L"} if any_length else {0: "N"}, "text_embeds": {0: "N"}}
    text = trace(towers.text, {"input_ids": ids}, axes)
    store(text, storage)
    check_size(text, "a text tower")
    write(text, text_encoder)
    del text

    batches = [ids, ids[:1]] + ([ids[:1, : ids.shape[1] // 2]] if any_length else [])
    cosines = [_compare(folder / IMAGE_ENCODER, towers.reference, batch) for batch in (pixels, pixels[:1])]
    cosines += [_compare(text_encoder, towers.text, batch) for batch in batches]
    grid = None
    if towers.has_patches:
        shape = answer(folder / PATCH_ENCODER, pixels[:1]).shape
        grid = (int(shape[1]), int(shape[2]))
    return ExportedModel(grid, min(cosines))


def example_pixels(image_size: tuple[int, int]) -> Tensor:
    """(3, 3, H, W) float32 noise over the range of normalised pictures."""
    return torch.rand(3, 3, *image_size, generator=torch.Generator().manual_seed(0)) * 4 - 2


def example_ids(tokenizer: Tokenizer, context_length: int, pad_id: int) -> Tensor:
    """(M, context_length) int64: sentences short and long, one as long as fits, and the same with random words."""
    room = context_length
    encodings = [tokenizer.encode(text).ids[:room] for text in EXAMPLES]
    long = tokenizer.encode(EXAMPLES[-1] * room).ids
    encodings.append([*long[: room - 1], long[-1]])
    rows = torch.full((2 * len(encodings), context_length), pad_id, dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    pool = torch.tensor(sorted({token for ids in encodings for token in ids[1:-1]}))
    for row, ids in enumerate(encodings):
        rows[2 * row, : len(ids)] = torch.tensor(ids)
        rows[2 * row + 1] = rows[2 * row]
        inner = max(0, len(ids) - 2)
        rows[2 * row + 1, 1 : 1 + inner] = pool[torch.randint(len(pool), (inner,), generator=generator)]
    return rows


def trace(tower: nn.Module, examples: Mapping[str, Tensor], axes: Mapping[str, Mapping[int, str]]) -> onnx.ModelProto:
    """Run a tower on examples and note down what it does, as a graph that has all its numbers itself.

    Args:
        examples: input → what it is given, in the order of the module's arguments.
        axes: input or output → its axes that are free, each with its name; the outputs in the order of the module's.

    Raises:
        ImportModelError: it does what ONNX has no operator for.
    """
    outputs = [name for name in axes if name not in examples]
    with warnings.catch_warnings(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "encoder.onnx"
        # The tracing exporter is deprecated, but the new one needs onnxscript; it also warns of every traced shape.
        warnings.simplefilter("ignore")
        fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # the fused attention has no ONNX operator
        try:
            torch.onnx.export(
                tower.eval(),
                tuple(examples.values()),
                str(file),  # a path object would be taken for a stream, which ends at 2 GiB
                input_names=list(examples),
                output_names=outputs,
                dynamic_axes={name: dict(free) for name, free in axes.items()},
                opset_version=OPSET,
                dynamo=False,
            )
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            raise ImportModelError(f"the tower behind {outputs[0]} cannot be exported: {error}") from error
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
        return onnx.load(file)


def store(model: onnx.ModelProto, storage: Storage) -> None:
    """Store float32 matrices as float16 behind a Cast; vectors (norms, biases) are small and stay as they are."""
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            halved = values.astype(np.float16)
        if storage == "float32" and not np.array_equal(halved.astype(np.float32), values):
            continue
        stored = numpy_helper.from_array(halved, f"{tensor.name}_fp16")
        casts.append(helper.make_node("Cast", [stored.name], [tensor.name], to=TensorProto.FLOAT))
        tensor.CopyFrom(stored)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    _undocument(model)


def _undocument(message: Message) -> None:
    """Take out what the exporter says of where things came from: source paths of this machine, names of modules."""
    for field in {"doc_string", "metadata_props"}.intersection(message.DESCRIPTOR.fields_by_name):
        message.ClearField(field)
    for _, value in message.ListFields():
        if isinstance(value, Message):
            _undocument(value)
        elif hasattr(value, "add"):  # a repeated field of messages
            for each in value:
                _undocument(each)


def move_weights(graph: onnx.GraphProto, path: Path) -> None:
    """Write large tensors to a file, and leave in the graph where they are there."""
    with path.open("wb") as file:
        for tensor in graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.nbytes < STORED_FROM:
                continue
            file.write(bytes(-file.tell() % ALIGNMENT))
            place = {"location": path.name, "offset": file.tell(), "length": values.nbytes}
            values.astype(values.dtype.newbyteorder("<"), copy=False).tofile(file)
            moved = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            moved.data_location = TensorProto.EXTERNAL
            moved.external_data.extend(onnx.StringStringEntryProto(key=k, value=str(v)) for k, v in place.items())
            tensor.CopyFrom(moved)


def _part(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """The graph of one output: what it needs, and nothing else."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    graph = part.graph
    wanted, nodes = {output}, []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            nodes.append(node)
            wanted |= set(node.input)
    for kept, items in (
        (nodes[::-1], graph.node),
        ([each for each in graph.initializer if each.name in wanted], graph.initializer),
        ([each for each in graph.output if each.name == output], graph.output),
        ([each for each in graph.value_info if each.name in wanted], graph.value_info),
    ):
        copies = [type(each).FromString(each.SerializeToString()) for each in kept]
        del items[:]
        items.extend(copies)
    return part


def check_size(model: onnx.ModelProto, what: str) -> None:
    """Of a graph that is to have all its numbers itself."""
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if size > MAX_TEXT_WEIGHTS:
        raise ImportModelError(f"{what} of {size:,} bytes does not fit into one ONNX file (2 GiB)")


def write(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph to a file, and check that it is valid."""
    path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(str(path), full_check=True)


def answer(graph: Path, *batches: Tensor) -> npt.NDArray[np.float32]:
    """The first output of a graph for a batch of each input, in their order."""
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    inputs = {name: batch.numpy() for name, batch in zip(names, batches, strict=True)}
    result: npt.NDArray[np.float32] = session.run(None, inputs)[0]
    return result


@torch.no_grad()
def _compare(encoder: Path, tower: nn.Module, batch: Tensor) -> float:
    expected = tower.eval()(batch).numpy()
    cosine = float((expected * answer(encoder, batch)).sum(axis=-1).min())
    if not cosine >= MIN_COSINE:
        raise InexactExportError(
            f"the embeddings of {encoder.name} differ from the model's own (cosine {cosine:.6f}, at least "
            f"{MIN_COSINE} is needed); nothing was written"
        )
    return cosine
