"""The search for templates on a labelled set."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxrzero.cli import app
from cxrzero.errors import ConfigError, LabelError, NoInputError, UsageError
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
    assert "1 image could not be read" in done.output
    assert "95% interval" in done.output
    assert load_bank(out).templates is not None


def test_a_list_says_which_films_are_looked_at_and_where_they_are(
    tmp_path: Path, tiny_bundle: Path, png: Callable[..., Path]
) -> None:
    table = labelled(tmp_path, png)
    films = tmp_path / "images"
    (films / "part").mkdir()
    (films / "20.png").rename(films / "part/20.png")
    listed = [f"images/{seed}.png" for seed in range(20)] + ["images/part", "# the others are elsewhere"]
    (tmp_path / "list.txt").write_text("\n".join(f"{tmp_path}/{line}" if line[0] != "#" else line for line in listed))
    data = read_films(table, f"@{tmp_path}/list.txt", None, None)
    assert data.paths == (*(films / f"{seed}.png" for seed in range(20)), films / "part/20.png")
    assert data.truth.shape == (21, 2)
    assert data.truth[:, 0].tolist() == [seed % 2 for seed in range(21)]
    arguments = ["prompts", "search", f"@{tmp_path}/list.txt", str(table), "--model", str(tiny_bundle)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    (tmp_path / "list.txt").write_text(f"{films}/part/20.png\n{png('other/20.png')}\n")
    with pytest.raises(ConfigError, match=r"20\.png fits 2 files"):
        read_films(table, f"@{tmp_path}/list.txt", None, None)
    (tmp_path / "list.txt").write_text(f"{png('elsewhere.png')}\n")
    with pytest.raises(NoInputError, match="names no image"):
        read_films(table, f"@{tmp_path}/list.txt", None, None)


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
