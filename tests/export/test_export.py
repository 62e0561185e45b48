"""`cxrzero export`: what other programs are told of a table, by their documented formats."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pydicom
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from cxrzero.cli import app
from tests.support import needs
from tests.support.films import DX, write_dicom

Draw = Callable[..., Path]

HEADING = (
    "path,frame,modality,view_position,photometric_interpretation,study_instance_uid,series_instance_uid,"
    "sop_instance_uid,status,flags,error"
)
# Label Studio's SDK needs another NumPy than this project: a Python that has it, where there is one.
SDK_PYTHON = os.environ.get("CXRZERO_LABEL_STUDIO_PYTHON", sys.executable)
# Its own validators; `validate_task` of a task with predictions calls one of them without its argument.
VALIDATE = """
import json, sys
from label_studio_sdk.label_interface import LabelInterface
tasks, configuration = (open(name, encoding="utf-8").read() for name in sys.argv[1:])
interface = LabelInterface(configuration)
interface.validate()
for task in json.loads(tasks):
    assert interface.validate_task({"data": task["data"]}), task
    for prediction in task["predictions"]:
        assert interface.validate_prediction(prediction, return_errors=True) == [], task
print(sorted(interface.get_control("findings").labels))
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def predicted(folder: Path, png: Draw, tiny_bundle: Path) -> Path:
    """A table of three films, of which one is DICOM and one could not be read."""
    png("films/a b.png", 1)
    write_dicom(folder / "films/film.dcm", DX, "DX")
    (folder / "films/broken.png").write_bytes(b"nothing")
    arguments = ["predict", "films", "--model", str(tiny_bundle), "--labels", "edema,no finding"]
    assert CliRunner().invoke(app, arguments).exit_code == 3
    return folder / "predictions.csv"


def table(folder: Path, *rows: str, labels: str = "edema") -> Path:
    path = folder / "made.csv"
    path.write_text("\n".join([f"{HEADING},{labels}", *rows, ""]), encoding="utf-8")
    return path


def row(path: str, *numbers: object, frame: int = 1, status: str = "ok") -> str:
    return ",".join([path, str(frame), *[""] * 6, status, "", "", *map(str, numbers)])


def test_label_studio_by_its_documented_rules(predicted: Path, folder: Path) -> None:
    """https://labelstud.io/guide/predictions: every name in a result is one of the configuration."""
    done = run(predicted, "--to", "label-studio", "--png", "png", "--threshold", 0)
    assert done.exit_code == 0, done.output
    assert "1 row with the status failed: left out." in done.output
    view = ElementTree.parse(folder / "tasks.xml").getroot()
    image, choices, scores = (view.find(tag) for tag in ("Image", "Choices", "Table"))
    tasks, fingerprint = read(folder / "tasks.json"), read(folder / "predictions.run.json")["models"][0]["fingerprint"]
    assert [task["data"]["path"] for task in tasks] == ["films/a b.png", "films/film.dcm"]
    for number, task in zip((1, 3), tasks, strict=True):
        data, (prediction,) = task["data"], task["predictions"]
        assert data[image.get("value").removeprefix("$")] == f"/data/local-files/?d=png/{number:06d}.png"
        assert list(data[scores.get("value").removeprefix("$")]) == ["edema", "no finding"]
        assert prediction["model_version"] == f"tiny {fingerprint[:12]}"
        assert prediction["score"] == max(data["scores"].values())
        (region,) = prediction["result"]
        assert (region["from_name"], region["to_name"]) == (choices.get("name"), image.get("name"))
        assert (region["type"], choices.get("toName")) == ("choices", image.get("name"))
        assert region["value"]["choices"] == [each.get("value") for each in choices] == ["edema", "no finding"]


def test_label_studios_sdk_finds_no_fault(predicted: Path, folder: Path) -> None:
    found = subprocess.run([SDK_PYTHON, "-c", "import label_studio_sdk"], capture_output=True, check=False)
    if found.returncode:
        needs.missing("no Label Studio SDK (set CXRZERO_LABEL_STUDIO_PYTHON to a Python that has label-studio-sdk)")
    strange = '"a <b> & name=""image"" $x \x07é",edema_decision,toName'
    tables = [predicted, table(folder, row("x.png", 0.5, 0.75, 1, 0.25), labels=f"edema,{strange}")]
    for number, each in enumerate(tables):
        for threshold in ([], ["--threshold", 0], ["--threshold", 1]):
            out = folder / f"tasks-{number}{''.join(map(str, threshold))}.json"
            assert run(each, "--to", "label-studio", "--out", out, *threshold).exit_code in (0, 3)
            command = [SDK_PYTHON, "-c", VALIDATE, str(out), str(out.with_suffix(".xml"))]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
    assert done.stdout == str(sorted(["edema", 'a <b> & name="image" $x \\x07é', "toName"])) + "\n"


def test_fiftyone_by_its_documented_rules(predicted: Path, folder: Path) -> None:
    """FiftyOneImageClassificationDataset: `labels` of absolute paths, whose targets are places in `classes`."""
    done = run(predicted, "--to", "fiftyone")
    assert done.exit_code == 3, done.output
    assert "1 film is left out: not named as a PNG" in done.output
    assert "it is films/film.dcm" in done.output
    written, record = read(folder / "labels.json"), read(folder / "predictions.run.json")
    assert written["classes"] == ["edema", "no finding"]
    (path,) = written["labels"]
    assert path == os.path.abspath("films/a b.png")
    targets = written["labels"][path]
    model = f"tiny {record['models'][0]['fingerprint'][:12]}"
    assert [(each["label"], each["attributes"]) for each in targets] == [(0, {"model": model}), (1, {"model": model})]
    scores = predicted.read_text("utf-8").splitlines()[1].split(",")[-2:]
    assert [each["confidence"] for each in targets] == [float(score) for score in scores]


def test_what_is_drawn_is_upright_and_bright_where_dense(folder: Path, tiny_bundle: Path) -> None:
    pixels = np.arange(64 * 48, dtype=np.uint16).reshape(64, 48)
    Image.fromarray(pixels).save(folder / "sixteen.png")
    assert CliRunner().invoke(app, ["predict", "sixteen.png", "--model", str(tiny_bundle)]).exit_code == 0
    assert run("predictions.csv", "--to", "fiftyone", "--png", "png").exit_code == 0
    (path,) = read(folder / "labels.json")["labels"]
    assert path == str(folder / "png/000001.png")
    with Image.open(path) as drawn:
        grey = np.asarray(drawn)
    assert (str(grey.dtype), grey.shape, grey[0, 0], grey[-1, -1]) == ("uint8", (64, 48), 0, 255)


def test_decisions_and_calibrated_probabilities_go_along(folder: Path) -> None:
    labels = "edema,mass,edema_calibrated,mass_calibrated,edema_decision,mass_decision"
    made = table(folder, row("a.png", 0.25, 0.5, 0.125, "", 1, ""), labels=labels)
    assert run(made, "--to", "fiftyone").exit_code == 0
    (targets,) = read(folder / "labels.json")["labels"].values()
    assert [each["attributes"] for each in targets] == [{"calibrated": 0.125, "found": True}, {}]
    assert run(made, "--to", "label-studio").exit_code == 0
    ((task),) = read(folder / "tasks.json")
    assert [each["value"]["choices"] for each in task["predictions"][0]["result"]] == [["edema"]]
    assert "model_version" not in task["predictions"][0]
    again = run(made, "--to", "label-studio", "--threshold", 0.5, "--overwrite")
    assert "there is no record of the run" in again.output
    ((task),) = read(folder / "tasks.json")
    assert [each["value"]["choices"] for each in task["predictions"][0]["result"]] == [["mass"]]


def test_addresses_of_pictures(folder: Path) -> None:
    rows = [row(path, 0.5) for path in ("/x/a&b #1.png", "s3://bucket/a.jpg", "https://data.example/a.png?sig=1")]
    rows += [row("films.zip!/a.png", 0.5), row("a.tif", 0.5), row("m.png", 0.5, frame=2), row("/x/a&b #1.png", 0.5)]
    made = table(folder, *rows)
    done = run(made, "--to", "label-studio", "--prefix", "http://pictures/")
    assert done.exit_code == 3
    images = [task["data"]["image"] for task in read(folder / "tasks.json")]
    assert images == ["http://pictures/x/a%26b%20%231.png", "s3://bucket/a.jpg", "https://data.example/a.png?sig=1"]
    for fault in (
        "2 films are left out: not named",
        "1 film is left out: one frame",
        "an earlier row has the same",
    ):
        assert fault in done.output
    assert run(made, "--to", "fiftyone").exit_code == 3
    assert [*read(folder / "labels.json")["labels"]] == ["/x/a&b #1.png"]


def test_a_film_that_is_another_one_now_is_not_drawn(predicted: Path, folder: Path) -> None:
    film = pydicom.dcmread(folder / "films/film.dcm")
    film.SOPInstanceUID = "1.2.3"
    film.save_as(folder / "films/film.dcm")
    (folder / "films/a b.png").unlink()
    done = run(predicted, "--to", "fiftyone", "--png", "png")
    assert done.exit_code == 2
    assert "none of its films can be shown" in done.output
    assert [path.name for path in folder.glob("labels*")] == []


@pytest.mark.parametrize(
    ("labels", "rows", "fault"),
    [
        ("label,probability", [row("a.png", "edema", 0.5)], "a table of --long"),
        ("flags_of_others", [row("a.png", "")], "lacks a score"),
        ("edema", [row("a.png", 1.5)], "lacks a score from 0 to 1"),
        ("edema", [row("a.png", "high")], "not a number"),
        ("edema", [row("a.png", "", status="failed")], "no film of it was scored"),
        ("edema,edema", [row("a.png", 0.5, 0.5)], "edema"),
        ("edema", [row("a.dcm", 0.5)], "give --png"),
    ],
)
def test_tables_that_are_refused(folder: Path, labels: str, rows: list[str], fault: str) -> None:
    done = run(table(folder, *rows, labels=labels), "--to", "label-studio")
    assert done.exit_code == 2
    assert fault in done.output.replace("\n", " ")
    assert [path.name for path in folder.iterdir()] == ["made.csv"]


def test_a_table_without_labels_and_a_database_are_refused(folder: Path) -> None:
    made = folder / "made.csv"
    made.write_text(f"{HEADING}\n{row('a.png')}\n")
    assert "no label" in run(made, "--to", "fiftyone").output
    made.write_bytes(b"SQLite format 3\0" + bytes(84))
    assert "this is a database" in run(made, "--to", "fiftyone").output


def test_nothing_is_replaced_unasked(predicted: Path, folder: Path) -> None:
    arguments = [predicted, "--to", "label-studio", "--png", "png"]
    assert run(*arguments).exit_code == 0
    (folder / "tasks.json").write_text("mine")
    assert run(*arguments).exit_code == 2
    (folder / "tasks.json").unlink()
    assert "tasks.xml exists already" in run(*arguments).output
    (folder / "tasks.xml").unlink()
    assert "png is not empty" in run(*arguments).output
    assert run(*arguments, "--overwrite").exit_code == 0


def test_pseudonyms_name_no_picture(folder: Path, png: Draw, tiny_bundle: Path) -> None:
    key = folder / "key"
    arguments = [
        "predict",
        str(png("a.png")),
        "--model",
        str(tiny_bundle),
        "--pseudonymise",
        "--pseudonym-key",
        str(key),
    ]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert "pseudonyms" in run("predictions.csv", "--to", "fiftyone").output


def test_options_that_do_not_go_together(folder: Path) -> None:
    made = table(folder, row("a.png", 0.5))
    assert "--prefix makes addresses" in run(made, "--to", "fiftyone", "--prefix", "x").output
    assert "is the table that is read" in run(made, "--to", "fiftyone", "--out", made, "--overwrite").output
    assert "is for the tasks" in run(made, "--to", "label-studio", "--out", "tasks.xml").output
