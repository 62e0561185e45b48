"""The films of the model in the box: each once, and none in two parts."""

from __future__ import annotations

import csv
from collections import defaultdict

import numpy as np
import pytest
from PIL import Image

from recipes.mini_films import PARTS, Film, films, held_out, kept_for_boxes, pixels
from tests.support.minidata import box, nih, write_data


def test_the_larger_copy_is_taken_once(tmp_path):
    data = write_data(
        tmp_path,
        {
            "nih_more": [nih("images/00000005_000.jpg", "Mass")],
            "nih": [nih("00000005_001.jpg")],
            "nih128": [nih("00000005_000.jpg"), nih("00000005_001.jpg"), nih("00000005_002.jpg")],
            "nih64": [nih("00000005_002.png"), nih("00000005_003.png")],
        },
    )
    found = films(data)
    assert [film.path for film in found] == [
        "nih_more/images/00000005_000.jpg", "nih/00000005_001.jpg", "nih128/00000005_002.jpg", "nih64/00000005_003.png",
    ]  # fmt: skip
    assert [film.name for film in found] == [f"00000005_00{n}" for n in range(4)]
    assert {film.patient for film in found} == {"nih-00000005"}
    assert [label for label, stated in found[0].labels.items() if stated] == ["Mass"]
    assert [film.normal for film in found] == [False, True, True, True]
    assert (found[0].view, found[0].age, found[0].sex, found[0].size) == ("AP", 61, "F", 32)


def test_parts_follow_the_split_the_boxes_and_the_hash(tmp_path):
    patients = [f"{n:08}" for n in range(1, 200)]
    boxed = next(p for p in patients if kept_for_boxes(p) and not held_out(p))
    other = next(p for p in patients if not kept_for_boxes(p) and not held_out(p))
    held = next(p for p in patients if held_out(p))
    judged = next(p for p in patients[50:] if kept_for_boxes(p))
    rows = [nih(f"{p}_{n:03}.jpg", split="val" if p == judged else "train")
            for p in (boxed, other, held, judged) for n in range(2)]  # fmt: skip
    boxes = [box(f"nih128/{p}_000.jpg", "Mass", 1, 2, 3, 4) for p in (boxed, other, judged)]
    found = films(write_data(tmp_path, {"nih128": rows}, boxes))
    assert [film.part for film in found] == ["boxed"] * 2 + ["train"] * 2 + ["held"] * 2 + ["val"] * 2


def test_other_sources_state_what_they_know(tmp_path):
    data = write_data(
        tmp_path,
        {
            "kermany": [
                {"image": "train/a.jpg", "split": "train", "finding": "normal"},
                {"image": "train/b.jpg", "split": "val", "finding": "viral pneumonia"},
            ],
            "shenzhen": [{"image": "c.jpg", "split": "train", "finding": "tuberculosis", "text": "Left PTB,STB"}],
            "hannover": [{"image": "d.jpg", "patient_id": "x", "sex": "m", "age": "", "view": "AP"}],
        },
    )
    normal, viral, tuberculous, unknown = films(data)
    assert normal.labels == {"child pneumonia": False}
    assert normal.normal
    assert viral.labels == {"child pneumonia": True, "child bacterial": False}
    assert viral.part == "val"
    assert (tuberculous.labels, tuberculous.reading) == ({"tuberculosis": True}, "left ptb, stb")
    assert (unknown.labels, unknown.patient, unknown.sex) == ({}, "hannover-x", "M")
    assert not unknown.normal
    assert normal.patient == normal.name == normal.path == "kermany/train/a.jpg"


def test_pixels_are_squeezed_in_the_films_order(tmp_path):
    data = write_data(tmp_path, {"nih128": [nih(f"00000005_00{n}.png") for n in range(3)]})
    found = films(data)
    squeezed = pixels(found[::-1], data, 8)
    assert squeezed.shape == (3, 8, 8)
    assert squeezed.dtype == np.uint8
    right = Image.open(data / found[0].path).resize((8, 8), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(squeezed[2], np.asarray(right))


@pytest.fixture(scope="module")
def real(shared_data) -> list[Film]:
    return films(shared_data)


def test_no_patient_of_the_real_films_is_in_two_parts(real):
    parts = defaultdict(set)
    for film in real:
        parts[film.patient].add(film.part)
    assert all(len(each) == 1 for each in parts.values())
    assert set().union(*parts.values()) == set(PARTS)
    assert len({film.name for film in real}) == len({film.path for film in real}) == len(real)


def test_val_and_boxes_of_the_real_films_are_kept_out(real, shared_data):
    stated: dict[str, set[str]] = {}  # name → splits of every row of the data
    for subset in ("nih_more", "nih", "nih128", "nih64", "kermany", "shenzhen"):
        with (shared_data / subset / f"{subset}.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                name = f"{subset}/{row['image']}"
                if subset.startswith("nih"):
                    name = name.rpartition("/")[2].partition(".")[0]
                stated.setdefault(name, set()).add(row["split"])
    assert {film.name for film in real if film.source != "hannover"} == stated.keys()
    val = {name for name, splits in stated.items() if "val" in splits}
    assert {film.name for film in real if film.part == "val"} == val
    with (shared_data / "nih_boxes.csv").open(encoding="utf-8", newline="") as file:
        patients = {row["image_index"].partition("_")[0] for row in csv.DictReader(file)}
    kept = {f"nih-{patient}" for patient in patients if kept_for_boxes(patient)}
    assert 0.28 < len(kept) / len(patients) < 0.39
    trained = {film.patient for film in real if film.part in ("train", "held")}
    assert not kept & trained
