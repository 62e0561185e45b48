"""The search for templates on a labelled set."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxrzero.cli import app
from cxrzero.errors import LabelError, UsageError
from cxrzero.prompts.bank import load_bank
from cxrzero.screener import Screener
from cxrzero.search.prompts import choose, read_films


def labelled(folder: Path, png: Callable[..., Path], n: int = 24) -> Path:
    rows = []
    for seed in range(n):
        png(f"images/{seed}.png", seed=seed)
        rows.append([f"{seed}.png", seed // 2, seed % 2, (seed // 3) % 2, 0])
    path = folder / "labels.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["image", "patient_id", "edema", "mass", "No Finding"], *rows])
    return path


def test_search_reports_the_other_half(tmp_path: Path, tiny_bundle: Path, png: Callable[..., Path]) -> None:
    table = labelled(tmp_path, png)
    data = read_films(table, tmp_path / "images", None, None)
    assert data.labels == ("edema", "mass")
    result = choose(Screener(tiny_bundle, device="cpu"), data)
    assert result.n_choice + result.n_report == 24
    assert result.n_choice == 12  # whole patients
    assert result.choice_after >= result.choice_before
    assert result.low <= result.gain <= result.high
    assert result == choose(Screener(tiny_bundle, device="cpu"), data)


def test_the_command_writes_templates_that_predict_takes(
    tmp_path: Path, tiny_bundle: Path, png: Callable[..., Path]
) -> None:
    table, out = labelled(tmp_path, png), tmp_path / "chosen.yaml"
    (tmp_path / "images" / "3.png").write_bytes(b"no picture")
    arguments = ["prompts", "search", str(tmp_path / "images"), str(table), "--model", str(tiny_bundle), "-o", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 3, done.output
    assert "1 images could not be read" in done.output
    assert "95% interval" in done.output
    assert load_bank(out).templates is not None


def test_bad_tables(tmp_path: Path, png: Callable[..., Path]) -> None:
    table = labelled(tmp_path, png, 2)
    with pytest.raises(LabelError, match="no column 'hernia'"):
        read_films(table, tmp_path, ["hernia"], None)
    with pytest.raises(UsageError, match="--group"):
        read_films(table, tmp_path, None, "ward")


def test_on_real_films(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "nih"
    with (folder / "nih.csv").open(encoding="utf-8", newline="") as file:
        films = [row for row in csv.DictReader(file) if row["split"] == "val"][:80]
    table = tmp_path / "labels.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["image", "patient_id", "Pneumonia"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(films)
    result = choose(Screener(device="cpu"), read_films(table, folder, None, None))
    assert (result.n_labels, result.failed, result.n_choice + result.n_report) == (1, 0, 80)
    assert result.choice_after >= result.choice_before > 0.5
    assert result.low <= result.gain <= result.high
