"""A model that scores by attention as three ONNX files, whose logits together are checked against the model's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cxrzero.convert.onnx_export import answer, write_tower
from cxrzero.convert.towers import AttentionTowers
from cxrzero.errors import ImportModelError, InexactExportError
from cxrzero.model.model_json import IMAGE_ENCODER, SCORER, TEXT_ENCODER, Tokens
from cxrzero.model.weights import IMAGE_WEIGHTS, TEXT_WEIGHTS

# Of a logit, in standard deviations of the logits of a sentence over the films: what an export may change it by, and
# what may be lost by keeping tokens in half precision. That is less, and of each sentence's own deviation: on films
# that an import did not see, three times as much was measured.
MAX_DEVIATION = 0.001
MAX_ROUNDING = MAX_DEVIATION / 5
LEAST_FILMS = 8  # of which a standard deviation says something

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ExportedScorer:
    """What was written.

    Attributes:
        tokens: what the encoders give; "float16" where rounding to it moves no logit by MAX_ROUNDING.
        attention: (h, w) of the scorer's places, or None.
        deviation: the most that a logit differs from the model's own, the tokens as they are kept, in standard
            deviations over the films, those of all sentences pooled.
        rounding: the most that rounding tokens to float16 moves a logit, in standard deviations of its own sentence.
    """

    tokens: Tokens
    attention: tuple[int, int] | None
    deviation: float
    rounding: float


@torch.no_grad()
def export_attention(
    towers: AttentionTowers, pixels: Tensor, ids: Tensor, folder: Path, *, together: bool
) -> ExportedScorer:
    """Trace the three modules and check the logits that come out at the end against the modules' own.

    Writes `image_encoder.onnx` with `image_weights.bin`, `text_encoder.onnx` and `scorer.onnx`; see docs/models.md.

    Args:
        towers: in evaluation mode, float32, on the CPU.
        pixels: (N, 3, H, W) float32: at least LEAST_FILMS films, over which a logit's standard deviation is taken.
        ids: (L, S) int64, at least two texts, of another number than the films.
        folder: an empty one, to write into.
        together: whether the sentences may look at each other.

    Raises:
        InexactExportError: the logits differ, also by what else is in a call.
        ImportModelError: a module cannot be traced or is too large for one ONNX file, or what it gives is not what
            `AttentionTowers` says.
        OSError: a file cannot be written.
    """
    if len(pixels) < LEAST_FILMS or len(ids) < 2 or len(ids) == len(pixels):
        raise ValueError("the films or the sentences to compare cannot be told apart, or are too few")
    paths = [folder / name for name in (IMAGE_ENCODER, TEXT_ENCODER, SCORER)]
    image_tokens, text_tokens = _tokens(towers.image, pixels), _tokens(towers.text, ids)
    expected, grid = _expected(towers, image_tokens, text_tokens)
    _write_image(towers, pixels[:2], paths[0])
    axes = {"input_ids": {0: "L"}, "text_tokens": {0: "L"}}
    texts, weights = {"text_tokens": paths[1]}, folder / TEXT_WEIGHTS
    write_tower(towers.text, {"input_ids": ids}, axes, texts, "float32", weights, only_if_needed=True)
    _write_scorer(towers, image_tokens, text_tokens, paths[2])

    found_text = _in_rows(paths[1], ids)
    found_image = _in_rows(paths[0], pixels)
    exact = answer(paths[2], _tensor(found_image), _tensor(found_text))
    with np.errstate(over="ignore"):
        halved = found_image.astype(np.float16).astype(np.float32)
    kept_in_half = answer(paths[2], _tensor(halved), _tensor(found_text))
    sd = _standard_deviation(expected)
    rounding = _rounding(kept_in_half, exact) if np.isfinite(halved).all() else float("inf")
    is_half = rounding < MAX_ROUNDING
    deviation = _most((kept_in_half if is_half else exact) - expected, sd)
    _check(_most(exact - expected, sd), "the model's own")
    first = answer(paths[2], _tensor(found_image[:1]), _tensor(found_text))
    _check(_most(first - exact[:1], sd), "those of the same film beside others")
    if not together:
        alone = answer(paths[2], _tensor(found_image), _tensor(found_text[:1]))
        _check(_most(alone - exact[:, :1], sd), "those of the same sentence beside others")
    dtype = "float16" if is_half else "float32"
    return ExportedScorer(Tokens(_shape(found_image), _shape(found_text), dtype), grid, deviation, rounding)


def _tokens(tower: nn.Module, rows: Tensor) -> Tensor:
    tokens = torch.cat([torch.as_tensor(tower.eval()(row[None])) for row in rows])
    if tokens.ndim != 3 or tokens.dtype != torch.float32:
        raise ImportModelError(f"a tower gives {tokens.dtype} of shape {tuple(tokens.shape)}, not float32 (N, T, D)")
    return tokens


def _expected(
    towers: AttentionTowers, image_tokens: Tensor, text_tokens: Tensor
) -> tuple[Floats, tuple[int, int] | None]:
    """The model's own logits (N, L), and the places of its attention."""
    films, sentences = len(image_tokens), len(text_tokens)
    given: Any = towers.scorer.eval()(image_tokens, text_tokens)
    logits, attention = given if towers.has_attention else (given, None)
    if tuple(logits.shape) != (films, sentences) or not torch.isfinite(logits).all():
        raise ImportModelError(f"the scorer gives logits of shape {tuple(logits.shape)}, or not all finite")
    if attention is not None and (attention.ndim != 4 or tuple(attention.shape[:2]) != (films, sentences)):
        raise ImportModelError(f"the scorer gives attention of shape {tuple(attention.shape)}, not (N, L, h, w)")
    return logits.numpy(), None if attention is None else (int(attention.shape[2]), int(attention.shape[3]))


def _write_image(towers: AttentionTowers, pixels: Tensor, path: Path) -> None:
    axes = {"pixel_values": {0: "N"}, "image_tokens": {0: "N"}}
    weights = path.with_name(IMAGE_WEIGHTS)
    write_tower(towers.image, {"pixel_values": pixels}, axes, {"image_tokens": path}, "float32", weights)


def _write_scorer(towers: AttentionTowers, image_tokens: Tensor, text_tokens: Tensor, path: Path) -> None:
    axes = {"image_tokens": {0: "N"}, "text_tokens": {0: "L"}, "logits": {0: "N", 1: "L"}}
    if towers.has_attention:
        axes["attention"] = {0: "N", 1: "L"}
    tokens = {"image_tokens": image_tokens, "text_tokens": text_tokens}
    write_tower(towers.scorer, tokens, axes, {"logits": path}, "float32", None)


def _in_rows(encoder: Path, rows: Tensor) -> Floats:
    """Some rows at once, as memory allows of a large tower."""
    return np.concatenate([answer(encoder, part) for part in rows.split(4)])


def _shape(tokens: Floats) -> tuple[int, int]:
    return int(tokens.shape[1]), int(tokens.shape[2])


def _tensor(array: Floats) -> Tensor:
    return torch.from_numpy(array)


def _standard_deviation(logits: Floats) -> float:
    """Of a sentence's logits over the films, the sentences pooled."""
    sd = float(np.sqrt(logits.astype(np.float64).var(axis=0, ddof=1).mean()))
    if not sd > 0:
        raise InexactExportError("the scorer gives all drawn films the same logits; nothing was written")
    return sd


def _rounding(halved: Floats, exact: Floats) -> float:
    """The most that a logit moves, in standard deviations of its own sentence; infinite where a sentence has none."""
    moved, sd = np.abs(halved.astype(np.float64) - exact).max(axis=0), exact.astype(np.float64).std(axis=0, ddof=1)
    return float(np.divide(moved, sd, out=np.full(sd.shape, np.inf), where=sd > 0).max())


def _most(difference: Floats, sd: float) -> float:
    return float(np.abs(difference.astype(np.float64)).max()) / sd


def _check(deviation: float, other: str) -> None:
    if not deviation <= MAX_DEVIATION:
        raise InexactExportError(
            f"the logits of {SCORER} differ from {other} by {deviation:.3g} of their standard deviation over films (at "
            f"most {MAX_DEVIATION} is allowed); nothing was written"
        )
