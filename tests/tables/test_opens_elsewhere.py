"""Tables open without options in the programs that people have: names whole, numbers as numbers, nothing as null."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrzero.images.radiograph import Facts
from cxrzero.prediction import FIXED_TYPES, Prediction
from cxrzero.tables.rows import KINDS, row_form
from cxrzero.tables.table import Table
from tests.support.needs import optional

pd = optional("pandas")

LABELS = ("edema", "masse, links — 左")
NAMES = ["archiv/Größe 1.png", '左肺,"a".png', "=1+1.png", "plain.png"]
SUFFIXES = ("csv", "jsonl", "parquet")
NUMBERS = np.array([0.1, 1 / 3, 1e-7, 1.0], np.float32)


def write(out: Path, long: bool) -> None:
    layout = row_form(LABELS, long=long, kinds=KINDS)
    facts = Facts("DX", "PA", "MONOCHROME2", "2.25.1", "2.25.2", "2.25.3")
    with Table(str(out), layout.columns) as table:
        rows = [Prediction("bad.dcm", LABELS, "failed", error='truncated: cut, "short"')]
        for name, number in zip(NAMES, NUMBERS.tolist(), strict=True):
            by_label = dict.fromkeys(LABELS, number)
            kinds: dict[str, Any] = {k: by_label if t is float else dict.fromkeys(LABELS, 1) for k, t in KINDS.items()}
            rows.append(Prediction(name, LABELS, "ok", 1, facts, frozenset({"b", "a"}), scores=by_label, **kinds))
        for row in rows:
            for cells in layout.rows(row):
                table.write(cells)
        table.commit()


def with_pandas(path: Path) -> list[dict[str, Any]]:
    read: dict[str, Callable[[Path], Any]] = {
        ".csv": pd.read_csv,
        ".jsonl": lambda path: pd.read_json(path, lines=True),
        ".parquet": pd.read_parquet,
    }
    frame = read[path.suffix](path)
    rows: list[dict[str, Any]] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return rows


def with_polars(path: Path) -> list[dict[str, Any]]:
    polars = pytest.importorskip("polars")
    read = {".csv": polars.read_csv, ".jsonl": polars.read_ndjson, ".parquet": polars.read_parquet}
    rows: list[dict[str, Any]] = read[path.suffix](path).to_dicts()
    return rows


def with_duckdb(path: Path) -> list[dict[str, Any]]:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        result = connection.execute(f"SELECT * FROM '{path}'")
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


@pytest.mark.parametrize("long", [False, True], ids=["wide", "long"])
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("program", [with_pandas, with_polars, with_duckdb])
def test_names_numbers_and_nothing(
    tmp_path: Path, program: Callable[[Path], list[dict[str, Any]]], suffix: str, long: bool
) -> None:
    out = tmp_path / f"t.{suffix}"
    write(out, long)
    failed, *scored = program(out)[:: len(LABELS) if long else 1]
    columns = ("probability", *KINDS) if long else (LABELS[1], *(f"{LABELS[1]}_{kind}" for kind in KINDS))
    assert list(failed)[: len(FIXED_TYPES)] == list(FIXED_TYPES)
    assert [failed[column] for column in ("frame", *columns)] == [None] * (1 + len(columns))
    assert failed["error"] == 'truncated: cut, "short"'
    safe = ["'" + name if name.startswith("=") and suffix == "csv" else name for name in NAMES]
    assert [row["path"] for row in scored] == safe
    assert [row["flags"] for row in scored] == ["a;b"] * len(NAMES)
    for column, kind in zip(columns, (float, *KINDS.values()), strict=True):
        values = [row[column] for row in scored]
        assert all(isinstance(value, int | float) for value in values), column
        expected = NUMBERS if kind is float else np.ones(len(NAMES), np.float32)
        np.testing.assert_array_equal(np.array(values, np.float32), expected)


def test_no_cell_of_a_csv_is_a_formula(tmp_path: Path) -> None:
    """As a spreadsheet takes it apart: every cell is a number, or text that starts with nothing that is run."""
    write(tmp_path / "t.csv", long=False)
    cells = pd.read_csv(tmp_path / "t.csv", header=None, dtype=str, keep_default_na=False).to_numpy().ravel()
    assert not [cell for cell in cells if cell[:1] in "=+@\t\r" and cell]
    assert (tmp_path / "t.csv").read_bytes().decode("utf-8").startswith("path,frame,")
