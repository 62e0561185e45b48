"""`cxrzero train --check`: what it counts, what it refuses, what it shows."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("torch")
from cxrzero.cli import app


@pytest.fixture
def source(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["image,report,patient_id,split"]
    for n in range(12):
        Image.fromarray(rng.integers(0, 255, (40, 40), np.uint8)).save(tmp_path / f"{n}.png")
        report = "IMPRESSION: Clear lungs." if n % 2 else f"IMPRESSION: <b>Mass</b> number {n}. No effusion."
        lines.append(f"{n}.png,{report},p{n},{'val' if n > 9 else 'train'}")
    (tmp_path / "11.png").write_bytes((tmp_path / "0.png").read_bytes())  # the same picture in train and val
    (tmp_path / "p.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return tmp_path / "p.csv"


def run(source, *options):
    out = source.parent / "run"
    result = CliRunner().invoke(
        app, ["train", str(source), "--check", "--arch", "cxrzero-tiny", "--batch-size", "4", "-o", str(out), *options]
    )
    found = json.loads((out / "check.json").read_text()) if (out / "check.json").exists() else {}
    return result, found


def test_what_can_be_trained_is_described(source):
    result, found = run(source)
    assert result.exit_code == 0, result.output
    assert found["trainable"] is True
    assert (found["images"], found["training"], found["validation"]) == (12, 10, 2)
    assert found["sections"] == {"impression": 12}
    assert found["duplicate_images"] == [["0.png", "11.png"]]
    assert found["duplicates_across"] == 1
    assert found["repeated_texts"] == 6
    assert found["tokens"]["p0"] >= 3
    assert found["context_length"] == 32
    assert found["split_by"] == "source"
    for line in ("12: 10 training, 2 validation (as the source says)", "1  pictures in both training", "Trainable."):
        assert line in result.output
    page = (source.parent / "run" / "check.html").read_text("utf-8")
    assert page.count("<img") == 10
    assert "&lt;b&gt;Mass" in page
    assert "<b>Mass" not in page
    assert list((source.parent / "run" / "store").glob("*/pixels.npy"))  # a training finds them decoded


def test_everything_that_stops_a_training_is_said_at_once(source):
    (source.parent / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    with source.open("a") as file:
        file.write("gone.png,IMPRESSION: x.,p20,train\n5.png,gone.txt,p5,train\n7.png,INDICATION: x,p7,train\n")
        file.write("new.png,IMPRESSION: x.,p0,val\n")
    (source.parent / "new.png").write_bytes((source.parent / "4.png").read_bytes())
    result, found = run(source, "--batch-size", "64")
    assert result.exit_code == 1
    assert found["trainable"] is False
    assert len(found["missing"]) == len(found["unreadable_reports"]) == len(found["unreadable_images"]) == 1
    assert len(found["silent_reports"]) == found["shared_patients"] == 1
    for part in (
        "gone.png",
        "gone.txt",
        "3.png: ",
        "in both train and val",
        "a batch of 64",
        "Not trainable as it is.",
    ):
        assert part in result.output


def test_a_source_that_cannot_be_read_is_a_usage_error(tmp_path):
    (tmp_path / "p.csv").write_text("path\nx\n", "utf-8")
    result = CliRunner().invoke(app, ["train", str(tmp_path / "p.csv"), "--check"])
    assert result.exit_code == 2
    assert not (tmp_path / "check.json").exists()


def test_nothing_that_can_be_used(tmp_path):
    (tmp_path / "p.csv").write_text("image,text\ngone.png,x\n", "utf-8")
    result, found = run(tmp_path / "p.csv")
    assert result.exit_code == 1
    assert found["images"] == 0
    assert "0 training image(s)" in result.output


def test_without_a_run_folder_the_pictures_are_not_kept(source, monkeypatch):
    monkeypatch.chdir(source.parent)
    result = CliRunner().invoke(app, ["train", "p.csv", "--check", "--arch", "cxrzero-tiny", "--batch-size", "4"])
    assert result.exit_code == 0, result.output
    assert (source.parent / "check.json").exists()
    assert not (source.parent / "store").exists()


def test_patients_are_held_out_on_request(source):
    source.write_text(source.read_text().replace(",train", ",").replace(",val", ","))
    result, found = run(source, "--val-fraction", "0.4")
    assert result.exit_code == 0, result.output
    assert found["split_by"] == "patient"
    assert 0 < found["validation"] < 10
    assert "none held out: pass --val-fraction" in run(source)[0].output
