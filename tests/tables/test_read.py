"""Tables as programs and people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrzero.errors import ConfigError
from cxrzero.evaluate.columns import prediction_labels
from cxrzero.tables.labelled import LabelTable, read_labelled
from cxrzero.tables.labels import LabelRules
from cxrzero.tables.read import columns_that, open_table, read_table

DIALECTS = {
    "excel": "sep=;\r\nimage;Edema;Pleural Effusion\r\na.png;1;0\r\nb.png;0;1\r\n",
    "excel, quoted": '"sep=;"\nimage;Edema;Pleural Effusion\na.png;1;0\nb.png;0;1\n',
    "a bar": "sep=|\nimage|Edema|Pleural Effusion\na.png|1|0\nb.png|0|1\n",
    "tab": "SEP=\t\nimage\tEdema\tPleural Effusion\na.png\t1\t0\nb.png\t0\t1\n",
    "line break in a heading": 'image,Edema,"Pleural\nEffusion"\na.png,1,0\nb.png,0,1\n',
    "windows line break in a heading": 'image;Edema;"Pleural \r\n Effusion"\r\na.png;1;0\r\nb.png;0;1\r\n',
    "row numbers of pandas": ",image,Edema,Pleural Effusion\n0,a.png,1,0\n1,b.png,0,1\n",
    "row numbers read again": "Unnamed: 0,image,Edema,Pleural Effusion\n0,a.png,1,0\n1,b.png,0,1\n",
    "words": "image,Edema,Pleural Effusion\na.png,TRUE,no\nb.png, false ,Yes\n",
    "floats": "image,Edema,Pleural Effusion\na.png,1.0,0.0\nb.png,0.0,1.0\n",
}


def test_a_delimiter_is_one_that_splits_the_rows_too(tmp_path: Path) -> None:
    """Commas in a heading would make more columns of it than its semicolons."""
    heading = "image;Edema;first, second, third, fourth, as in the report\n"
    source = open_table(written(tmp_path, (heading + "a.png;1;x\nb.png;0;y\n").encode()))
    assert source.columns == ("image", "Edema", "first, second, third, fourth, as in the report")


def written(folder: Path, content: bytes) -> Path:
    path = folder / "labels.csv"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("content", DIALECTS.values(), ids=DIALECTS.keys())
def test_dialects(tmp_path: Path, content: str, encoding: str) -> None:
    data = read_labelled(written(tmp_path, content.encode(encoding)), Path())
    assert data.labels == ("Edema", "Pleural Effusion")
    assert data.truth.tolist() == [[1, 0], [0, 1]]
    assert data.left_out == {}


def test_a_value_sep_is_no_separator_line(tmp_path: Path) -> None:
    source = open_table(written(tmp_path, b"sep=a,Edema\nx,1\n"))
    assert source.columns == ("sep=a", "Edema")


def test_row_numbers_are_no_label(tmp_path: Path) -> None:
    source = open_table(written(tmp_path, DIALECTS["row numbers of pandas"].encode()))
    assert prediction_labels(source) == ["Edema", "Pleural Effusion"]
    assert LabelTable(source, LabelRules(), apart=["image"]).names == ("Edema", "Pleural Effusion")


def test_a_column_there_twice_is_refused(tmp_path: Path) -> None:
    source = open_table(written(tmp_path, b"image,Edema,Edema\na,1,0\n"))
    with pytest.raises(ConfigError, match="more than one column named 'Edema'"):
        read_table(source, numbers=["Edema"])
    assert columns_that(source, ["Edema", "image"], lambda name, cells: True) == ("image",)


def test_a_heading_whose_quotes_never_close_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not readable as CSV|no table"):
        open_table(written(tmp_path, b'"image,Edema\n' + b"a,1\n" * 100_000))


def test_columns_are_left_alone_once_they_do_not_fit(tmp_path: Path) -> None:
    rows = b"".join(b"f%d,%d,%d\n" % (i, i % 2, i) for i in range(120_000))
    source = open_table(written(tmp_path, b"image,Edema,number\n" + rows))
    looked: list[tuple[str, int]] = []

    def fits(name: str, cells: list[str]) -> bool:
        looked.append((name, len(cells)))
        return set(cells) <= {"0", "1"}

    assert columns_that(source, ["Edema", "number"], fits) == ("Edema",)
    assert [name for name, _ in looked].count("number") == 1
    assert sum(n for name, n in looked if name == "Edema") == 120_000
