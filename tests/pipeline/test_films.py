"""Films that go whole to an encoder that fits them: the rows are those of the CPU, and memory has limits."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cxrzero import Screener
from cxrzero.images import decode
from cxrzero.images.radiograph import GreyImage
from cxrzero.model.preprocess import Preprocess
from cxrzero.pipeline import films, processes, slots
from cxrzero.pipeline.films import USUAL_SIZES, Films, as_they_go
from cxrzero.pipeline.items import Frame, Input, Preprocessing, RunStats
from cxrzero.pipeline.processes import GROUP, ProcessDecoders, Task
from cxrzero.pipeline.slots import Slots
from cxrzero.pipeline.threads import ThreadDecoders
from cxrzero.sources import ImageRef
from cxrzero.sources.reader import Reader
from tests.pipeline.test_decode_processes import LABELS, Draw, folder
from tests.pipeline.test_fitted import CHEXZERO, CLIP, FAMILIES, SIGLIP, Fitted, on_gpu
from tests.support.bundle import SIDE, write_bundle
from tests.support.dicomfile import dicom_bytes

READ = Reader().decode

__all__ = ["folder"]

FIT = Preprocess(CLIP, (SIDE, SIDE)).fit


@pytest.fixture(autouse=True)
def takes_films(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fitted, "takes_films", True)


@pytest.fixture
def sizes(folder: Path) -> set[tuple[int, ...]]:
    """Of all pictures that are decoded of the folder."""
    found = set()
    for path in folder.glob("*.png"):
        if path.stat().st_size:
            found |= {each.pixels.shape for each in decode(path)}
    return found


@pytest.mark.parametrize("decode_in", ["threads", "processes"])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_those_of_the_cpu_to_the_last_bit(
    family: str, decode_in: str, folder: Path, sizes: set[tuple[int, ...]], tmp_path: Path
) -> None:
    bundle = write_bundle(tmp_path / family, preprocess=FAMILIES[family])
    expected = Screener(bundle, device="cpu", cache=False).predict(folder, LABELS)
    screener, [encoder] = on_gpu(bundle, decode_in=decode_in, batch_size=4, cache=False)
    assert screener.predict(folder, LABELS) == expected
    fitted = (24, 24) if family == "chexzero" else (SIDE, SIDE)
    # Films of a new size, and frames after a file's first, are fitted before, so that both kinds are in one batch.
    assert encoder.shapes - {(20, 24)} == {*sizes, fitted}


@pytest.mark.parametrize("decode_in", ["threads", "processes"])
def test_large_films_are_fitted_by_the_decoders(
    decode_in: str, folder: Path, sizes: set[tuple[int, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_bundle(tmp_path / "clip", preprocess=CLIP)
    expected = Screener(bundle, device="cpu", cache=False).predict(folder, LABELS)
    monkeypatch.setattr(films, "MOST_BYTES", 20 * 24)
    screener, [encoder] = on_gpu(bundle, decode_in=decode_in, cache=False)
    assert all(height * width > 20 * 24 for height, width in sizes)
    assert screener.predict(folder, LABELS) == expected
    assert encoder.shapes - {(20, 24)} == {(SIDE, SIDE)}


@pytest.mark.parametrize("decode_in", ["threads", "processes"])
def test_models_share_the_film_and_each_fits_it(decode_in: str, folder: Path, tmp_path: Path) -> None:
    ways = {"a": CLIP, "b": CHEXZERO, "c": SIGLIP}
    bundles = [write_bundle(tmp_path / name, seed, preprocess=way) for seed, (name, way) in enumerate(ways.items())]
    (folder / "many.dcm").unlink()
    (folder / "few.dcm").unlink()
    expected = Screener(bundles, device="cpu", cache=False).predict(folder, LABELS)
    screener, [a, b, c] = on_gpu(bundles, decode_in=decode_in, cache=False)
    assert screener.predict(folder, LABELS) == expected
    shared = [one == two == three for one, two, three in zip(a.pictures, b.pictures, c.pictures, strict=True)]
    assert len(shared) == 2 * GROUP + 1
    assert shared.count(False) <= 2  # the first one of each worker, of a size that is new to it


def test_what_cannot_be_fitted_twice_or_is_switched_off_is_fitted_by_the_decoders(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = [{"step": "resize_shortest", "size": SIDE + 4, "interpolation": "bicubic"}, *CLIP[1:]]
    bundle = write_bundle(tmp_path / "twice", preprocess=twice)
    screener, [encoder] = on_gpu(bundle, cache=False)
    screener.predict(folder, LABELS)
    assert encoder.shapes == {(SIDE, SIDE)}
    clip = write_bundle(tmp_path / "clip", preprocess=CLIP)
    assert on_gpu(clip)[0].member.is_given_films
    monkeypatch.setattr(films, "MOST_BYTES", 0)
    assert not on_gpu(clip)[0].member.is_given_films


def frames(opened: ProcessDecoders | ThreadDecoders, path: Path) -> list[Frame]:
    return [item for item in opened.submit(ImageRef(str(path)), [None]).items() if isinstance(item, Frame)]


def first(frame: Frame) -> Input:
    assert frame.inputs[0] is not None
    return frame.inputs[0]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A file of two frames, 20 × 24."""
    pixels = np.random.default_rng(0).integers(0, 255, (2, 20, 24)).astype(np.uint8)
    (tmp_path / "film.dcm").write_bytes(dicom_bytes(list(pixels)))
    return tmp_path / "film.dcm"


def test_only_a_first_frame_stays_whole_in_memory(film: Path) -> None:
    preprocessings: list[Preprocessing] = [Films(FIT, 1000, ((20, 24),))]
    opened = ThreadDecoders(READ, preprocessings, 1, RunStats())
    whole, fitted = frames(opened, film)
    opened.close()
    expected = [each.pixels for each in decode(film)]
    np.testing.assert_array_equal(first(whole), expected[0])
    np.testing.assert_array_equal(first(fitted), FIT(expected[1]))


@pytest.mark.parametrize("has_slot", [True, False])
def test_a_process_sends_no_film_whole(film: Path, *, has_slot: bool) -> None:
    opened = Slots(1, 1000, for_films=True)
    processes._know(READ, (Films(FIT, 1000, ((20, 24),)),), opened)
    found = processes._decoded(Task(ImageRef(str(film)), [None], opened.take() if has_slot else None))
    assert found.items is not None
    sent = [first(item).shape for item in found.items if isinstance(item, Frame) and item.inputs]
    assert sent == [(SIDE, SIDE)] * (1 if has_slot else 2)
    if has_slot:
        assert found.places is not None
        [picture] = opened.get(found.places)
        np.testing.assert_array_equal(np.asarray(picture), next(decode(film)).pixels)


def grey(height: int, width: int = 24) -> GreyImage:
    return np.zeros((height, width), np.uint8)


def test_a_film_goes_whole_if_one_of_its_size_was_among_the_last() -> None:
    opened = Films(FIT, 24 * 100)
    assert [opened.takes(grey(20)), opened.takes(grey(20)), opened.takes(grey(24, 20))] == [False, True, False]
    for height in range(21, 21 + USUAL_SIZES - 2):
        assert not opened.takes(grey(height))
    assert opened.takes(grey(20))  # the oldest of those that are remembered, and now the newest
    assert not opened.takes(grey(50))
    assert not opened.takes(grey(24, 20))  # forgotten
    assert opened.takes(grey(20))
    assert len(opened.recent) == USUAL_SIZES


def test_sizes_of_large_films_push_none_out() -> None:
    opened = Films(FIT, 24 * 20)
    opened.takes(grey(20))
    assert not any(opened.takes(grey(height)) for height in range(21, 60))
    assert not opened.takes(grey(21))
    assert opened.takes(grey(20))


def test_each_process_has_sizes_of_its_own() -> None:
    opened = Films(FIT, 1000, ((20, 24),))
    other = pickle.loads(pickle.dumps(opened))
    assert [other.takes(grey(30)), other.takes(grey(30)), other.takes(grey(20))] == [False, True, True]
    assert not opened.takes(grey(30))


def test_a_film_goes_whole_to_all_models_or_to_none() -> None:
    other = Preprocess(SIGLIP, (SIDE, SIDE)).fit
    models: list[Preprocessing] = [other, Films(FIT, 1000), Films(other, 1000, ((20, 24),))]
    assert as_they_go(models, grey(20), 1) == [other, FIT, other]
    assert as_they_go(models, grey(20), 1) == models
    assert as_they_go(models, grey(20), 2) == [other, FIT, other]


@pytest.mark.parametrize("decode_in", ["threads", "processes"])
def test_films_of_many_sizes_are_fitted_by_the_decoders(decode_in: str, png: Draw, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "clip", preprocess=CLIP)
    for number in range(2 * USUAL_SIZES):
        png(f"many/{number}.png", number, (30 + number, 40))
    expected = Screener(bundle, device="cpu", cache=False).predict(tmp_path / "many", LABELS)
    screener, [encoder] = on_gpu(bundle, decode_in=decode_in, cache=False)
    assert screener.predict(tmp_path / "many", LABELS) == expected
    assert encoder.shapes == {(SIDE, SIDE)}


def room(monkeypatch: pytest.MonkeyPatch, size: int | None) -> None:
    def found(path: str) -> SimpleNamespace:
        if size is None:
            raise FileNotFoundError(path)
        return SimpleNamespace(f_bavail=size // 512, f_frsize=512)

    monkeypatch.setattr(os, "statvfs", found, raising=False)


@pytest.fixture
def one_kb() -> list[Preprocessing]:
    return [Films(FIT, 1024), Films(FIT, 1024)]  # of one film, which both share


@pytest.mark.parametrize(("size", "is_whole"), [(2**14 * 20, True), (2**14 - 512, False), (None, False)])
def test_shared_memory_without_room_has_fitted_pictures(
    size: int | None, one_kb: list[Preprocessing], monkeypatch: pytest.MonkeyPatch, *, is_whole: bool
) -> None:
    room(monkeypatch, size)
    opened = ProcessDecoders(READ, one_kb, 1, RunStats(), waiting=4)  # 8 slots
    opened.close()
    assert opened._slots._size == (1024 if is_whole else SIDE * SIDE)
    assert opened._slots._count == 8


def test_the_block_of_films_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    room(monkeypatch, 2 * slots.MOST_FOR_FILMS)
    assert slots.has_room(10**6, 10**6)
    assert Slots(10**6, 2**20, for_films=True)._count == 512
    room(monkeypatch, 2 * slots.MOST_FOR_FILMS - 512)
    assert not slots.has_room(10**6, 10**6)
