"""Pictures of one byte for each pixel, of which the encoder makes its numbers: the rows are those of the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrzero import Screener
from cxrzero.backends.base import BundleEncoder
from cxrzero.errors import BundleError
from cxrzero.model.geometry import Geometry
from cxrzero.model.preprocess import Preprocess
from cxrzero.model.values import ValueSteps
from cxrzero.pipeline.items import RunStats
from cxrzero.sources import find_images
from tests.pipeline.test_decode_processes import LABELS, folder
from tests.support.bundle import SIDE, write_bundle

__all__ = ["folder"]
Steps = list[dict[str, Any]]

LONGEST = {"step": "resize_longest", "size": 24, "interpolation": "bicubic"}
CUBIC = {"step": "resize_tensor", "size": SIDE, "interpolation": "bicubic", "antialias": False}
CHEXZERO: Steps = [
    LONGEST,
    {"step": "pad_to_square", "size": 24, "fill": 0},
    {"step": "rescale", "factor": 1},
    {"step": "normalize", "mean": [101.48761] * 3, "std": [83.43944] * 3},
    CUBIC,
]
CLIP: Steps = [
    {"step": "resize_shortest", "size": SIDE, "interpolation": "bicubic"},
    {"step": "center_crop", "height": SIDE, "width": SIDE},
    {"step": "rescale", "factor": 1 / 255},
    {"step": "normalize", "mean": [0.481, 0.458, 0.408], "std": [0.269, 0.261, 0.276]},
]
SIGLIP: Steps = [
    {"step": "resize", "height": SIDE, "width": SIDE, "interpolation": "bilinear"},
    {"step": "rescale", "factor": 1 / 255},
    {"step": "normalize", "mean": [0.5] * 3, "std": [0.5] * 3},
]
FAMILIES = {"chexzero": CHEXZERO, "clip": CLIP, "siglip": SIGLIP}


class Fitted:
    """An encoder on a pretended GPU that takes 8-bit pictures; notes what it was given."""

    takes_fitted, device = True, "cuda"
    takes_films = False

    def __init__(self, encoder: BundleEncoder) -> None:
        self._encoder = encoder
        self.shapes: set[tuple[int, ...]] = set()
        self.pictures: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode_fitted(self, frames: Sequence[np.ndarray], steps: ValueSteps) -> np.ndarray:
        assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}
        self.shapes |= {frame.shape for frame in frames}
        self.pictures += map(id, frames)
        return self._encoder.encode_fitted(frames, steps)

    def encode_films(self, films: Sequence[np.ndarray], geometry: Geometry, steps: ValueSteps) -> np.ndarray:
        assert self.takes_films
        assert {film.dtype for film in films} == {np.dtype(np.uint8)}
        self.shapes |= {film.shape for film in films}
        self.pictures += map(id, films)
        return self._encoder.encode_films(films, geometry, steps)


def on_gpu(models: Any, **options: Any) -> tuple[Screener, list[Fitted]]:
    screener = Screener(models, device="cpu", workers=2, **options)
    encoders = [Fitted(member.encoder) for member in screener.members]  # type: ignore[arg-type]
    for member, encoder in zip(screener.members, encoders, strict=True):
        object.__setattr__(member, "encoder", encoder)
    return screener, encoders


@pytest.mark.parametrize("decode_in", ["threads", "processes"])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_those_of_the_cpu_to_the_last_bit(family: str, decode_in: str, folder: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / family, preprocess=FAMILIES[family])
    expected = Screener(bundle, device="cpu", cache=False).predict(folder, LABELS)
    screener, [encoder] = on_gpu(bundle, decode_in=decode_in, batch_size=4, cache=False)
    assert screener.predict(folder, LABELS) == expected
    assert encoder.shapes == {(24, 24) if family == "chexzero" else (SIDE, SIDE)}


@pytest.mark.parametrize("decode_in", ["threads", "processes"])
def test_models_that_fit_alike_share_the_picture(decode_in: str, folder: Path, tmp_path: Path) -> None:
    other = [*CLIP[:3], {"step": "normalize", "mean": [0.5] * 3, "std": [0.25] * 3}]
    ways = {"a": CLIP, "b": other, "c": SIGLIP}
    bundles = [write_bundle(tmp_path / name, seed, preprocess=way) for seed, (name, way) in enumerate(ways.items())]
    expected = Screener(bundles, device="cpu", cache=False).predict(folder, LABELS)
    screener, [a, b, c] = on_gpu(bundles, decode_in=decode_in, cache=False)
    assert screener.predict(folder, LABELS) == expected
    assert a.pictures == b.pictures
    assert not set(a.pictures) & set(c.pictures)


def test_what_the_cache_keeps_is_the_same(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_bundle(tmp_path / "clip", preprocess=CLIP)
    expected = Screener(bundle, device="cpu", cache=False).predict(folder, LABELS)
    screener, [encoder] = on_gpu(bundle)
    monkeypatch.setattr(Fitted, "device", "cpu")  # which is in the keys
    assert screener.predict(folder, LABELS) == expected
    assert encoder.shapes
    again, stats = Screener(bundle, device="cpu"), RunStats()
    prompts = again.prompts(LABELS)
    rows = list(again.stream(find_images([str(folder)]), again.classifier(prompts), prompts, stats))
    assert rows == expected
    assert (stats.embedded, stats.cached) == (0, stats.ok)


def test_pictures_that_are_fitted_to_several_sizes_are_finished_here(folder: Path, tmp_path: Path) -> None:
    """Bicubic resizing makes one size of them, but a call of the encoder takes pictures of one size."""
    bundle = write_bundle(tmp_path / "loose", preprocess=[LONGEST, *CHEXZERO[2:]])
    expected = Screener(bundle, device="cpu", cache=False).predict(folder, LABELS)
    screener, [encoder] = on_gpu(bundle, cache=False)
    assert screener.predict(folder, LABELS) == expected
    assert not encoder.shapes


@pytest.mark.parametrize(("steps", "size"), [(SIGLIP, (SIDE, SIDE + 1)), (CHEXZERO, (24, 24))])
def test_a_wrong_size_is_said_as_before(steps: Steps, size: tuple[int, int]) -> None:
    with pytest.raises(BundleError, match=rf"preprocess gives \(16, 16\) pixels, the encoder takes \({size[0]}, "):
        Preprocess(steps, size)
    loose = [{"step": "resize_shortest", "size": 2, "interpolation": "nearest"}, *SIGLIP[1:]]
    preprocess = Preprocess(loose, (3, 2))  # right for the picture of the trial
    assert (preprocess.fit.fitted_size, preprocess.value_steps) == (None, None)
    with pytest.raises(BundleError, match=r"preprocess gives \(2, 4\) pixels, the encoder takes \(3, 2\)"):
        preprocess(np.zeros((10, 20), np.uint8))
