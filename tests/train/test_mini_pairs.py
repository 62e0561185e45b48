"""The captions of the model in the box: true, asked of every film that another brings up, and with the boxes' sides."""

from __future__ import annotations

import csv
import itertools
from dataclasses import replace

import numpy as np
import pytest

from recipes import mini_boxes, mini_pairs, mini_statements
from recipes.mini_boxes import Place, place_of
from recipes.mini_films import LABELS, Film, films, held_out, kept_for_boxes
from recipes.mini_words import FINDINGS, RESERVED
from tests.support.minidata import box, nih, write_data

ONES = dict.fromkeys(FINDINGS, 1.0)
UNDRAWN = mini_pairs.Options(phantoms=0, composites=0)


def film(source: str = "nih", *found: str, reading: str = "", normal: bool = False, part: str = "train") -> Film:
    labels = {
        "nih": {label: label in found for label in FINDINGS},
        "kermany": {"child pneumonia": False} if normal else {"child pneumonia": True, "child bacterial": True},
        "shenzhen": {"tuberculosis": not normal},
        "hannover": {},
    }[source]
    return Film("x", "x/x.jpg", source, "x", "train", part, labels, reading, "AP", None, "", 128)


def every_film() -> list[Film]:
    chosen = [(), *((a,) for a in FINDINGS), *itertools.combinations(FINDINGS, 2)]
    return [
        *(film("nih", *labels) for labels in chosen),
        *(film(source, normal=True) for source in ("kermany", "shenzhen")),
        film("kermany"),
        *(film("shenzhen", reading=text) for text in ("bilateral ptb", "ptb in the right upper field", "stb")),
        *(film("shenzhen", reading=text) for text in ("left ptb, left pleurisy", "right upper pneumonia")),
    ]


@pytest.mark.parametrize("together", [True, False])
def test_captions_reserve_paraphrases_and_contradict_nothing(together):
    for each in every_film():
        texts = mini_statements.film_statements(each, ONES, None, together)
        assert texts
        assert not any(phrase in text.lower() for text in texts for phrase in RESERVED)
        for text, (weight, truth) in texts.items():
            assert weight > 0
            assert 0 < truth <= 1
            assert truth + texts.get(f"no {text}", (0.0, 0.0))[1] <= 1, (each, text)


def test_a_normal_film_of_any_source_is_normal_and_has_no_finding():
    for each in (film("nih"), film("kermany", normal=True), film("shenzhen", normal=True)):
        texts = mini_statements.film_statements(each, ONES)
        assert texts["normal"][1] == texts["no finding"][1] == 1
        assert "abnormal" not in texts
        for label in FINDINGS:
            assert texts[f"no {FINDINGS[label][0]}"][1] == 1
        assert texts["no tuberculosis"][1] == texts["no bacterial pneumonia"][1] == 1


def test_what_kermany_and_shenzhen_bring_up_is_asked_of_adults():
    teacher = dict.fromkeys(LABELS, 0.0) | {"tuberculosis": 0.4}
    texts = mini_statements.film_statements(film("nih", "Pneumonia"), ONES, teacher)
    assert texts["pneumonia"][1] == pytest.approx(0.5)
    assert texts["bacterial pneumonia"][1] == pytest.approx(0.25)
    assert texts["no viral pneumonia"][1] == pytest.approx(0.75)
    assert "tuberculosis" not in texts  # the teacher knows it from Shenzhen alone
    assert texts["no tuberculosis"][1] == 1
    alone = mini_statements.film_statements(film("nih", "Pneumonia"), ONES, teacher, together=False)
    assert not any("tuberculosis" in text or "bacterial" in text for text in alone)


def test_findings_of_a_film_without_such_labels_are_the_teacher_s():
    teacher = dict.fromkeys(LABELS, 0.0) | {"Effusion": 0.7, "tuberculosis": 0.9}
    for each in (film("kermany"), film("shenzhen", reading="left ptb"), film("hannover")):
        texts = mini_statements.film_statements(each, ONES, teacher)
        assert texts["pleural effusion"][1] == pytest.approx(0.7)
        assert texts["no pleural effusion"][1] == pytest.approx(0.3)
    assert "normal" not in texts  # hannover's films are of patients with COVID-19
    assert "tuberculosis" not in texts
    child = mini_statements.film_statements(film("kermany"), ONES, teacher)
    assert child["bacterial pneumonia"][1] == child["lung infection"][1] == 1
    assert "viral pneumonia" not in child
    without = mini_statements.film_statements(film("shenzhen", reading="left ptb"), ONES)
    assert not any("effusion" in text for text in without)


def test_a_teacher_s_doubt_becomes_the_truth_of_statements():
    teacher = dict.fromkeys(LABELS, 0.0) | {"Effusion": 0.5, "Nodule": 0.4}
    texts = mini_statements.film_statements(film("nih", "Effusion"), ONES, teacher)
    assert texts["pleural effusion"][1] == pytest.approx(0.75)
    assert texts["no pleural effusion"][1] == pytest.approx(0.25)
    assert texts["nodule"][1] == pytest.approx(0.2)
    assert texts["no nodule"][1] == pytest.approx(0.8)
    assert "mass" not in texts
    assert texts["pleural effusion"][0] > texts["nodule"][0] * 100


def test_sides_and_zones_are_read_from_the_reader():
    texts = mini_statements.tuberculosis_statements("ptb in the right upper field")
    assert {"right tuberculosis", "right upper tuberculosis", "pulmonary tuberculosis in the right upper field"} <= set(
        texts
    )
    assert not any("left" in text for text in texts)


def test_ages_and_views_are_said_where_known():
    assert mini_statements.age_statements(film("kermany")).keys() == {"chest radiograph of a child"}
    adult = mini_statements.age_statements(film("shenzhen"))
    assert sum(truth for _, truth in adult.values()) == pytest.approx(1)
    assert "chest radiograph of a child" not in adult
    assert mini_statements.view_statements(film())["ap view"][1] == 1


@pytest.mark.parametrize(
    ("corner", "place"),
    [
        ((0.7, 0.6, 0.2, 0.1), Place("left", "lower")),  # the film's right half is the left lung
        ((0.1, 0.6, 0.2, 0.1), Place("right", "lower")),
        ((0.1, 0.15, 0.2, 0.1), Place("right", "upper")),  # centre 0.20 of 0.10 … 0.32
        ((0.1, 0.35, 0.2, 0.1), Place("right", "mid")),
        ((0.1, 0.9, 0.2, 0.1), Place("right", "lower")),
        ((0.1, 0.2, 0.2, 0.5), Place("right", "")),  # three quarters of the lung
        ((0.4, 0.6, 0.2, 0.1), None),
        ((0.47, 0.6, 0.2, 0.1), Place("left", "lower")),  # 85% of it
    ],
)
def test_a_box_has_a_side_and_a_zone(corner, place):
    assert place_of(*corner) == place


def test_statements_of_boxes_are_true_there_and_likely_elsewhere():
    boxed = {"Effusion": Place("left", "lower")}
    share = mini_boxes.shares([boxed, {"Effusion": Place("right", "mid")}])
    assert share["Effusion"]["left pleural effusion"] == pytest.approx((1 + mini_boxes.ELSEWHERE) / 2)
    assert share["Effusion"]["pleural effusion in the left lower zone"] == pytest.approx(0.5)
    there = mini_boxes.place_statements({"Effusion": 1.0}, boxed, share, ONES)
    assert there["left pleural effusion"] == (mini_boxes.WEIGHT, 1.0)
    assert there["pleural effusion in the left lower zone"][1] == 1
    assert there["right pleural effusion"] == (mini_boxes.WEIGHT, mini_boxes.ELSEWHERE)
    assert there["no right pleural effusion"][1] == pytest.approx(1 - mini_boxes.ELSEWHERE)
    assert not {"no left pleural effusion", "pleural effusion in the right mid zone"} & there.keys()
    unboxed = mini_boxes.place_statements({"Effusion": 0.5}, {}, share, ONES)
    assert unboxed["left pleural effusion"][1] == pytest.approx(0.3)
    assert unboxed["pleural effusion on the right"][1] == pytest.approx(0.3)
    assert unboxed["pleural effusion in the left lower zone"][1] == pytest.approx(0.25)
    assert unboxed["no left pleural effusion"][1] == pytest.approx(0.7)
    without = mini_boxes.place_statements({"Effusion": 0.0}, {}, share, ONES)
    assert set(without) == {"no left pleural effusion", "no right pleural effusion"}
    assert mini_boxes.place_statements({}, {}, share, ONES) == {}


@pytest.fixture
def data(tmp_path):
    patients = [f"{n:08}" for n in range(1, 300) if not held_out(f"{n:08}")]
    boxed = next(p for p in patients if kept_for_boxes(p))
    trained = next(p for p in patients if not kept_for_boxes(p))
    held = next(f"{n:08}" for n in range(1, 300) if held_out(f"{n:08}"))
    rows = [
        nih(f"{boxed}_000.jpg", "Effusion"), nih(f"{trained}_000.jpg", "Effusion"), nih(f"{trained}_001.jpg"),
        nih(f"{held}_000.jpg", "Mass"), nih("00000400_000.jpg", "Mass", split="val"),
    ]  # fmt: skip
    boxes = [box(f"nih128/{p}_000.jpg", "Effusion", 700, 600, 200, 100) for p in (boxed, trained)]
    subsets = {
        "nih128": rows,
        "kermany": [{"image": "train/a.jpg", "split": "train", "finding": "normal"}],
        "hannover": [{"image": "d.jpg", "patient_id": "x", "sex": "m", "age": "", "view": "AP"}],
    }
    return write_data(tmp_path / "data", subsets, boxes), trained, held


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_pairs_have_the_trained_and_held_films_with_their_sources(data, tmp_path):
    folder, trained, held = data
    number, count = mini_pairs.write(folder, tmp_path / "out", UNDRAWN)
    rows = rows_of(tmp_path / "out" / "pairs.csv")
    assert (number, count) == (4, len(rows))
    said = {(row["image"], row["split"], row["group"], row["source"], row["patient_id"]) for row in rows}
    assert said == {
        (f"nih128/{trained}_000.jpg", "train", "film", "nih", f"nih-{trained}"),
        (f"nih128/{trained}_001.jpg", "train", "film", "nih", f"nih-{trained}"),
        (f"nih128/{held}_000.jpg", "val", "film", "nih", f"nih-{held}"),
        ("kermany/train/a.jpg", "train", "film", "kermany", ""),  # hannover has no label and no teacher
    }
    truth = {(row["image"], row["text"]): float(row["truth"]) for row in rows}
    assert truth[f"nih128/{trained}_000.jpg", "pleural effusion in the left lower zone"] == 1
    assert truth["kermany/train/a.jpg", "no left pleural effusion"] == 1
    plain = replace(UNDRAWN, together=False, boxes=False)
    mini_pairs.write(folder, tmp_path / "apart", plain)
    rows = rows_of(tmp_path / "apart" / "pairs.csv")
    assert {row["group"] for row in rows} == {"adult", "child"}
    assert not any("left" in row["text"] for row in rows)
    assert not any("effusion" in row["text"] for row in rows if row["group"] == "child")


def scores(folder, names, value):
    folder.mkdir()
    np.savez(
        folder / "scores.npz", names=names, labels=np.array(LABELS), scores=np.full((len(names), len(LABELS)), value)
    )
    return folder


def test_teachers_are_averaged_and_their_films_must_be_these(data, tmp_path):
    folder, *_ = data
    found = films(folder)
    names = np.array([each.name for each in found])
    teachers = [scores(tmp_path / "a", names, 0.0), scores(tmp_path / "b", names, np.log(9))]
    teacher = mini_pairs.Teacher(teachers, found)
    assert teacher(found[0])["Mass"] == pytest.approx(0.75)  # odds of 1 and 9: 3
    said = list(mini_pairs.images(folder, UNDRAWN, teacher))
    assert [each.source for each in said] == ["nih", "nih", "nih", "kermany", "hannover"]
    assert said[2].split == "val"
    assert said[2].statements["mass"][1] == 1  # watched by its labels alone
    with pytest.raises(SystemExit, match="no score of"):
        mini_pairs.Teacher([scores(tmp_path / "c", names[1:], 0.0)], found)(found[0])
    with pytest.raises(SystemExit, match="other films"):
        mini_pairs.Teacher([tmp_path / "a", tmp_path / "c"], found)


def test_the_teachers_level_is_the_same_for_normal_films_of_every_source():
    rng = np.random.default_rng(0)
    place = {"nih": 0.0, "kermany": 2.0, "shenzhen": -1.0}
    listed = [
        replace(film(), name=f"{source}{n}", source=source, labels={"Mass": n % 3 == 0})
        for source in place
        for n in range(60)
    ]
    sick = np.array([each.labels["Mass"] for each in listed])
    odds = rng.normal(size=(len(listed), 4))
    odds[:, 0] += [place[each.source] for each in listed]
    odds[:, 3] += 3 * sick
    found = mini_pairs.levelled(odds, [each.name for each in listed], listed)
    sources = np.array([each.source for each in listed])
    means = np.stack([found[~sick & (sources == source)].mean(axis=0) for source in place])
    assert np.ptp(means, axis=0) == pytest.approx(np.zeros(4), abs=1e-9)
    assert np.ptp([odds[~sick & (sources == source), 0].mean() for source in place]) > 2
    assert found[sick, 3].mean() > found[~sick, 3].mean() + 1.5  # what is seen of the finding stays
