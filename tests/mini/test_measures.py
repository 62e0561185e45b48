"""What the model in the box is judged by: subsets, groups, paired differences, real boxes, looks on record."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from benchmarks import mini_auroc
from benchmarks.mini import groups, intervals, looks, results, scores, shortcuts, sides, subsets
from recipes.mini_boxes import Place
from recipes.mini_films import Film, kept_for_boxes
from tests.support.minidata import box, nih, write_data


def film(n: int, view: str = "PA", age: int | None = 50) -> Film:
    return Film(
        name=f"{n}", path=f"nih128/{n}.png", source="nih", patient=f"nih-{n}", split="val", part="val", labels={},
        reading="", view=view, age=age, sex="F", size=128,
    )  # fmt: skip


def subset(count: int = 60) -> subsets.Subset:
    """Every second film has a mass; the first half is AP, the others PA; ages 30, 50, 70 in turn."""
    films = [film(n, view="AP" if n < count // 2 else "PA", age=(30, 50, 70)[n % 3]) for n in range(count)]
    truth = {"mass": np.arange(count) % 2 == 0, "hernia": np.arange(count) == 3}
    return subsets.Subset("made", films, truth, {"mass": "Mass", "hernia": "Hernia"})


def perfect(asked: subsets.Subset) -> dict[str, np.ndarray]:
    return {label: truth.astype(float) for label, truth in asked.truth.items()}


def blind(asked: subsets.Subset) -> dict[str, np.ndarray]:
    return {label: np.zeros(len(truth)) for label, truth in asked.truth.items()}


def by_view(asked: subsets.Subset) -> dict[str, np.ndarray]:
    """Right about half of the AP films' masses, blind to PA's."""
    ap = np.array([each.view == "AP" for each in asked.films])
    return {label: np.where(ap, truth, 0.0) for label, truth in asked.truth.items()}


def test_differences_to_the_first_model_are_of_the_same_films() -> None:
    found = {each.label: each for each in results.evaluate(perfect, {results.FIRST: blind}, subset())}
    mass = found["mass"]
    assert (mass.n, mass.positives, mass.auroc) == (60, 30, [1.0, 1.0, 1.0])
    assert mass.beside == {results.FIRST: [0.5, 0.5, 0.5]}
    assert mass.difference == [0.5, 0.5, 0.5]
    assert found[results.MACRO].positives == 30, "hernia has one film"
    assert found[results.ALL].positives == 31
    entry = mass.entry("command")
    assert (entry["value"], entry["low"], entry["baselines"]) == (1.0, 1.0, {"first_model": 0.5})
    assert "| made | mass | 60 | 30 | **1.000** (1.000–1.000) | +0.500 (+0.500 to +0.500) | 0.500 |" in results.table(
        list(found.values())
    )


def test_an_interval_is_over_patients_not_films() -> None:
    alone, together = (intervals.resample_weights(names) for names in (["a", "b", "c", "d"], ["a", "a", "b", "b"]))
    assert (alone[0] == 1).all()
    assert (together[:, 0] == together[:, 1]).all()
    assert (together[:, 2] == together[:, 3]).all()
    assert (alone[:, 0] != alone[:, 1]).any()
    assert (together.sum(axis=1) == 4).all()


def test_groups_have_their_own_auroc() -> None:
    found = {(each.kind, each.name): each for each in groups.within({"model": by_view}, subset(120))}
    ap, pa = found["view", "AP"], found["view", "PA"]
    assert (ap.films, ap.patients, ap.findings, ap.shared) == (60, 60, ["mass"], ["mass"])
    assert ap.macro == {"model": [1.0, 1.0, 1.0]}
    assert pa.macro == {"model": [0.5, 0.5, 0.5]}
    assert found["sex", "M"].films == 0
    assert found["sex", "M"].macro == {}
    assert found["sex", "F"].shared == [], "no finding is asked of both"
    assert [found["age", name].films for name in ("under 40", "40 to 60", "over 60")] == [40, 40, 40]
    assert "| view: AP | 60 | 60 | 1 | 1.000 (1.000–1.000) | 1 | 1.000 (1.000–1.000) |" in groups.table([ap])


def test_the_edges_of_the_age_bands() -> None:
    bands = subsets.GROUPS["age"]
    found = {age: [name for name, belongs in bands.items() if belongs(film(1, age=age))] for age in (39, 40, 60, 61)}
    assert found == {39: ["under 40"], 40: ["40 to 60"], 60: ["40 to 60"], 61: ["over 60"]}
    assert not any(belongs(film(1, age=None)) for belongs in bands.values())


def test_val_is_asked_as_nih128_has_it_and_both_sizes_have_the_same_films(tmp_path: Path) -> None:
    names = [f"000000{n:02d}_000.png" for n in range(1, 6)]
    rows = [nih(name, "Effusion", split="val") | {"size": "64"} for name in names]
    larger = [nih(f"images/{name}", "Mass", split="val") for name in names[:4]]
    data = write_data(tmp_path, {"nih128": rows, "nih_more": larger})
    for name in names[:4]:
        Image.fromarray(np.zeros((90, 80), np.uint8)).save(data / "nih_more" / "images" / name)
    asked = next(subsets.subsets(data, "val"))
    assert [each.path for each in asked.films] == [f"nih128/{name}" for name in names]
    assert asked.truth["pleural effusion"].all(), "nih128's labels, not those of the larger copy"
    small, large = subsets.in_two_sizes(data)
    assert list(small.truth) == ["pleural effusion"]
    assert [each.path for each in small.films] == [f"nih128/{name}" for name in names[:4]]
    assert [each.path for each in large.films] == [f"nih_more/images/{name}" for name in names[:4]]
    assert large.truth is small.truth
    scored = {each.name: each.path for each in subsets.to_score(data)}
    assert scored["nih128/00000001_000.png"] == "nih128/00000001_000.png"
    assert scored["00000001_000"] == "nih_more/images/00000001_000.png"
    assert "nih128/00000005_000.png" not in scored, "there it is the film's only copy"


def test_kept_scores_are_of_the_copy_that_is_asked(tmp_path: Path) -> None:
    values = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]])
    names = np.array(["0", "1", "nih128/1.png"])
    np.savez(tmp_path / "scores.npz", names=names, labels=np.array(["Hernia", "Mass"]), scores=values)
    asked = subsets.Subset("made", [film(0), film(1)], {"mass": np.array([True, False])}, {"mass": "Mass"})
    assert scores.Kept(tmp_path)(asked)["mass"].tolist() == [5.0, 7.0]


def test_normal_films_are_those_that_no_label_speaks_against(tmp_path: Path) -> None:
    adults = [nih("00000001_000.png", split="val"), nih("00000002_000.png", "Mass", split="val")]
    children = [
        {"image": "val/a.png", "split": "val", "finding": "normal"},
        {"image": "val/b.png", "split": "val", "finding": "viral pneumonia"},
    ]
    lungs = [
        {"image": "c.png", "split": "val", "finding": "normal", "text": "normal"},
        {"image": "d.png", "split": "train", "finding": "normal", "text": "normal"},
    ]
    data = write_data(tmp_path, {"nih128": adults, "kermany": children, "shenzhen": lungs})
    assert shortcuts.normal_films(data, "val") == {
        "kermany": [data / "kermany" / "val" / "a.png"],
        "nih128": [data / "nih128" / "00000001_000.png"],
        "shenzhen": [data / "shenzhen" / "c.png"],
    }


def test_sides_are_asked_of_boxes_that_are_kept(tmp_path: Path) -> None:
    kept = [f"{n:08d}" for n in range(1, 400) if kept_for_boxes(f"{n:08d}")][:4]
    other = next(f"{n:08d}" for n in range(1, 400) if not kept_for_boxes(f"{n:08d}"))
    names = [f"nih/{patient}_000.png" for patient in [*kept, other]]
    boxes = [
        box(names[0], "Effusion", 700, 600, 200, 150),  # the picture's right: the patient's left
        box(names[1], "Infiltrate", 100, 150, 200, 100),
        box(names[2], "Effusion", 100, 600, 200, 150),
        box(names[2], "Effusion", 700, 600, 200, 150),  # both sides
        box(names[3], "Cardiomegaly", 300, 500, 400, 300),  # has no side
        box(names[4], "Effusion", 700, 600, 200, 150),  # is trained on
    ]
    data = write_data(tmp_path, {"nih": [nih(f"{patient}_000.png") for patient in [*kept, other]]}, boxes)
    found = sides.kept_places(data)
    assert [(path.name, patient, label, place.side, place.zone) for path, patient, label, place in found] == [
        (f"{kept[0]}_000.png", f"nih-{kept[0]}", "Effusion", "left", "lower"),
        (f"{kept[1]}_000.png", f"nih-{kept[1]}", "Infiltration", "right", "upper"),
    ]


def test_sides_are_judged_over_all_boxes_and_for_findings_with_enough_of_both() -> None:
    boxed = [(Path(), f"{n}", "Effusion", Place("left" if n < 6 else "right", "lower")) for n in range(12)]
    boxed += [(Path(), "z", "Mass", Place("left", "upper"))]
    d = np.array([*range(12, 0, -1), -1.0])
    found = sides.by_finding("side", d, boxed)
    assert [(line["finding"], line["boxes"], line["left"]) for line in found] == [
        ("all", 13, 7),
        ("pleural effusion", 12, 6),
    ]
    assert found[0]["auroc"][0] == pytest.approx(6 / 7, abs=1e-4)  # the mass loses to all six
    assert found[1]["auroc"] == [1.0, 1.0, 1.0]


def test_a_look_is_a_model_not_a_run(tmp_path: Path) -> None:
    log = tmp_path / "looks.jsonl"
    assert [looks.write_down("a", model, 0.7, log) for model in ("x", "x", "y")] == [1, 1, 2]
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [set(line) for line in lines] == [{"date", "program", "model", "macro"}] * 3
    assert looks.table(log).splitlines()[-1] == f"| {lines[0]['date']} | a | `y` | 0.700 |"
    assert looks.told(2) == "The validation splits have been looked at with 2 of at most 3 models."


def test_results_are_put_into_the_card(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps({"name": "x"}), "utf-8")
    found = results.evaluate(perfect, {"other": blind}, subset())
    mini_auroc.record(found, tmp_path, "the command")
    card = json.loads((tmp_path / "model.json").read_text("utf-8"))
    assert card["name"] == "x"
    assert [entry["label"] for entry in card["results"]] == ["mass", "hernia", results.MACRO, results.ALL]
    assert set(card["results"][0]) == {
        "dataset", "label", "metric", "value", "low", "high", "n", "positives", "baselines", "command",
    }  # fmt: skip
    assert mini_auroc.macro_of(found) == 1.0
