"""Two towers as ONNX files whose answers are checked against them.

The picture's tower is traced once, with all its outputs; each output becomes a graph of its own, and all of them read
one file of weights.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from torch import Tensor, nn

from cxrzero.convert.graphs import MAX_INSIDE, move_weights, part_of, size_of, take_in_constants, undocument
from cxrzero.convert.towers import Towers
from cxrzero.errors import ImportModelError, InexactExportError
from cxrzero.model.model_json import IMAGE_ENCODER, PATCH_ENCODER, TEXT_ENCODER
from cxrzero.model.weights import IMAGE_WEIGHTS, TEXT_WEIGHTS

OPSET = 17
MIN_COSINE = 0.99999  # between an exported embedding and the model's own
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

    Writes `image_encoder.onnx`, where the architecture has patches `patch_encoder.onnx`, their `image_weights.bin`,
    `text_encoder.onnx`, and `text_weights.bin` where that needs it; see docs/models.md.

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
        ImportModelError: a tower cannot be traced.
        OSError: a file cannot be written.
    """
    graphs = {"image_embeds": folder / IMAGE_ENCODER}
    if towers.has_patches:
        graphs["patch_embeds"] = folder / PATCH_ENCODER
    axes = {name: {0: "N"} for name in ("pixel_values", *graphs)}
    write_tower(towers.image, {"pixel_values": pixels}, axes, graphs, storage, folder / IMAGE_WEIGHTS)
    text_encoder = folder / TEXT_ENCODER
    axes = {"input_ids": {0: "N", 1: "L"} if any_length else {0: "N"}, "text_embeds": {0: "N"}}
    texts, weights = {"text_embeds": text_encoder}, folder / TEXT_WEIGHTS
    write_tower(towers.text, {"input_ids": ids}, axes, texts, storage, weights, only_if_needed=True)

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


def write_tower(
    tower: nn.Module,
    examples: Mapping[str, Tensor],
    axes: Mapping[str, Mapping[int, str]],
    graphs: Mapping[str, Path],
    storage: Storage,
    weights: Path | None,
    *,
    only_if_needed: bool = False,
) -> None:
    """Trace a tower and write a graph for each of its outputs. Of its numbers one tensor at a time is in memory.

    Args:
        examples, axes: see `trace`.
        graphs: output → file, all in one folder.
        storage: see `export_onnx`.
        weights: file for its larger numbers; None has them in the graph.
        only_if_needed: numbers that fit into the graph stay there.

    Raises:
        ImportModelError: it cannot be traced, or its numbers fit nowhere.
        OSError: a file cannot be written.
    """
    folder = next(iter(graphs.values())).parent
    with tempfile.TemporaryDirectory(dir=folder) as work:  # not where temporary files are memory
        model = trace(tower, examples, axes, Path(work))
        store(model, storage, Path(work))
        if weights is not None and (not only_if_needed or size_of(model) > MAX_INSIDE):
            move_weights(model.graph, weights, partial(numpy_helper.to_array, base_dir=work))
        else:
            take_in(model, Path(work), f"the tower behind {next(iter(graphs))}")
    for output, path in graphs.items():
        write(part_of(model, output) if len(graphs) > 1 else model, path)


def trace(
    tower: nn.Module, examples: Mapping[str, Tensor], axes: Mapping[str, Mapping[int, str]], work: Path
) -> onnx.ModelProto:
    """Run a tower on examples and note down what it does, as a graph.

    Args:
        examples: input → what it is given, in the order of the module's arguments.
        axes: input or output → its axes that are free, each with its name; the outputs in the order of the module's.
        work: an empty folder. Where all numbers are more than a protobuf can hold, they are left in files there.

    Raises:
        ImportModelError: it does what ONNX has no operator for.
    """
    outputs = [name for name in axes if name not in examples]
    file = work / "encoder.onnx"
    with warnings.catch_warnings(), torch.no_grad():
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
    model = onnx.load(file, load_external_data=False)
    take_in_constants(model.graph, work)
    return model


def store(model: onnx.ModelProto, storage: Storage, work: Path) -> None:
    """Store float32 matrices as float16 behind a Cast; vectors (norms, biases) are small and stay as they are."""
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        values = numpy_helper.to_array(tensor, str(work))
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
    undocument(model)


def take_in(model: onnx.ModelProto, work: Path, what: str) -> None:
    """Put all numbers into the graph.

    Raises:
        ImportModelError: they do not fit.
    """
    size = size_of(model)
    if size > MAX_INSIDE:
        raise ImportModelError(f"{what} has {size:,} bytes of numbers, and one ONNX file holds 2 GiB")
    onnx.external_data_helper.load_external_data_for_model(model, str(work))


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
