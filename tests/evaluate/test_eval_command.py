"""`cxrzero eval` from the outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from cxrzero.calibration.file import read_calibration
from cxrzero.cli import app


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["eval", *arguments], env={"COLUMNS": "100"})


def test_a_whole_run(study: Any, validation: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tables = [study.predictions, study.labels, "--validation", validation.predictions, validation.labels]
    result = invoke(*tables, "--resamples", "100", "--out", str(out), "--reader", study.readers[0], "--by", "sex")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == [
        "calibration.json",
        "metrics.csv",
        "metrics.json",
        "report.html",
    ]
    assert "Pleural Effusion" in result.output
    assert "Mean MCC minus the mean reader's" in result.output
    assert "not a medical device" in result.output
    assert set(read_calibration(out / "calibration.json").thresholds) == set(study.LABELS)

    again = invoke(*tables, "--resamples", "100", "--out", str(out))
    assert again.exit_code == 2
    assert "exists already" in again.output

    applied = invoke(study.predictions, study.labels, "--calibration", str(out / "calibration.json"))
    assert applied.exit_code == 0, applied.output
    assert "MCC" in applied.output


def test_usage_errors_exit_2_in_one_line(study: Any, tmp_path: Path) -> None:
    result = invoke(study.predictions, str(tmp_path / "none.csv"))
    assert result.exit_code == 2
    assert "none.csv: no such file" in result.output
    assert "Traceback" not in result.output


def test_a_folder_is_predicted_first(tiny_bundle: Path, png: Any, write: Any, tmp_path: Path) -> None:
    films = [png(f"films/{i}.png", seed=i) for i in range(6)]
    labels = write(
        "labels.csv",
        ["image", "Pleural_Effusion", "No Finding"],
        [[p.name, i % 2, 1 - i % 2] for i, p in enumerate(films)],
    )
    out = tmp_path / "out"
    result = invoke(str(films[0].parent), labels, "--model", str(tiny_bundle), "--out", str(out))
    assert result.exit_code == 0, result.output
    assert (out / "predictions.csv").is_file()
    assert "Pleural Effusion" in result.output
    assert tiny_bundle.name in (out / "report.html").read_text() or "fingerprint" in (out / "metrics.json").read_text()
