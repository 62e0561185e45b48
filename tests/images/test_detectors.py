"""The two image detectors: drawn chest films and their negatives, pictures that are something else, odd shapes."""

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cxrzero.images import GreyImage, decode
from cxrzero.images.detectors import detect, detector_flags, inverted_score, not_chest_score
from cxrzero.images.flags import FLAGS
from cxrzero.phantom import draw
from recipes.captions import ABDOMINAL, MAYBE_CHEST, MIXED, RADIOGRAPH, UNSTATED, kind_of
from recipes.detector_sources import group_of, held_out


@pytest.fixture(scope="module")
def films() -> list[GreyImage]:
    """Phantoms of seeds far from those that the detectors were trained on."""
    return [draw(seed, size=256).to_uint8() for seed in range(9000, 9008)]


def page_of_text() -> GreyImage:
    page = Image.new("L", (300, 400), 250)
    pen = ImageDraw.Draw(page)
    for y in range(10, 380, 16):
        pen.text((12, y), "the quick brown fox jumps over the lazy dog", fill=10)
    return np.asarray(page)


def photograph() -> GreyImage:
    """A bright sky over dark ground with a house."""
    page = Image.new("L", (320, 240), 220)
    pen = ImageDraw.Draw(page)
    pen.rectangle((0, 150, 320, 240), fill=60)
    pen.rectangle((190, 90, 280, 190), fill=130)
    pen.polygon([(180, 90), (235, 50), (290, 90)], fill=30)
    pen.ellipse((30, 20, 70, 60), fill=255)
    return np.asarray(page)


OTHERS = {
    "black": np.zeros((300, 200), np.uint8),
    "white": np.full((300, 200), 255, np.uint8),
    "noise": np.random.default_rng(5).integers(0, 256, (256, 256)).astype(np.uint8),
    "ramp": np.tile(np.linspace(0, 255, 256).astype(np.uint8), (256, 1)),
    "text": page_of_text(),
    "photograph": photograph(),
}


def test_a_chest_film_gets_no_flag(films: list[GreyImage]) -> None:
    assert [detector_flags(film) for film in films] == [set()] * len(films)


def test_a_negative_is_called_inverted_and_nothing_else(films: list[GreyImage]) -> None:
    assert [detector_flags(255 - film) for film in films] == [{"maybe_inverted"}] * len(films)


@pytest.mark.parametrize("name", OTHERS)
def test_something_else_is_flagged_in_both_polarities(name: str) -> None:
    assert "maybe_not_chest_xray" in detector_flags(OTHERS[name])
    assert "maybe_not_chest_xray" in detector_flags(255 - OTHERS[name])


def test_the_negative_mirrors_one_score_and_keeps_the_other(films: list[GreyImage]) -> None:
    for picture in (films[0], OTHERS["photograph"]):
        assert inverted_score(255 - picture) == pytest.approx(1 - inverted_score(picture), abs=0.01)
        assert not_chest_score(255 - picture) == pytest.approx(not_chest_score(picture), abs=0.01)


@pytest.mark.parametrize("side", [64, 128, 1000])
def test_size_does_not_matter(films: list[GreyImage], side: int) -> None:
    for film in films[:4]:
        resized = np.asarray(Image.fromarray(film).resize((side, side), Image.Resampling.BICUBIC))
        assert detector_flags(resized) == set()


@pytest.mark.parametrize("grey", [0, 255])
def test_a_flat_frame_changes_no_flag(films: list[GreyImage], grey: int) -> None:
    framed = np.pad(films[0], ((40, 10), (0, 120)), constant_values=grey)
    assert detector_flags(framed) == set()
    assert detector_flags(255 - framed) == {"maybe_inverted"}


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (2, 3), (47, 49), (20, 4000)])
def test_every_shape_gets_scores(shape: tuple[int, int]) -> None:
    found = detect(np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8))
    assert 0 <= found.inverted <= 1
    assert 0 <= found.not_chest <= 1


def test_memory_layout_does_not_matter(films: list[GreyImage]) -> None:
    assert detect(np.asfortranarray(films[0])) == detect(films[0])
    assert detect(films[0].repeat(2, 1)[:, ::2]) == detect(films[0])


def test_threads_agree(films: list[GreyImage]) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(detect, films)) == [detect(film) for film in films]


def test_flags_are_in_the_vocabulary(films: list[GreyImage]) -> None:
    assert detector_flags(255 - films[0]) | detector_flags(OTHERS["noise"]) <= set(FLAGS)


def _share(shared_data: Path, subset: str, rows: list[str], flag: str, negative: bool = False) -> float:
    """Share of pictures, all squeezed to 64 × 64, that get a flag."""
    hits = 0
    for name in rows:
        (image,) = decode(shared_data / subset / name)
        pixels = np.asarray(Image.fromarray(image.pixels).resize((64, 64), Image.Resampling.BICUBIC))
        hits += flag in detector_flags(255 - pixels if negative else pixels)
    return hits / len(rows)


def test_real_pictures(shared_data: Path) -> None:
    """Bounds well inside what docs/detectors.md reports for the whole sets."""

    def names(subset: str) -> list[str]:
        with next((shared_data / subset).glob("*.csv")).open(newline="", encoding="utf-8") as file:
            return [row["image"] for row in csv.DictReader(file) if row.get("split", "val") == "val"]

    films, others = names("nih128")[::16], names("not_chest")[::6]
    assert _share(shared_data, "nih128", films, "maybe_inverted") <= 0.05
    assert _share(shared_data, "nih128", films, "maybe_inverted", negative=True) >= 0.95
    assert _share(shared_data, "nih128", films, "maybe_not_chest_xray") <= 0.05
    assert _share(shared_data, "not_chest", others, "maybe_not_chest_xray") >= 0.9


def test_films_of_other_parts_are_not_taken_for_the_chest(shared_data: Path) -> None:
    """Films that no training read, at the size they have; docs/detectors.md has all."""
    with (shared_data / "roco" / "roco.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["is_chest_xray"] == "0"]
    unseen = [row for row in rows if row["split"] == "val" or held_out(group_of("roco", row))]

    def flagged(kind: str) -> tuple[int, int]:
        named = [shared_data / "roco" / row["image"] for row in unseen if kind_of(row["text"]) == kind]
        return sum("maybe_not_chest_xray" in next(decode(path)).flags for path in named), len(named)

    assert flagged(ABDOMINAL) == (9, 10)
    assert flagged(RADIOGRAPH) == (71, 72)
    hip = next(decode(shared_data / "dicom" / "nema_wg04_RG2_JPLY.dcm"))
    assert "maybe_not_chest_xray" in hip.flags


@pytest.mark.parametrize(
    ("caption", "kind"),
    [("Plain abdominal X-ray.", ABDOMINAL), ("KUB showing two calculi", ABDOMINAL), ("Hip radiograph", RADIOGRAPH),
     ("Chest X-ray with free abdominal air", MAYBE_CHEST), ("Bilateral pneumonia with effusion.", MAYBE_CHEST),
     ("Axial CT of the abdomen", "CT"), ("T2 weighted image", "MR"), ("Radiograph and CT of the pelvis", MIXED),
     ("Pertrochanteric fracture treated with a nail.", UNSTATED)],
)  # fmt: skip
def test_what_a_caption_says(caption: str, kind: str) -> None:
    assert kind_of(caption) == kind


def test_dicom_films_come_out_upright(shared_data: Path) -> None:
    """MONOCHROME1 films are inverted by the decoder, once."""
    films = sorted((shared_data / "dicom").glob("cxr_*.dcm"))
    assert films
    for path in films:
        for image in decode(path):
            assert detector_flags(image.pixels) == set(), path.name
