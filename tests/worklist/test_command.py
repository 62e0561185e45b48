"""`cxrzero worklist` on the command line: what it says, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cxrzero.cli import app
from cxrzero.heatmap.overlay import overlay
from cxrzero.worklist.run import Made
from tests.support.patches import write_patch_bundle
from tests.support.worklists import data_of

Predict = Callable[..., Path]
Draw = Callable[..., Path]


@pytest.fixture
def run(tiny_bundle: Path) -> Callable[..., Result]:
    model = ("--model", str(tiny_bundle), "--device", "cpu")
    return lambda *arguments: CliRunner().invoke(app, ["worklist", *map(str, arguments), *model])


def test_exit_codes_say_whether_every_film_is_shown(predict: Predict, png: Draw, run: Callable[..., Result]) -> None:
    png("in/a.png", 1)
    png("in/b.png", 2)
    table = predict("in")
    done = run(table, "--label", "Pneumonia")
    assert (done.exit_code, done.output.splitlines()[-1]) == (
        0,
        "Wrote worklist/index.html: 2 films. Open it in a browser. Research use only: not a medical device.",
    )
    assert run(table).exit_code == 2  # it is there
    Path("in/a.png").unlink()
    done = run(table, "--overwrite", "--by", "max")
    assert done.exit_code == 3
    assert "! 1 film has no picture: there is no file at this path now." in done.output
    Path("in/b.png").unlink()
    assert run(table, "--overwrite").exit_code == 1
    assert run(table, "--out", "other", "--label", "mass").exit_code == 2
    assert not Path("other").exists()


def test_overlays_are_of_the_first_films_and_of_what_gives_them_their_place(
    predict: Predict,
    png: Draw,
    run: Callable[..., Result],
    worklist: Callable[..., Made],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed in range(3):
        png(f"in/{seed}.png", seed, (60, 50))
    table = predict("in")
    done = run(table, "--overlays", 2)
    assert "Overlays of 2 films took " in done.output
    assert "location not validated" not in done.output  # it is in the pictures
    seen: list[tuple[str, float, tuple[str, ...]]] = []

    def noted(grey: object, found: object, label: str, probability: float, notes: list[str]) -> object:
        seen.append((label, probability, tuple(notes)))
        return overlay(grey, found, label, probability, notes)  # type: ignore[arg-type]

    monkeypatch.setattr("cxrzero.worklist.overlays.overlay", noted)
    made = worklist(table, overlays=2, overwrite=True)
    films = data_of(made)["films"]
    assert [len(each["overlays"]) for each in films] == [1, 1, 0]
    for place, (each, (label, probability, notes)) in enumerate(zip(films[:2], seen, strict=True), start=1):
        number = each["reason"]
        assert each["overlays"] == {str(number): f"{place:06d}-{number + 1:02d}.jpg"}
        assert label == ("pneumonia", "edema")[number]
        assert probability == pytest.approx(each["p"][number], abs=1e-6)
        assert notes[0] == "location not validated"
        assert ("not found: this is where it would look" in notes) == (probability < 0.5)
    assert len(list((made.page.parent / "overlays").iterdir())) == 2
    assert "by occlusion" in made.page.read_text(encoding="utf-8")


def test_by_default_occlusion_is_not_begun_and_the_page_says_how(
    predict: Predict, png: Draw, worklist: Callable[..., Made]
) -> None:
    png("in/a.png", 1)
    made = worklist(predict("in"))
    assert not (made.page.parent / "overlays").exists()
    assert "--overlays N draws those of the first N films" in made.page.read_text(encoding="utf-8")


def test_by_default_a_model_with_patches_draws_them(
    predict: Predict, png: Draw, worklist: Callable[..., Made], tmp_path: Path
) -> None:
    model = (str(write_patch_bundle(tmp_path / "patches")),)
    png("in/a.png", 1)
    made = worklist(predict("in", model=model), model=model)
    assert (made.overlays, made.faults) == (1, ())
    assert "by patch (" in made.page.read_text(encoding="utf-8")
