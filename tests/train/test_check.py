"""`cxrzero train --check`: what it counts, what it refuses, what it shows."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image, ImageDraw
from typer.testing import CliRunner

pytest.importorskip("torch")
from cxrzero.cli import app
from cxrzero.phantom import draw
from tests.support.hostile import HOSTILE, SHOWN, raw


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
    for line in (
        "12: 10 for training, 2 for validation (as the source says)",
        "1  picture is in both",
        "This can be trained on.",
    ):
        assert line in result.output
    page = (source.parent / "run" / "check.html").read_text("utf-8")
    shown, _, suspects = page.partition("Do these show a chest?")
    assert (shown.count("<img"), suspects.count("<img")) == (10, 12)  # noise is no film
    assert "&lt;b&gt;Mass" in page
    assert "<b>Mass" not in page
    assert list((source.parent / "run" / "store").glob("*/pixels.npy"))  # a training finds them decoded


def test_what_is_no_chest_film_is_said_and_shown(tmp_path):
    """Drawn: two films, a negative, a photograph in colour, a page of text, a blank picture."""
    films = [draw(seed).to_uint8() for seed in (0, 1)]
    pictures = {
        "film.png": Image.fromarray(films[0]),
        "other.png": Image.fromarray(films[1]),
        "negative.png": Image.fromarray(255 - films[0]),
        "holiday.png": landscape(),
        "letter.png": letter(),
        "blank.png": Image.new("L", (300, 300), 255),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
    rows = [f"{name},text of {name},train" for name in pictures]
    (tmp_path / "p.csv").write_text("\n".join(["image,text,split", *rows]) + "\n", "utf-8")
    result, found = run(tmp_path / "p.csv")
    assert result.exit_code == 0, result.output
    assert sorted(found["not_chest"]) == ["blank.png", "holiday.png", "letter.png"]
    assert found["inverted"] == ["negative.png"]
    assert "3  images do not look like a chest X-ray: holiday.png, letter.png, blank.png" in result.output
    assert "1  image looks like a negative: negative.png" in result.output
    page = (tmp_path / "run" / "check.html").read_text("utf-8")
    assert page.partition("Do these show a chest?")[2].count("<img") == 3


def test_names_and_texts_are_shown_with_what_a_terminal_would_act_on_made_visible(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = tmp_path / f"{HOSTILE}.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "text", "patient_id", "split"])
        for number in range(6):
            Image.fromarray(draw(number, 64).to_uint8()).save(tmp_path / f"{number}{HOSTILE}.png")
            rows.writerow([f"{number}{HOSTILE}.png", f"text \x1b[2J\u202e {number}", f"p{number}", "train"])
        rows.writerow([f"gone {HOSTILE}.png", "text", "p7", "train"])
    trained = CliRunner().invoke(app, ["train", str(table), "--arch", "cxrzero-tiny", "--out", f"run {HOSTILE}"])
    checked = CliRunner().invoke(
        app, ["train", str(table), "--check", "--arch", "cxrzero-tiny", "--out", f"run {HOSTILE}"]
    )
    resumed = CliRunner().invoke(app, ["train", "--resume", HOSTILE])
    for result in (trained, checked, resumed):
        assert raw(result.output) == []
        assert SHOWN in result.output
    assert f"\n  gone {SHOWN}.png" in trained.stderr.replace(f"{tmp_path}/", "")
    page = (tmp_path / f"run {HOSTILE}" / "check.html").read_text("utf-8")
    assert raw(page) == []
    assert f"0{SHOWN}.png" in page
    assert r"text \x1b[2J\u202e" in page


def landscape():
    """Sky, grass, a house and the sun."""
    picture = Image.new("RGB", (400, 300), (120, 180, 235))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 190, 400, 300), fill=(70, 140, 50))
    pen.ellipse((300, 20, 360, 80), fill=(255, 230, 80))
    pen.rectangle((80, 120, 180, 220), fill=(170, 60, 50))
    pen.polygon([(70, 120), (130, 60), (190, 120)], fill=(90, 40, 30))
    return picture


def letter():
    picture = Image.new("L", (600, 800), 250)
    pen = ImageDraw.Draw(picture)
    for line in range(40):
        pen.text((40, 30 + 18 * line), "FINDINGS The lungs are clear. No effusion or pneumothorax.", fill=20)
    return picture


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
        "This cannot be trained on as it is.",
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
    assert "0 training images" in result.output


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
