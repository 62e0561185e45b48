"""What a run keeps to show: the highest films of each label, and counts."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from cxrzero import phantom
from cxrzero.cli import app
from cxrzero.display.counts import together
from cxrzero.images.radiograph import Facts
from cxrzero.predict.highest import LABELS, LINES, Highest, films_each
from cxrzero.prediction import Prediction
from tests.support.bundle import write_bundle
from tests.support.tables import table

Draw = Callable[..., Path]
Run = Callable[..., Result]


def film(number: int, scores: dict[str, float], flags: frozenset[str] = frozenset(), **more: object) -> Prediction:
    return Prediction(f"{number}.png", list(scores), "ok", 1, Facts(), flags, scores=scores, **more)  # type: ignore[arg-type]


@pytest.fixture
def run(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def predict(*arguments: str) -> Result:
        result = CliRunner().invoke(app, ["predict", *arguments, "--model", str(tiny_bundle)])
        assert result.exit_code in (0, 3), result.output
        return result

    return predict


def test_the_highest_are_the_head_of_all_sorted() -> None:
    draw = random.Random(0)
    rows = [film(n, {"a": draw.randrange(40) / 40, "b": draw.random()}) for n in range(500)]
    highest = Highest(["a", "b"], 7)
    for row in rows:
        highest.add(row)
    for label in ("a", "b"):
        expected = sorted(rows, key=lambda row, label=label: -row.scores[label])[:7]  # type: ignore[misc]
        assert [(each.name, each.probability) for each in highest.of(label)] == [
            (row.path, row.scores[label]) for row in expected
        ]


def test_counts_are_of_all_rows_and_all_labels() -> None:
    labels = [f"l{n}" for n in range(LABELS + 1)]
    highest = Highest(labels)
    for n in range(4):
        decision = {label: int(n > 1) for label in labels}
        highest.add(film(n, dict.fromkeys(labels, n / 4), frozenset({"lateral"} if n == 3 else ()), decision=decision))
    highest.add(Prediction("bad.png", labels, "failed", code="empty_file"))
    assert (highest.n, highest.n_flagged, highest.flags) == (4, 1, {"lateral": 1})
    assert highest.unscored == {"failed: empty_file": 1}
    assert highest.reached == dict.fromkeys(labels, 2)
    assert highest.reached_flagged == dict.fromkeys(labels, 1)
    assert highest.labels == tuple(labels[:LABELS])
    assert [len(highest.of(label)) for label in labels] == [films_each(LABELS)] * LABELS + [0]


@pytest.mark.parametrize(("labels", "each"), [(1, 5), (8, 5), (9, 4), (12, 3), (14, 2), (20, 1), (10_000, 1)])
def test_as_many_films_as_there_is_room_for(labels: int, each: int) -> None:
    assert films_each(labels) == each
    assert min(labels, LABELS) * (1 + films_each(min(labels, LABELS))) <= LINES


def test_a_flag_that_every_row_has_tells_none_from_another(run: Run, png: Draw, tmp_path: Path) -> None:
    for n in range(2):
        png(f"in/{n}.png", n)
    shown = run("in", "--labels", "mass").output
    flags = sorted(table()[0]["flags"].split(";"))
    assert "view_unknown" in flags
    assert {row["flags"] for row in table()} == {";".join(flags)}
    assert f"Flagged: 2 of 2 films ({together([f'{flag} 2' for flag in flags])})" in shown
    assert ".png  " not in shown
    Image.fromarray(phantom.draw(1, 320).to_uint8()).save(tmp_path / "in/c.png")
    shown = run("in", "--labels", "mass", "--out", "b.csv").output
    rows = table("b.csv")
    assert len({row["flags"] for row in rows}) == 2
    everywhere = set.intersection(*(set(row["flags"].split(";")) for row in rows))
    for row in rows:
        own = ", ".join(flag for flag in row["flags"].split(";") if flag and flag not in everywhere)
        assert f"  {float(row['mass']):.3f}  {row['path']}{'  ' * bool(own)}{own}\n" in shown


def test_an_ensemble_shows_its_spread(run: Run, png: Draw, tmp_path: Path) -> None:
    png("in/a.png", 1)
    shown = run("in", "--labels", "mass", "--model", str(write_bundle(tmp_path / "other", 2))).output
    (row,) = table()
    assert f"\n  {float(row['mass']):.3f} ± {float(row['mass_sd']):.3f}  in/a.png" in shown


def test_what_one_model_of_an_ensemble_was_measured_for_was_measured(run: Run, png: Draw, tmp_path: Path) -> None:
    png("in/a.png", 1)
    measured = [{"dataset": "a", "label": "mass", "metric": "auroc", "value": 0.8, "low": 0.7, "high": 0.9}]
    other = write_bundle(tmp_path / "other", 2, results=measured)
    shown = run("in", "--labels", "mass,edema", "--model", str(other)).output
    assert "\nmass\n" in shown
    assert "Never measured with these models: edema\n" in shown


def test_by_study_the_highest_studies_are_shown(run: Run, tmp_path: Path) -> None:
    for study in range(3):
        (tmp_path / f"in/s{study}").mkdir(parents=True)
        for n in range(2):
            drawn = Image.fromarray(phantom.draw(2 * study + n, 320).to_uint8())
            drawn.save(tmp_path / f"in/s{study}/{n}.png")
    shown = run("in", "--labels", "mass", "--by", "study", "--top", "2").output
    studies = sorted(table("predictions.studies.csv"), key=lambda row: -float(row["mass"]))
    expected = [f"  {float(row['mass']):.3f}  {row['study']}" for row in studies[:2]]
    assert "The highest of 3 studies for each label:\nmass (never measured)\n" + "\n".join(expected) + "\n" in shown
    assert studies[2]["study"] not in shown


def test_pseudonyms_stand_for_names(run: Run, png: Draw) -> None:
    png("in/Smith^John.png", 1)
    shown = run("in", "--labels", "mass", "--pseudonymise", "--pseudonym-key", "key").output
    (row,) = table()
    assert f"  {row['path']}\n" in shown
    assert "Smith" not in shown


def test_many_labels_are_folded(run: Run, png: Draw) -> None:
    png("in/a.png", 1)
    names = [f"finding {number}" for number in range(300)]
    Path("labels.txt").write_text("\n".join(names), encoding="utf-8")
    shown = run("in", "--labels", "@labels.txt").output
    assert shown.count("in/a.png") == LABELS
    assert f"… {300 - LABELS} more labels in the table" in shown
    assert "Never measured with this model: all 300 labels" in shown


def test_top_says_how_many_and_nought_shows_none(run: Run, png: Draw) -> None:
    for n in range(8):
        png(f"in/{n}.png", n)
    assert run("in", "--labels", "mass", "--top", "8").output.count("  in/") == 8
    shown = run("in", "--labels", "mass", "--top", "0", "--out", "b.csv").output
    assert "  in/" not in shown
    assert "Scores order films" in shown
