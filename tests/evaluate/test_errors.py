"""The films of the worst errors: which they are, where they are found, and what is drawn of them."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cxrzero.cli import app
from cxrzero.evaluate.errors import EACH
from cxrzero.evaluate.options import EvalOptions
from cxrzero.evaluate.run import evaluate
from cxrzero.report.findfilm import find_film
from tests.support.tables import table

Draw = Callable[..., Path]
Run = Callable[..., Result]
N = 12


@pytest.fixture
def run(png: Draw, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """N drawn films that the tiny model has scored; run("eval", …) gives what it printed and leaves results/."""
    monkeypatch.chdir(tmp_path)
    for n in range(N):
        png(f"in/{n}.png", n)
    made = CliRunner().invoke(
        app, ["predict", "in", "--labels", "mass", "--model", str(tiny_bundle), "--device", "cpu", "--top", "0"]
    )
    assert made.exit_code == 0, made.output
    with Path("l.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["image", "mass"], *([f"{n}.png", n % 2] for n in range(N))])

    def evaluated(*arguments: str) -> Result:
        asked = ["eval", "predictions.csv", "l.csv", "--resamples", "0", "--out", "results", "--overwrite", *arguments]
        return CliRunner().invoke(app, asked)

    return evaluated


def section() -> str:
    page = Path("results/report.html").read_text(encoding="utf-8")
    return page[page.index("<h2>Worst errors</h2>") :].partition("</section>")[0]


@pytest.mark.parametrize("threshold", [None, 0.3])
def test_they_are_the_highest_negatives_and_the_lowest_positives(
    study: Any, tmp_path: Path, threshold: float | None
) -> None:
    options = EvalOptions(study.predictions, study.labels, images=tmp_path, threshold=threshold, n_resamples=0)
    found = evaluate(options)
    films = found.dataset.films
    assert films is not None
    for place, label in enumerate(study.LABELS):
        rows = [
            (study.scores[i, place], study.truth[i, place], f"films/a/p{i}.png") for i in np.flatnonzero(study.scored)
        ]
        cut = threshold if threshold is not None else float("nan")
        negatives = sorted((row for row in rows if row[1] == 0 and not row[0] < cut), reverse=True)[:EACH]
        positives = sorted(row for row in rows if row[1] == 1 and not row[0] >= cut)[:EACH]
        errors = [error for error in found.errors if error.label == label]
        assert [(e.score, e.is_positive, films.paths[e.place]) for e in errors] == [
            *((score, False, path) for score, _, path in negatives),
            *((score, True, path) for score, _, path in positives),
        ]


def test_without_images_no_film_is_kept(study: Any) -> None:
    found = evaluate(EvalOptions(study.predictions, study.labels, n_resamples=0))
    assert found.errors == ()
    assert found.dataset.films is None


def test_of_a_study_the_film_with_the_highest_score_is_shown(write: Any, tmp_path: Path) -> None:
    scores = [(0.2, 0.9), (0.7, 0.1), (0.3, 0.35), (0.6, 0.6)]
    rows = [[f"s{s}/{k}.png", f"1.2.{s}", p] for s, pair in enumerate(scores) for k, p in enumerate(pair)]
    predictions = write("p.csv", ["path", "study_instance_uid", "mass"], rows)
    labels = write("l.csv", ["study_instance_uid", "mass"], [[f"1.2.{s}", s % 2] for s in range(4)])
    found = evaluate(EvalOptions(predictions, labels, images=tmp_path, n_resamples=0))
    films = found.dataset.films
    assert films is not None
    shown = [(round(e.score, 6), films.paths[e.place], e.film_score, e.n_films) for e in found.errors]
    assert shown == [
        (0.55, "s0/1.png", 0.9, 2),
        (0.325, "s2/1.png", 0.35, 2),
        (0.4, "s1/0.png", 0.7, 2),
        (0.6, "s3/0.png", 0.6, 2),
    ]


def test_films_are_mapped_by_the_model_that_scored_them(run: Run, tiny_bundle: Path) -> None:
    shown = run("--images", ".", "--model", str(tiny_bundle))
    assert shown.exit_code == 0, shown.output
    assert "with maps by occlusion" in shown.output
    html, rows = section(), {row["path"]: float(row["mass"]) for row in table()}
    assert html.count("<img") == 2 * 2 * EACH  # film and map
    for kind, reverse in ((0, True), (1, False)):
        paths = sorted((f"in/{n}.png" for n in range(kind, N, 2)), key=rows.__getitem__, reverse=reverse)[:EACH]
        for path in paths:
            assert f'Score <b>{rows[path]:.3f}</b><small><a href="../{path}">' in html
    assert html.count("Score") == 2 * EACH


def test_a_model_that_is_not_at_hand_leaves_the_films_and_says_why(run: Run) -> None:
    done = run("--images", ".")
    assert done.exit_code == 0, done.output
    assert "name it with --model" in done.output.replace("\n", " ")
    assert "without maps and not scored again, because" in section()
    assert section().count("<img") == 2 * EACH
    Path("predictions.run.json").unlink()
    assert run("--images", ".").exit_code == 0
    assert "because there is no record of the run beside the table" in section()


def test_another_model_is_refused(run: Run, tmp_path: Path) -> None:
    from tests.support.bundle import write_bundle

    done = run("--images", ".", "--model", str(write_bundle(tmp_path / "other", 3)))
    assert done.exit_code == 2
    assert "is not what made the table" in done.output.replace("\n", " ")


def test_films_that_are_gone_or_changed_are_not_shown(run: Run, tiny_bundle: Path, png: Draw) -> None:
    for n in range(0, N, 2):
        Path(f"in/{n}.png").unlink()
    for n in range(1, N, 2):
        png(f"in/{n}.png", 100 + n)
    assert run("--images", ".", "--model", str(tiny_bundle)).exit_code == 0
    html = section()
    assert "<img" not in html
    assert html.count("there is no file of this name in the folder of --images") == EACH
    assert len(re.findall(r"mass is 0\.\d+ now and 0\.\d+ in the table", html)) == EACH


def test_a_folder_that_is_none(run: Run) -> None:
    done = run("--images", "nowhere")
    assert done.exit_code == 2
    assert "there is no such folder" in done.output


@pytest.mark.skipif(os.name == "nt", reason="names of Unix")
def test_films_are_found_by_the_end_of_their_path_and_only_below_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("a/1.png", "1.png", "b/=2.png", 'c/"<b>.png'):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    (tmp_path / "outside.png").write_bytes(b"")
    odd = os.fsdecode(os.fsencode(root) + b"/\xff.png")
    Path(odd).write_bytes(b"")
    for cell, expected in (
        ("a/1.png", "a/1.png"),
        ("/archive/old/a/1.png", "a/1.png"),
        ("other/1.png", "1.png"),
        ("C:\\films\\a\\1.png", "a/1.png"),
        ("./b/=2.png", "b/=2.png"),
        ('c/"<b>.png', 'c/"<b>.png'),
    ):
        assert find_film(root, cell) == root / expected, cell
    assert find_film(root, "x/\\xff.png") == Path(odd)
    for cell in (
        "../outside.png",
        "a/../../outside.png",
        str(tmp_path / "outside.png"),
        "",
        ".",
        "\0",
        "x" * 5000,
        "a",
    ):
        assert find_film(root, cell) is None, cell
