"""Tables as people have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxrzero.errors import ConfigError, MissingExtraError, NoInputError
from cxrzero.tables.read import number, open_table, read_table
from tests.support.needs import optional

pa = optional("pyarrow")
parquet = optional("pyarrow.parquet")

PLAIN = "image,score,note\na.png,0.25,first\nb.png,0.5,\nc.png,,Müller\n"
VARIANTS = {
    "plain": PLAIN.encode(),
    "byte order mark": PLAIN.encode("utf-8-sig"),
    "utf-16": PLAIN.encode("utf-16"),
    "windows-1252": PLAIN.encode("cp1252"),
    "windows line ends": PLAIN.replace("\n", "\r\n").encode(),
    "semicolons and decimal commas": PLAIN.replace(",", ";").replace(".5", ",5").replace("0.25", "0,25").encode(),
    "tabs": PLAIN.replace(",", "\t").encode(),
    "empty lines and trailing delimiters": ("\n" + PLAIN.replace(",first", ",first,,")).encode(),
    "quoted": PLAIN.replace("b.png", '"b.png"').encode(),
    "words for missing": PLAIN.replace("c.png,,", "c.png,NaN,").encode(),
    "json lines": (
        '{"image":"a.png","score":0.25,"note":"first"}\n{"image":"b.png","score":0.5,"note":null}\n'
        '{"image":"c.png","score":null,"note":"M\u00fcller"}\n'
    ).encode(),
}


@pytest.mark.parametrize("content", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_form_reads_the_same(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    table = read_table(open_table(path), text=["image"], categories=["note"], numbers=["score"])
    assert table.text["image"] == ["a.png", "b.png", "c.png"]
    assert table.text["note"] == ["first", "", "Müller"]
    np.testing.assert_array_equal(table.numbers["score"], [0.25, 0.5, np.nan])


def test_an_encoding_that_had_to_be_assumed_is_said(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(PLAIN.encode("cp1252"))
    assert "Windows-1252" in open_table(path).notes[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"image,score\na.png,high\n", "column 'score', data row 1: 'high' is not a number"),
        (b"image,score\na.png,0.1\nb.png\n", "data row 2 has 1 cells, the header has 2"),
        (b"image,score,score\na.png,1,1\n", "more than one column named 'score'"),
        (b"image,other\na.png,1\n", "no column 'score'"),
        (b"0.1\n0.2\n", "no table"),
        (b"PK\x03\x04rest", "spreadsheet"),
        (b"image,sc\x00re\n", "NUL"),
        (b'{"image": 1}\n[2]\n', "line 2 is not a JSON object"),
    ],
)
def test_what_is_no_table_is_refused_with_a_reason(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"table\.csv") as error:
        read_table(
            open_table(path), text=["image"], numbers=["score"] if b"score" in content or b"oth" in content else []
        )
    assert words in str(error.value)


@pytest.mark.parametrize("content", [b"", b"  \n", b"image,score\n"])
def test_empty_tables_are_no_input(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(NoInputError):
        read_table(open_table(path), text=["image"])


def test_a_missing_file_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="no such file"):
        open_table(tmp_path / "none.csv")


def test_parquet_is_read_or_the_extra_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        path.write_bytes(b"PAR1rest")
        with pytest.raises(MissingExtraError, match="parquet"):
            open_table(path)
        return
    pyarrow.parquet.write_table(pyarrow.table({"image": ["a", "b"], "score": [0.5, None]}), path)
    table = read_table(open_table(path), text=["image"], numbers=["score"])
    np.testing.assert_array_equal(table.numbers["score"], [0.5, np.nan])


@pytest.mark.parametrize(("cell", "value"), [("0.5", 0.5), (" 1,5 ", 1.5), ("1e-3", 0.001), ("-", None), ("NA", None)])
def test_numbers(cell: str, value: float | None) -> None:
    assert number(cell) == pytest.approx(np.nan if value is None else value, nan_ok=True)


def test_thousands_are_not_decimal_commas() -> None:
    with pytest.raises(ValueError, match="could not convert"):
        number("1,234,567")


def test_parquet_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    columns = {"image": ["a.png", "b.png", "c.png"], "score": [0.25, 0.5, None], "note": ["first", None, "Müller"]}
    parquet.write_table(pa.table({**columns, "score": pa.array(columns["score"], pa.float32())}), path)
    table = read_table(open_table(path), text=["image"], categories=["note"], numbers=["score"])
    assert table.text["image"] == columns["image"]
    assert table.text["note"] == ["first", "", "Müller"]
    np.testing.assert_array_equal(table.numbers["score"], [0.25, 0.5, np.nan])
