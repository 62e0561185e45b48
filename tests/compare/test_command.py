"""`cxrzero compare` from the outside: files, pictures, privacy."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cxrzero.cli import app
from tests.support.hostile import HOSTILE, raw
from tests.support.pictures import picture

Table = Callable[..., Path]
MARKUP = "<script>alert(1)<script>&\"'.png"


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)], env={"COLUMNS": "100"})


@pytest.fixture
def tables(table: Table, tmp_path: Path) -> tuple[Path, Path]:
    """Two tables of twelve films that lie in films/; the first name is markup."""
    names = [MARKUP, *(f"f{n}.png" for n in range(1, 12))]
    (tmp_path / "films").mkdir()
    for n, name in enumerate(names):
        Image.fromarray(picture(n, (60, 40))).save(tmp_path / "films" / name)
    paths = [f"films/{name}" for name in names]
    rising = np.linspace(0.1, 0.9, 12)
    one = table("a.csv", {"mass": rising.tolist(), "=edema": rising.tolist()}, path=paths, record={"model": "old"})
    other = table("b.csv", {"mass": rising[::-1].tolist(), "=edema": rising.tolist()}, path=paths,
                  record={"model": "new<b>"})  # fmt: skip
    return one, other


def test_a_whole_run(tables: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = invoke(*tables, "--images", tmp_path, "--out", out, "--resamples", "100", "--top", "3")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == ["compare.csv", "compare.html", "compare.json"]
    assert "Joined 12 of 12 rows of A to 12 rows of B by path (whole path)" in result.output
    assert "-1.000" in result.output
    assert "Agreement does not say which is better" in result.output
    record = json.loads((out / "compare.json").read_text(encoding="utf-8"))
    assert record["models"][1] == [["new<b>", "f" * 64]]
    assert [flip["path"] for flip in record["flips"]] == [f"films/{MARKUP}", "films/f11.png", "films/f1.png"]
    with (out / "compare.csv").open(newline="", encoding="utf-8") as file:
        rows = {(row["label"], row["metric"], row["rule"]): row for row in csv.DictReader(file)}
    assert float(rows["mass", "spearman", ""]["value"]) == pytest.approx(-1)
    assert rows["mass", "both", "share"]["value"] == "0.0"
    assert "'=edema" in {label for label, *_ in rows}
    page = (out / "compare.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/jpeg') == 3
    assert "<script>alert" not in page
    assert "new<b>" not in page
    assert "../films/f11.png" in page

    again = invoke(*tables, "--out", out)
    assert again.exit_code == 2
    assert "exists already" in again.output
    assert invoke(*tables, "--out", out, "--overwrite").exit_code == 0
    assert "data:image" not in (out / "compare.html").read_text(encoding="utf-8")


def test_without_out_nothing_is_written(tables: tuple[Path, Path], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert invoke(*tables).exit_code == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_a_film_that_is_gone_or_another_is_said(tables: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "films/f11.png").unlink()
    (tmp_path / "films/f1.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    assert invoke(*tables, "--images", tmp_path, "--out", tmp_path / "out", "--top", "3").exit_code == 0
    page = (tmp_path / "out/compare.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/jpeg') == 1
    assert "there is no file of this name in the folder of --images" in page


def test_a_file_outside_the_folder_is_not_read(table: Table, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.fromarray(picture(1, (60, 40))).save(secret)
    (tmp_path / "films").mkdir()
    paths = ["../secret.png", str(secret), "x.png"]
    one = table("a.csv", {"mass": [0.1, 0.2, 0.3]}, path=paths)
    other = table("b.csv", {"mass": [0.3, 0.2, 0.1]}, path=paths)
    assert invoke(one, other, "--images", tmp_path / "films", "--out", tmp_path / "out").exit_code == 0
    assert "data:image" not in (tmp_path / "out/compare.html").read_text(encoding="utf-8")


def test_pseudonymised_tables_get_no_pictures(tables: tuple[Path, Path], table: Table, tmp_path: Path) -> None:
    paths = [f"films/{MARKUP}", *(f"films/f{n}.png" for n in range(1, 12))]
    scores = np.linspace(0.9, 0.1, 12).tolist()
    hidden = table("hidden.csv", {"mass": scores}, path=paths, record={"pseudonymise": True})
    result = invoke(tables[0], hidden, "--images", tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "out/compare.html").read_text(encoding="utf-8")
    assert "data:image" not in page
    assert "No film is shown: a table has pseudonyms" in page
    assert 'href="' not in page


def test_hostile_names_are_written_out(table: Table, tmp_path: Path) -> None:
    paths = [f"films/{HOSTILE.replace(chr(13), '').replace(chr(10), '')}.png", "films/b.png"]
    one = table("a.csv", {"mass\x1b[2J": [0.1, 0.2]}, path=paths)
    other = table("b.csv", {"mass\x1b[2J": [0.2, 0.1]}, path=paths)
    result = invoke(one, other, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert raw(result.output) == []
    page = (tmp_path / "out/compare.html").read_text(encoding="utf-8")
    assert raw(re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL)) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--share", "1.5"), "--share '1.5' is not a number between 0 and 1"),
        (("--share", "some"), "is not a number between 0 and 1"),
        (("--resamples", "5"), "give at least 100, or 0"),
        (("--confidence", "95"), "is not between 0 and 1"),
        (("--images", "nowhere"), "there is no such folder"),
        (("--patient", "mrn"), "has a column 'mrn' for --patient"),
        (("--map", "mass"), "write 'predicted label=reference label'"),
    ],
)
def test_wrong_usage(tables: tuple[Path, Path], options: tuple[str, ...], words: str) -> None:
    result = invoke(*tables, *options)
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.output.split())


@pytest.mark.parametrize("address", ["s3://bucket/a.csv", "dicomweb+https://pacs.example/rs"])
def test_a_table_is_a_file(tables: tuple[Path, Path], address: str) -> None:
    result = invoke(address, tables[1])
    assert result.exit_code == 2, result.output
    assert "no such file" not in result.output
