"""`cxrzero eval FILMS --boxes CSV`: films that have boxes are mapped first."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cxrzero.cli import app
from cxrzero.errors import ConfigError, NoInputError
from cxrzero.evaluate.boxes.map_first import asked_labels, film_mapper
from cxrzero.evaluate.boxes.run import evaluate_boxes
from cxrzero.evaluate.boxes.seen import stated_training
from cxrzero.evaluate.boxes.table import read_boxes
from cxrzero.evaluate.options import EvalOptions

HEADER = ("image", "finding", "x", "y", "width", "height")
N = 6


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})


@pytest.fixture
def films(png: Any, tmp_path: Path) -> Path:
    for i in range(N):
        png(f"films/{i}.png", seed=i)
    return tmp_path / "films"


@pytest.fixture
def boxes(write: Any) -> str:
    rows = [(f"{i}.png", finding, i, 2, 20, 25) for i in range(N) for finding in ("Effusion", "Mass")]
    return str(write("boxes.csv", HEADER, rows))


def test_it_is_what_a_folder_of_their_maps_gives(films: Path, boxes: str, tiny_bundle: Path, tmp_path: Path) -> None:
    asked = ["--model", str(tiny_bundle), "--method", "occlusion", "--labels", "Effusion,Mass"]
    made = invoke("heatmap", films, *asked, "--format", "npz", "--out", tmp_path / "maps")
    assert made.exit_code == 0, made.output
    shared = ["--boxes", boxes, "--unseen", "--resamples", "100"]
    first = invoke("eval", films, *shared, *asked, "--out", tmp_path / "first")
    assert first.exit_code == 0, first.output
    assert "maps by occlusion: asked for" in first.output
    then = invoke("eval", tmp_path / "maps", *shared, "--out", tmp_path / "then")
    assert then.exit_code == 0, then.output
    one, other = (json.loads((tmp_path / name / "location.json").read_text("utf-8")) for name in ("first", "then"))
    assert one["labels"] == other["labels"]
    assert [label["n_films"] for label in one["labels"]] == [N, N]
    assert one["model"] == other["model"]
    assert one["method"] == other["method"] == "occlusion"


def test_what_cannot_be_read_is_said(films: Path, boxes: str, tiny_bundle: Path) -> None:
    (films / "2.png").write_bytes((films / "2.png").read_bytes()[:60])
    options = EvalOptions(str(films), boxes=Path(boxes), model=(str(tiny_bundle),), method="occlusion", n_resamples=0)
    found = evaluate_boxes(options, film_mapper(options))
    texts = " ".join(each.text for each in found.warnings)
    assert [label.n_films for label in found.labels] == [N - 1, N - 1]
    assert "2 boxes are on films that cannot be read (first: " in texts
    assert "films/2.png: " in texts


def test_what_a_card_says_of_its_training_is_named(films: Path, boxes: str, tiny_bundle: Path) -> None:
    stated = {"training_data": [{"name": "films of A", "images": 5}, {"images": 3}, "B"]}
    assert stated_training(stated) == "films of A; B"
    assert stated_training({"training_data": "films of A"}) == "films of A"
    assert [stated_training(card) for card in ({}, {"training_data": None}, {"training_data": 3}, None)] == [""] * 4
    bundle = Path(shutil.copytree(tiny_bundle, films.parent / "model"))
    card = json.loads((bundle / "model.json").read_text("utf-8")) | {"training_data": [{"name": "films of A"}]}
    (bundle / "model.json").write_text(json.dumps(card), "utf-8")
    options = EvalOptions(str(films), boxes=Path(boxes), model=(str(bundle),), n_resamples=0)
    warning = evaluate_boxes(options, film_mapper(options)).warnings[0].text
    assert warning.startswith("TRAINING UNKNOWN")
    assert "Its card names: films of A." in warning


def test_only_films_with_boxes_are_read(films: Path, write: Any, tiny_bundle: Path) -> None:
    for i in range(1, N):
        (films / f"{i}.png").write_bytes(b"")
    boxes = write("boxes.csv", HEADER, [("0.png", "Mass", 1, 2, 20, 25)])
    options = EvalOptions(str(films), boxes=Path(boxes), model=(str(tiny_bundle),), n_resamples=0, unseen=True)
    found = evaluate_boxes(options, film_mapper(options))
    assert [label.n_films for label in found.labels] == [1]
    assert found.gathered.counts.unread == 0


def test_a_folder_of_neither(tmp_path: Path, boxes: str, tiny_bundle: Path) -> None:
    options = EvalOptions(str(tmp_path), boxes=Path(boxes), model=(str(tiny_bundle),))
    with pytest.raises(NoInputError, match="holds neither maps nor films"):
        evaluate_boxes(options, film_mapper(options))
    with pytest.raises(ConfigError, match="run cxrzero heatmap with --format npz"):
        evaluate_boxes(options)


def test_findings_are_asked_as_the_model_names_them(write: Any) -> None:
    rows = [("0.png", name, 1, 2, 3, 4) for name in ("Effusion", "Infiltrate", "Pleural_Thickening", "Lung_Lesion")]
    table = read_boxes(Path(write("boxes.csv", HEADER, rows)))
    known = ("pleural effusion", "pleural thickening", "infiltration")
    asked = ("pleural effusion", "infiltration", "pleural thickening", "Lung Lesion")
    assert asked_labels(table, known, {}) == asked
    mapping = {"fluid": ("Effusion",)}
    assert asked_labels(table, (), mapping) == ("fluid", "Infiltrate", "Pleural Thickening", "Lung Lesion")
