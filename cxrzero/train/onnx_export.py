"""A trained model as two ONNX files whose answers are checked against it."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from open_clip.model import CustomTextCLIP
from torch import Tensor, nn
from torch.nn import functional

from cxrzero.errors import TrainingError
from cxrzero.train.vocabulary import END_ID, START_ID

OPSET = 17
LEAST_COSINE = 0.99999  # between an exported embedding and the trained model's


@dataclass(frozen=True)
class ExportedModel:
    """Both encoders, serialised.

    Attributes:
        image_encoder: `pixel_values` (N,3,H,W) float32 → `image_embeds` (N,D) and perhaps `patch_embeds` (N,h,w,D).
        text_encoder: `input_ids` (N,L) int64 → `text_embeds` (N,D).
        patch_grid: (h, w), or None where the architecture has no patches in the space of the texts.
    """

    image_encoder: bytes
    text_encoder: bytes
    patch_grid: tuple[int, int] | None


class _ImageTower(nn.Module):
    def __init__(self, model: CustomTextCLIP) -> None:
        super().__init__()
        self.visual = model.visual

    def forward(self, pixel_values: Tensor) -> Tensor:
        return functional.normalize(self.visual(pixel_values), dim=-1)


class _PatchTower(nn.Module):
    """The same numbers in another order: pooling and projection are linear, so each place can be projected first."""

    def __init__(self, model: CustomTextCLIP) -> None:
        super().__init__()
        self.trunk, self.head = model.visual.trunk, model.visual.head

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        patches = self.head(self.trunk.forward_features(pixel_values).permute(0, 2, 3, 1))
        return functional.normalize(patches.mean(dim=(1, 2)), dim=-1), functional.normalize(patches, dim=-1)


class _TextTower(nn.Module):
    def __init__(self, model: CustomTextCLIP) -> None:
        super().__init__()
        self.text = model.text

    def forward(self, input_ids: Tensor) -> Tensor:
        return functional.normalize(self.text(input_ids), dim=-1)


def export_onnx(
    model: CustomTextCLIP, vision_cfg: dict[str, object], image_size: int, context_length: int
) -> ExportedModel:
    """Trace both towers, store their matrices as float16 (computation stays float32) and check what comes out.

    Args:
        model: in evaluation mode, float32.
        vision_cfg: of its architecture; average pooling with a linear projection gives patch embeddings.

    Raises:
        TrainingError: an exported embedding's cosine with the model's is below LEAST_COSINE.
    """
    model = model.to(memory_format=torch.contiguous_format)
    pixels = torch.rand(3, 3, image_size, image_size, generator=torch.Generator().manual_seed(0)) * 4 - 2
    with_patches = vision_cfg.get("timm_pool") == "avg" and vision_cfg.get("timm_proj") == "linear"
    image_tower: nn.Module = _PatchTower(model) if with_patches else _ImageTower(model)
    outputs = ["image_embeds", "patch_embeds"] if with_patches else ["image_embeds"]
    image_encoder = _halve(_trace(image_tower, pixels, "pixel_values", outputs, {0: "N"}))
    text_tower = _TextTower(model)
    ids = _example_ids(context_length, model.vocab_size)
    causal = model.text.attn_mask is not None  # such a tower reads its whole context only
    text_axes = {0: "N"} if causal else {0: "N", 1: "L"}
    text_encoder = _halve(_trace(text_tower, ids, "input_ids", ["text_embeds"], text_axes))

    for batch in (pixels, pixels[:1]):
        # The plain tower, not the re-ordered one, is what was trained.
        _compare(image_encoder, "image_embeds", _ImageTower(model), batch)
    for batch in (ids, ids[:1, : context_length if causal else context_length // 2]):
        _compare(text_encoder, "text_embeds", text_tower, batch)
    grid = None
    if with_patches:
        shape = _answer(image_encoder, "patch_embeds", pixels[:1]).shape
        grid = (int(shape[1]), int(shape[2]))
    return ExportedModel(image_encoder, text_encoder, grid)


def _example_ids(context_length: int, vocab_size: int) -> Tensor:
    """(4, context_length) token ids of different lengths, framed and padded like a tokenizer's."""
    ids = torch.zeros(4, context_length, dtype=torch.int64)
    words = torch.randint(3, vocab_size, (4, context_length), generator=torch.Generator().manual_seed(0))
    for row, length in enumerate((3, context_length // 3, context_length // 2, context_length)):
        ids[row, :length] = words[row, :length]
        ids[row, 0], ids[row, length - 1] = START_ID, END_ID
    return ids


def _trace(tower: nn.Module, example: Tensor, name: str, outputs: list[str], axes: dict[int, str]) -> onnx.ModelProto:
    with warnings.catch_warnings(), _plain_attention(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "encoder.onnx"
        # The tracing exporter is deprecated, but the new one needs onnxscript; it also warns of every traced shape.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            tower.eval(),
            (example,),
            file,
            input_names=[name],
            output_names=outputs,
            dynamic_axes={name: axes} | {output: {0: "N"} for output in outputs},
            opset_version=OPSET,
            dynamo=False,
        )
        return onnx.load(file)


@contextmanager
def _plain_attention() -> Iterator[None]:
    """torch's fused attention for inference has no counterpart in ONNX."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _halve(model: onnx.ModelProto) -> bytes:
    """Store float32 matrices as float16 behind a Cast; vectors (norms, biases) are small and stay as they are."""
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) >= 2:
            halved = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{tensor.name}_fp16")
            casts.append(helper.make_node("Cast", [halved.name], [tensor.name], to=TensorProto.FLOAT))
            tensor.CopyFrom(halved)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    model.doc_string = ""
    for node in graph.node:
        node.doc_string = ""  # the exporter writes source paths of this machine here
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _answer(encoder: bytes, output: str, batch: Tensor) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(encoder, providers=["CPUExecutionProvider"])
    result: npt.NDArray[np.float32] = session.run([output], {session.get_inputs()[0].name: batch.numpy()})[0]
    return result


@torch.no_grad()
def _compare(encoder: bytes, output: str, tower: nn.Module, batch: Tensor) -> None:
    expected = tower.eval()(batch).numpy()
    cosine = float((expected * _answer(encoder, output, batch)).sum(axis=-1).min())
    if not cosine >= LEAST_COSINE:
        raise TrainingError(
            f"the exported {output} differ from the trained model's (cosine {cosine:.6f}, at least {LEAST_COSINE} "
            "is needed); nothing was written"
        )
