"""`cxrzero eval` from the outside."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
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


@pytest.mark.parametrize("files_before", range(4))
def test_a_full_disk_leaves_every_output_whole(
    study: Any, validation: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files_before: int
) -> None:
    out, real, written = tmp_path / "out", os.fsync, 0
    out.mkdir()
    for name in ("calibration.json", "metrics.csv", "metrics.json", "report.html"):
        (out / name).write_text("old")

    def full(number: int) -> None:
        nonlocal written
        written += 1
        if written > files_before:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(number)

    monkeypatch.setattr(os, "fsync", full)
    tables = [study.predictions, study.labels, "--validation", validation.predictions, validation.labels]
    result = invoke(*tables, "--resamples", "0", "--out", str(out), "--overwrite")
    assert result.exit_code == 1, result.output
    assert "cannot be written: No space left" in result.output
    assert sum(path.read_text(encoding="utf-8") != "old" for path in out.iterdir()) == files_before
    assert len(list(out.iterdir())) == 4


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
    written = [(out / name).read_text(encoding="utf-8") for name in ("report.html", "metrics.json")]
    assert tiny_bundle.name in written[0] or "fingerprint" in written[1]
