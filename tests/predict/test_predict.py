"""`cxrzero predict` from the command line, on the tiny bundle: results, exit codes, and every kind of bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner, Result

from cxrzero import Screener
from cxrzero.cli import app
from cxrzero.prediction import FIXED_COLUMNS
from tests.support.films import DX, write_dicom
from tests.support.needs import optional
from tests.support.pictures import picture
from tests.support.tables import table

pd = optional("pandas")

Draw = Callable[..., Path]
Predict = Callable[..., Result]
SR, RTPLAN, CT = "1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.481.5", "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def predict(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Predict:
    """Run the command in tmp_path; `out` is tmp_path/predictions.csv."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path, model: Path = tiny_bundle) -> Result:
        return CliRunner().invoke(app, ["predict", *map(str, arguments), "--model", str(model)])

    return run


def test_a_folder_becomes_a_table_and_a_record(predict: Predict, png: Draw, tmp_path: Path) -> None:
    png("in/a.png", 1)
    png("in/sub/b.png", 2)
    write_dicom(tmp_path / "in/c.dcm", DX, "DX")
    (tmp_path / "in/readme.txt").write_text("not an image")
    result = predict("in", "--labels", 'edema,"mass, left"')
    assert result.exit_code == 0, result.output
    rows = table()
    assert [row["path"] for row in rows] == ["in/a.png", "in/c.dcm", "in/sub/b.png"]
    assert all(0 < float(row["edema"]) < 1 and 0 < float(row["mass, left"]) < 1 for row in rows)
    assert len({row["edema"] for row in rows}) == 3
    assert (rows[1]["modality"], rows[1]["study_instance_uid"]) == ("DX", "2.25.2")
    record = json.loads(Path("predictions.run.json").read_text(encoding="utf-8"))
    assert record["counts"] == {"ok": 3, "failed": 0, "skipped": 0, "ignored_files": 1}
    assert record["prompts"][0] == {"label": "edema", "positive": ["edema"], "negative": ["no edema"]}
    assert record["models"][0]["name"] == "tiny"
    assert record["device"] in ("cpu", "cuda")
    assert "3 rows: 3 ok, 0 failed, 0 skipped; 1 other file ignored" in result.output
    assert "images/s" in result.output
    assert "decoding" in result.output


def test_the_models_own_labels_are_the_default(predict: Predict, png: Draw) -> None:
    png("a.png")
    assert predict("a.png").exit_code == 0
    assert list(table()[0])[-2:] == ["pneumonia", "edema"]


def test_the_table_is_the_same_for_all_workers_and_batches(predict: Predict, png: Draw, tmp_path: Path) -> None:
    for seed in range(23):
        png(f"in/{seed}.png", seed, (30 + seed, 40))
    tables = []
    for workers, batch_size in ((1, 1), (4, 7), (2, 64)):
        assert predict("in", "--overwrite", "--workers", str(workers), "--batch-size", str(batch_size)).exit_code == 0
        tables.append(table())
    for other in tables[1:]:
        assert [row["path"] for row in other] == [row["path"] for row in tables[0]]
        for label in ("pneumonia", "edema"):
            ours, theirs = ([float(row[label]) for row in rows] for rows in (tables[0], other))
            np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_output_on_standard_output_is_only_the_table(predict: Predict, png: Draw) -> None:
    png("a.png")
    result = predict("a.png", "--out", "-")
    assert result.exit_code == 0
    assert [line.partition(",")[0] for line in result.stdout.splitlines()] == ["path", "a.png"]
    assert not Path("-").exists()
    assert list(Path().glob("*.run.json")) == []


def test_every_format_has_the_same_numbers(predict: Predict, png: Draw) -> None:
    png("in/a.png", 1)
    Path("in/b.png").write_bytes(b"")
    for suffix in ("csv", "jsonl", "parquet"):
        result = predict("in", "--format", suffix, "--scores", "--labels", "edema,mass", "--overwrite")
        assert result.exit_code == 3, result.output
        assert f"Wrote predictions.{suffix}" in result.output
    from_csv = pd.read_csv("predictions.csv")
    from_jsonl = pd.read_json("predictions.jsonl", lines=True, precise_float=True)
    from_parquet = pd.read_parquet("predictions.parquet")
    names = ["edema", "mass", "edema_cos_pos", "mass_cos_pos", "edema_cos_neg", "mass_cos_neg"]
    for frame in (from_csv, from_jsonl, from_parquet):
        assert list(frame.columns)[11:] == names
        assert frame["status"].tolist() == ["ok", "failed"]
        np.testing.assert_array_equal(frame[names].to_numpy(np.float32), from_parquet[names].to_numpy(np.float32))
    assert -1 <= from_parquet["edema_cos_pos"][0] <= 1


def test_long_has_a_row_for_each_image_and_label(predict: Predict, png: Draw) -> None:
    png("a.png")
    assert predict("a.png", "--labels", "edema,mass").exit_code == 0
    wide = table()[0]
    result = predict("a.png", "--labels", "edema,mass", "--long", "--out", "-", "--format", "jsonl")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["path"], row["label"]) for row in rows] == [("a.png", "edema"), ("a.png", "mass")]
    assert [row["probability"] for row in rows] == [float(wide["edema"]), float(wide["mass"])]


def test_dry_run_reads_and_writes_nothing(predict: Predict, png: Draw) -> None:
    png("a.png")
    Path("broken.png").write_bytes(b"")
    result = predict(".", "--dry-run", "--labels", "edema")
    assert result.exit_code == 0
    for part in ("Would read   2 files", "edema  against  no edema", "predictions.csv"):
        assert part in result.output
    assert not Path("predictions.csv").exists()


def test_dry_run_says_that_an_output_is_there_and_who_would_refuse(predict: Predict, png: Draw) -> None:
    png("a.png")
    Path("predictions.csv").write_text("mine", encoding="utf-8")
    result = predict("a.png", "--dry-run", "--labels", "edema")
    assert result.exit_code == 0
    assert "predictions.csv exists already: name another --out, or give --overwrite to replace it" in result.output
    assert "exists already" not in predict("a.png", "--dry-run", "--labels", "edema", "--overwrite").output
    assert predict("a.png", "--labels", "edema").exit_code == 2
    assert Path("predictions.csv").read_text(encoding="utf-8") == "mine"
    result = predict("a.png", "--dry-run", "--labels", "edema", "--out", "-")
    assert "Would write  the table to standard output" in result.output


def test_options_from_a_file_and_the_command_line_wins(predict: Predict, png: Draw) -> None:
    png("a.png")
    Path("run.toml").write_text(
        'labels = ["edema", "mass, left"]\nbatch-size = 3\nout = "from_file.csv"\n', encoding="utf-8"
    )
    assert predict("a.png", "--config", "run.toml", "--batch-size", "5").exit_code == 0
    assert list(table("from_file.csv")[0])[-2:] == ["edema", "mass, left"]
    assert json.loads(Path("from_file.run.json").read_text(encoding="utf-8"))["options"]["batch_size"] == 5


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('colour = "red"', "unknown key"),
        ("labels = ", "not valid TOML"),
        ("[labels]\na = 1", "must be a value"),
        ('batch_size = "many"', "run.toml: --batch-size takes a whole number from 1 to 4,096, not 'many'."),
        ('device = "tpu"', "run.toml: --device takes auto, cpu, cuda or cuda:N, not 'tpu'."),
    ],
)
def test_a_wrong_config_file_is_wrong_usage(predict: Predict, png: Draw, content: str, complaint: str) -> None:
    png("a.png")
    Path("run.toml").write_text(content, encoding="utf-8")
    result = predict("a.png", "--config", "run.toml")
    assert result.exit_code == 2
    assert complaint in " ".join(result.output.replace("│", " ").split())
    assert not Path("predictions.csv").exists()


def bad_files(folder: Path) -> dict[str, str]:
    """File name → beginning of the status and error that its row must have."""
    folder.mkdir()
    good = write_dicom(folder / "good.dcm", DX, "DX")
    (folder / "empty.png").write_bytes(b"")
    (folder / "empty.dcm").write_bytes(b"")
    from PIL import Image

    Image.fromarray(picture(1, (200, 200))).save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:-9000])
    (folder / "cut.dcm").write_bytes(good.read_bytes()[:-500])
    (folder / "text.dcm").write_text("these are not pixels")
    (folder / "page.dcm").write_text("<!DOCTYPE html><html><body>Please log in</body></html>")
    write_dicom(folder / "report.dcm", SR, "SR", with_pixels=False)
    write_dicom(folder / "plan.dcm", RTPLAN, "RTPLAN", with_pixels=False)
    write_dicom(folder / "ct.dcm", CT, "CT")
    huge = pydicom.dcmread(good)
    huge.Rows = huge.Columns = 60_000
    huge.save_as(folder / "huge.dcm")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    return {
        "good.dcm": "ok",
        "empty.png": "failed empty_file",
        "empty.dcm": "failed empty_file",
        "cut.png": "failed truncated",
        "cut.dcm": "failed truncated",
        "text.dcm": "failed not_an_image",
        "page.dcm": "failed not_an_image",
        "report.dcm": "skipped no_pixels",
        "plan.dcm": "skipped no_pixels",
        "ct.dcm": "skipped not_projection_radiography",
        "huge.dcm": "failed too_many_pixels",
        "gone.png": "failed broken_link",
        "loop.png": "failed broken_link",
        "caf\\xe9.png": "failed empty_file",
    }


def test_every_bad_file_is_a_row_with_its_reason(predict: Predict, tmp_path: Path) -> None:
    expected = bad_files(tmp_path / "in")
    result = predict("in")
    assert result.exit_code == 3, result.output
    found = {
        os.path.basename(row["path"]): f"{row['status']} {row['error'].partition(':')[0]}".strip() for row in table()
    }
    assert found == expected
    assert "First failure" in result.output
    everything = (
        result.output
        + Path("predictions.csv").read_text(encoding="utf-8")
        + Path("predictions.run.json").read_text(encoding="utf-8")
    )
    assert "SECRET" not in everything
    assert "31337" not in everything


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc, whose files can fail to read")
def test_a_file_that_cannot_be_read(predict: Predict, tmp_path: Path) -> None:
    """/proc/self/mem opens and then fails to read, for every user; file modes would not stop root."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x.png").symlink_to("/proc/self/mem")
    result = predict("in")
    assert result.exit_code == 1
    assert table()[0]["error"].startswith("unreadable:")
    assert "No image could be scored" in result.output


def test_the_same_file_twice_is_two_rows(predict: Predict, png: Draw) -> None:
    png("a.png")
    os.link("a.png", "b.png")
    assert predict("a.png", "b.png", "a.png").exit_code == 0
    rows = table()
    assert [row["path"] for row in rows] == ["a.png", "b.png", "a.png"]
    assert len({row["edema"] for row in rows}) == 1


def test_only_skipped_files_score_nothing(predict: Predict, tmp_path: Path) -> None:
    write_dicom(tmp_path / "in/ct.dcm", CT, "CT")
    assert predict("in").exit_code == 1
    assert table()[0]["status"] == "skipped"


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["nowhere"], 2, "nowhere does not exist"),
        (["empty"], 2, "no image or DICOM file in empty"),
        (["a.png", "--labels", ""], 2, "no labels"),
        (["a.png", "--labels", "edema,edema"], 2, "more than once"),
        (["a.png", "--labels", "x" * 99], 1, "shorten the label"),
        (["a.png", "--out", "no/folder.csv"], 1, "does not exist"),
        (["a.png", "--out", "old.csv"], 2, "--overwrite"),
        (["a.png", "--out", "empty"], 1, "is a folder"),
        (["a.png", "--out", "t.xlsx"], 2, "not .xlsx"),
        (["a.png", "--out", "t.csv", "--format", "jsonl"], 2, "--format is jsonl"),
        (["a.png", "--out", "-", "--format", "parquet"], 2, "standard output"),
        (["a.png", "--scores", "--labels", "x,x_cos_neg"], 2, "x_cos_neg"),
        (["@nowhere.txt"], 2, "cannot be read"),
        (["a.png", "--workers", "0"], 2, "--workers takes a whole number from 1 to 256, not '0'."),
        (["a.png", "--model", "nothing"], 1, "no model 'nothing'"),
        ([], 2, ""),
    ],
)
def test_wrong_requests_end_before_any_image(
    predict: Predict, png: Draw, tmp_path: Path, arguments: list[str], code: int, complaint: str
) -> None:
    png("a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "old.csv").write_text("precious")
    model = {} if "--model" not in arguments else {"model": Path(arguments.pop())}
    if model:
        arguments.remove("--model")
    result = predict(*arguments, **model)
    assert result.exit_code == code
    assert complaint in result.output
    assert "Traceback" not in result.output
    assert (tmp_path / "old.csv").read_text() == "precious"
    assert not list(tmp_path.glob("*.partial"))


def test_fail_fast_stops_and_keeps_what_is_done(predict: Predict, png: Draw, tmp_path: Path) -> None:
    png("in/a.png")
    (tmp_path / "in/b.png").write_bytes(b"")
    png("in/c.png")
    result = predict("in", "--fail-fast")
    assert result.exit_code == 1
    assert "stopped at in/b.png: empty_file" in result.output
    assert not Path("predictions.csv").exists()
    assert [row["path"] for row in table("predictions.csv.partial")] == ["in/a.png", "in/b.png"]


def test_a_damaged_model_ends_before_any_image(predict: Predict, png: Draw, tiny_bundle: Path, tmp_path: Path) -> None:
    import shutil

    png("a.png")
    broken = shutil.copytree(tiny_bundle, tmp_path / "broken")
    content = bytearray((broken / "image_encoder.onnx").read_bytes())
    content[100] ^= 1
    (broken / "image_encoder.onnx").write_bytes(content)
    result = predict("a.png", model=broken)
    assert result.exit_code == 1
    assert "image_encoder.onnx is not the file" in result.output
    assert not list(tmp_path.glob("predictions*"))


def test_a_defect_shows_no_traceback_and_no_text_of_the_error(
    predict: Predict, png: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    png("a.png")

    def broken(*_: object) -> None:
        raise ValueError("SECRET^PATIENT")

    monkeypatch.setattr("cxrzero.predict.checks.check_paths", broken)
    result = predict("a.png")
    assert result.exit_code == 1
    assert "unexpected ValueError" in result.output
    assert "SECRET" not in result.output
    with pytest.raises(ValueError, match="SECRET"):
        CliRunner().invoke(app, ["predict", "a.png", "--debug"], catch_exceptions=False)


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ on Windows")
def test_ctrl_c_exits_130_and_keeps_what_is_done(tiny_bundle: Path, png: Draw, tmp_path: Path) -> None:
    for number in range(8):
        png(f"in/{number}.png", number)
    # A pipe that nobody writes to is not opened, so the list of one million copies keeps the run busy.
    (tmp_path / "list.txt").write_text("".join(f"{tmp_path}/in/{n % 8}.png\n" for n in range(1_000_000)))
    command = [sys.executable, "-m", "cxrzero", "predict", "@list.txt", "--model", str(tiny_bundle)]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        partial = tmp_path / "predictions.csv.partial"
        deadline = time.monotonic() + 60
        while not (partial.exists() and partial.stat().st_size > 10_000) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
    assert process.returncode == 130, error
    assert "Interrupted:" in error
    assert "Traceback" not in error
    assert not (tmp_path / "predictions.csv").exists()
    assert len(table(partial)) > 10


def test_ten_thousand_labels(predict: Predict, png: Draw) -> None:
    """Also of an image that failed: as a mapping its row once looked every label up in a list of all of them."""
    png("in/a.png", 1)
    Path("in/b.png").write_bytes(b"nothing")
    names = [f"finding {number}" for number in range(10_000)]
    Path("labels.txt").write_text("\n".join(names), encoding="utf-8")
    assert predict("in", "--labels", "@labels.txt", "--quiet").exit_code == 3
    scored, failed = table()
    assert list(scored)[11:] == names
    assert all(scored[name] for name in names)
    assert not any(failed[name] for name in names)


def test_rows_of_many_labels_look_labels_up_at_once(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    (row,) = Screener(tiny_bundle, device="cpu").predict(tmp_path / "a.png", ["edema", "mass"])
    assert not isinstance(row.labels, list | tuple)
    assert dict(row) == {**dict(zip(FIXED_COLUMNS, row.fixed(), strict=True)), "edema": None, "mass": None}
