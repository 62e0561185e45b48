import csv
import os
from pathlib import Path

import numpy as np
import pytest

from cxrzero.errors import OutputError, OutputExistsError, UsageError
from cxrzero.images.radiograph import Facts
from cxrzero.prediction import FIXED_COLUMNS, Prediction
from cxrzero.tables import Table, check_output

LABELS = ("pneumonia", "mass, left")
COLUMNS = (*FIXED_COLUMNS, *LABELS)


def row(path: str = "a.png", **scores: float) -> Prediction:
    return Prediction(path, LABELS, "ok", 1, Facts("CR", "PA"), frozenset({"b", "a"}), scores=scores)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_columns_are_the_contract(tmp_path: Path) -> None:
    out = tmp_path / "t.csv"
    with Table(str(out), COLUMNS) as table:
        table.write(row(pneumonia=0.25, **{"mass, left": 1.0}))
        table.write(Prediction("b.dcm", LABELS, "failed", error="truncated: cut, short"))
        table.commit()
    header = out.read_text().splitlines()[0]
    assert header == (
        "path,frame,modality,view_position,photometric_interpretation,study_instance_uid,series_instance_uid,"
        'sop_instance_uid,status,flags,error,pneumonia,"mass, left"'
    )
    first, second = read(out)
    assert (first["frame"], first["modality"], first["flags"], first["pneumonia"]) == ("1", "CR", "a;b", "0.25")
    assert (second["frame"], second["status"], second["error"]) == ("", "failed", "truncated: cut, short")
    assert second["pneumonia"] == ""


def test_scores_read_back_as_the_same_float32(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(500, dtype=np.float32) ** 8
    out = tmp_path / "t.csv"
    with Table(str(out), [*FIXED_COLUMNS, "x"]) as table:
        for value in values:
            table.write(Prediction("a", ("x",), "ok", 1, scores={"x": float(value)}))
        table.commit()
    np.testing.assert_array_equal([np.float32(r["x"]) for r in read(out)], values)


def test_the_table_has_its_name_only_when_complete(tmp_path: Path) -> None:
    out = tmp_path / "t.csv"

    def interrupted() -> None:
        with Table(str(out), COLUMNS) as table:
            table.write(row(pneumonia=0.5))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not out.exists()
    assert "a.png" in (tmp_path / "t.csv.partial").read_text()


def test_an_old_table_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "t.csv"
    out.write_text("old")
    with Table(str(out), COLUMNS, overwrite=True) as table:
        assert out.read_text() == "old"
        table.commit()
    assert out.read_text().startswith("path,")


def test_names_that_are_not_utf8_are_written_readably(tmp_path: Path) -> None:
    out = tmp_path / "t.csv"
    with Table(str(out), COLUMNS) as table:
        table.write(row(os.fsdecode(b"caf\xe9\n.png")))
        table.commit()
    assert read(out)[0]["path"] == "caf\\xe9\n.png"


def test_a_row_is_a_mapping_of_its_columns() -> None:
    prediction = row(pneumonia=0.5)
    assert list(prediction) == [*FIXED_COLUMNS, *LABELS]
    assert len(prediction) == len(list(prediction))
    assert prediction["pneumonia"] == 0.5
    assert prediction["mass, left"] is None
    with pytest.raises(KeyError):
        prediction["nothing"]


def test_check_output(tmp_path: Path) -> None:
    check_output("-", overwrite=False)
    check_output(str(tmp_path / "new.csv"), overwrite=False)
    (tmp_path / "old.csv").touch()
    check_output(str(tmp_path / "old.csv"), overwrite=True)
    with pytest.raises(OutputExistsError, match="--overwrite"):
        check_output(str(tmp_path / "old.csv"), overwrite=False)
    with pytest.raises(OutputError, match="does not exist"):
        check_output(str(tmp_path / "no/t.csv"), overwrite=False)
    with pytest.raises(OutputError, match="is a folder"):
        check_output(str(tmp_path), overwrite=True)
    with pytest.raises(UsageError, match=r"not \.xlsx"):
        check_output(str(tmp_path / "t.xlsx"), overwrite=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a Linux device that is always full")
def test_a_full_disk_is_an_error_not_a_short_table(tmp_path: Path) -> None:
    out = tmp_path / "t.csv"
    (tmp_path / "t.csv.partial").symlink_to("/dev/full")

    def fill() -> None:
        with Table(str(out), COLUMNS) as table:
            for _ in range(5000):
                table.write(row(pneumonia=0.5))
            table.commit()

    with pytest.raises(OutputError, match="No space"):
        fill()
    assert not out.exists()
