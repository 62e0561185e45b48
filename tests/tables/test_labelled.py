"""Labelled tables of every dialect are read alike, for the search for prompts and for the validation of a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxrzero.errors import ConfigError, LabelError, NoInputError, UsageError
from cxrzero.search.prompts import read_films
from cxrzero.tables.labelled import read_labelled
from tests.support.needs import optional

pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")

PLAIN = "image,patient_id,edema,mass,ward\na.png,p2,1,0,Süd\nb.png,p1,0,1,Süd\nc.png,p2,0,,Ost\n"
LISTED = "Image Index\tFinding Labels\tPatient ID\na.png\tedema\tp2\nb.png\tmass\tp1\nc.png\tNo Finding\tp2\n"
DIALECTS = {
    "plain": PLAIN.encode(),
    "byte order mark": PLAIN.encode("utf-8-sig"),
    "utf-16 and tabs": PLAIN.replace(",", "\t").encode("utf-16"),
    "windows-1252, semicolons and decimal commas": (
        PLAIN.replace(",1", ",1;0").replace(",0", ",0;0").replace(",", "|").replace(";", ",").replace("|", ";")
    ).encode("cp1252"),
    "words": PLAIN.replace(",1,0", ",Yes,No").replace(",0,1", ",false,TRUE").encode(),
    "other names": PLAIN.replace("image,patient_id", "Path,Subject ID").encode(),
    "json lines": b"".join(
        b'{"path": "%s", "subject_id": "%s", "edema": %s, "mass": %s, "ward": "x"}\n' % row
        for row in ((b"a.png", b"p2", b"1", b"0"), (b"b.png", b"p1", b"0", b"1"), (b"c.png", b"p2", b"0", b"null"))
    ),
}


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "labels.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("content", DIALECTS.values(), ids=DIALECTS.keys())
def test_dialects(tmp_path: Path, content: bytes) -> None:
    data = read_labelled(written(tmp_path, content), Path("films"))
    assert data.paths == tuple(Path("films") / name for name in ("a.png", "b.png", "c.png"))
    assert data.labels == ("edema", "mass")
    np.testing.assert_array_equal(data.truth, [[1, 0], [0, 1], [0, np.nan]])
    assert data.units.tolist() == [1, 0, 1]
    assert data.left_out == {"ward": "data row 1 is no label"}


def test_parquet(tmp_path: Path) -> None:
    columns = {"image": ["a.png", "b.png", "c.png"], "edema": [1.0, 0.0, None], "mass": [True, False, False]}
    parquet.write_table(pa.table(columns), tmp_path / "labels.parquet")
    data = read_labelled(tmp_path / "labels.parquet", tmp_path)
    np.testing.assert_array_equal(data.truth, [[1, 1], [0, 0], [np.nan, 0]])
    assert data.units.tolist() == [0, 1, 2]


def test_one_column_may_list_the_findings(tmp_path: Path) -> None:
    path = written(tmp_path, LISTED)
    data = read_labelled(path, tmp_path)
    assert data.labels == ("edema", "mass", "No Finding")
    np.testing.assert_array_equal(data.truth, np.eye(3))
    films = read_films(path, tmp_path, None, None)
    assert films.labels == ("edema", "mass")
    assert films.notice() == "columns not taken as labels: No Finding (templates do not fit)"
    assert read_films(path, tmp_path, ["Mass"], None).labels == ("mass",)


def test_uncertain_is_unknown_and_then_a_blank_says_no(tmp_path: Path) -> None:
    rows = "a.png,1,1\nb.png,-1,\nc.png,,0\nd.png,0,\n"
    data = read_labelled(written(tmp_path, f"image,edema,mass\n{rows}"), tmp_path)
    np.testing.assert_array_equal(data.truth, [[1, 1], [np.nan, np.nan], [0, 0], [0, np.nan]])


def test_rows_without_a_patient_stand_for_themselves(tmp_path: Path) -> None:
    path = written(tmp_path, "image,patient,ward,mass\na.png,,x,1\nb.png,p,y,0\nc.png,,x,0\nd.png,p,x,1\n")
    assert len(set(read_labelled(path, tmp_path).units.tolist())) == 3
    assert read_labelled(path, tmp_path, unit="ward").units.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("content", "labels", "error", "words"),
    [
        ("image,mass\n", None, NoInputError, "a header but no rows"),
        ("picture,mass\na.png,1\n", None, ConfigError, "no column names the image"),
        ("image,mass\na.png,1\n,0\n", None, ConfigError, "data row 2 has no 'image'"),
        ("image,mass\na.png,1\nb.png,Meier\n", None, LabelError, "column 'mass': data row 2 is no label"),
        ("image,mass\na.png,0\n", None, LabelError, "column 'mass': no cell is 1"),
        ("image,mass\na.png,1\nb.png,2\n", ["mass"], ConfigError, "column 'mass', data row 2: '2' is none of 0, 1"),
        ("image,mass\na.png,1\n", ["edema"], LabelError, "no column 'edema'; its labels: mass"),
    ],
)
def test_what_cannot_be_used_is_named(
    tmp_path: Path, content: str, labels: list[str] | None, error: type[UsageError], words: str
) -> None:
    with pytest.raises(error) as raised:
        read_labelled(written(tmp_path, content), tmp_path, labels)
    assert words in str(raised.value)
    assert "labels.csv" in str(raised.value)
    assert "Meier" not in str(raised.value)


def test_a_label_is_found_by_another_name_of_the_finding(tmp_path: Path) -> None:
    path = written(tmp_path, "image,Effusion,Edema\na.png,1,0\nb.png,0,1\n")
    data = read_films(path, tmp_path, ["pleural effusion", "EDEMA"], None)
    assert data.labels == ("pleural effusion", "Edema")
    np.testing.assert_array_equal(data.truth, [[1, 0], [0, 1]])
    assert data.notice() == "pleural effusion ← Effusion (built-in synonym of NIH)"
    with pytest.raises(LabelError, match="no column 'pneumonia'"):
        read_films(path, tmp_path, ["pneumonia"], None)
    two = written(tmp_path, "image,Effusion,derrame pleural\na.png,1,0\n")
    with pytest.raises(LabelError, match="may be 'Effusion' or 'derrame pleural'"):
        read_labelled(two, tmp_path, ["pleural effusion"])


def test_a_training_asks_in_the_words_of_its_texts(tmp_path: Path) -> None:
    path = written(tmp_path, "image,Effusion,Edema,Mass\na.png,1,0,1\nb.png,0,1,0\n")
    texts = ["pleural effusion", "no pleural effusion", "Edema", "pulmonary edema", "the mass is large"]
    data = read_labelled(path, tmp_path).asked_as(texts)
    assert data.labels == ("pleural effusion", "Edema", "Mass")
    assert data.notice() == "pleural effusion ← Effusion (built-in synonym of NIH)"
    both = written(tmp_path, "image,Effusion,Pleural Effusion\na.png,1,0\nb.png,0,1\n")
    assert read_labelled(both, tmp_path).asked_as(["derrame pleural"]).labels == ("derrame pleural", "Pleural Effusion")


def test_rows_of_an_image_that_agree_are_one(tmp_path: Path) -> None:
    rows = "a.png,p1,1,\nb.png,p2,0,1\n./a.png,p1,1,0\n"
    data = read_labelled(written(tmp_path, f"image,patient,mass,edema\n{rows}"), tmp_path)
    assert data.paths == (tmp_path / "a.png", tmp_path / "b.png")
    np.testing.assert_array_equal(data.truth, [[1, 0], [0, 1]])
    assert data.units.tolist() == [0, 1]


def test_a_search_wants_each_image_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names an image twice, and the rows differ: 'mass' in data rows 1 to 2"):
        read_films(written(tmp_path, "image,mass\na.png,1\n./a.png,0\n"), tmp_path, None, None)
