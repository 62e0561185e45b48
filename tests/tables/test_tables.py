import csv
import json
import os
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from cxrzero.errors import LabelError, MissingExtraError, OutputError, OutputExistsError, UsageError
from cxrzero.images.radiograph import Facts
from cxrzero.prediction import FIXED_COLUMNS, FIXED_TYPES, Cell, Prediction
from cxrzero.tables.rows import KINDS, Long, Wide, row_form
from cxrzero.tables.table import Table, check_output, table_format_of
from tests.support.needs import optional

pa = optional("pyarrow")
parquet = optional("pyarrow.parquet")
pd = optional("pandas")

LABELS = ("pneumonia", "mass, left")
WIDE = Wide(LABELS)
COLUMNS = WIDE.columns
SUFFIXES = ("csv", "jsonl", "parquet")


def row(path: str = "a.png", **scores: float) -> Prediction:
    return Prediction(path, LABELS, "ok", 1, Facts("CR", "PA"), frozenset({"b", "a"}), scores=scores)


def cells(prediction: Prediction) -> list[Cell]:
    return next(WIDE.rows(prediction))


def load(path: Path) -> Any:
    """As a user opens it."""
    if path.suffix == ".csv":
        return pd.read_csv(path)
    if path.suffix == ".jsonl":
        return pd.read_json(path, lines=True, precise_float=True)
    return pd.read_parquet(path)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_columns_are_the_contract(tmp_path: Path) -> None:
    out = tmp_path / "t.csv"
    with Table(str(out), COLUMNS) as table:
        table.write(cells(row("a.dcm", **{"pneumonia": 0.25, "mass, left": 1.0})))
        table.write(cells(Prediction("b.dcm", LABELS, "failed", error="truncated: cut, short")))
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


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_scores_read_back_as_the_same_float32(tmp_path: Path, suffix: str) -> None:
    values = np.random.default_rng(0).random(500, dtype=np.float32) ** 8
    values[:4] = 0, 1, 1e-4, np.float32(1.1754944e-38)
    out = tmp_path / f"t.{suffix}"
    with Table(str(out), {**FIXED_TYPES, "x": float}) as table:
        for value in values:
            table.write([*row().fixed(), float(value)])
        table.commit()
    np.testing.assert_array_equal(load(out)["x"].to_numpy(np.float32), values)
    if suffix == "csv":
        assert "e-" not in out.read_text()


def test_the_table_has_its_name_only_when_complete(tmp_path: Path) -> None:
    out = tmp_path / "t.csv"

    def interrupted() -> None:
        with Table(str(out), COLUMNS) as table:
            table.write(cells(row(pneumonia=0.5)))
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
        table.write(cells(row(os.fsdecode(b"caf\xe9\n.png"))))
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
                table.write(cells(row(pneumonia=0.5)))
            table.commit()

    with pytest.raises(OutputError, match="No space"):
        fill()
    assert not out.exists()


HOSTILE = '=HYPERLINK("http://x","y").png'


def hostile(out: Path) -> None:
    layout = Wide(("-lung", "+x"))
    prediction = Prediction(HOSTILE, layout.labels, "ok", 1, Facts("@SUM(1)"), scores={"-lung": 0.5, "+x": 0.25})
    with Table(str(out), layout.columns) as table:
        table.write(next(layout.rows(prediction)))
        table.commit()


def test_csv_is_safe_in_a_spreadsheet_and_other_formats_keep_the_text(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        hostile(tmp_path / f"t.{suffix}")
    frame = load(tmp_path / "t.csv")
    assert (frame["path"][0], frame["modality"][0]) == ("'" + HOSTILE, "'@SUM(1)")
    assert list(frame.columns)[-2:] == ["'-lung", "'+x"]
    assert frame["'-lung"][0] == 0.5
    for suffix in ("jsonl", "parquet"):
        frame = load(tmp_path / f"t.{suffix}")
        assert (frame["path"][0], frame["modality"][0], frame["-lung"][0]) == (HOSTILE, "@SUM(1)", 0.5)


def test_a_carriage_return_in_a_name_does_not_begin_a_row(tmp_path: Path) -> None:
    with Table(str(tmp_path / "t.csv"), COLUMNS) as table:
        table.write(cells(row("a\r=1+1.png", pneumonia=0.5)))
        table.commit()
    assert b'"a\r=1+1.png"' in (tmp_path / "t.csv").read_bytes()
    assert b"\r\n" not in (tmp_path / "t.csv").read_bytes()
    assert load(tmp_path / "t.csv")["pneumonia"].tolist() == [0.5]


def test_blocks_of_rows_are_what_the_csv_module_writes(tmp_path: Path) -> None:
    layout = Wide(("x", "y"), ("calibrated", "decision", "sd"))
    numbers: dict[str, Any] = {
        "scores": {"x": 0.5, "y": 0.125},
        "calibrated": {"x": 0.75},
        "sd": {"x": 1.0, "y": 1e-7},
    }
    odd = ["plain", "a,b", 'a"b', "a\nb", "a\rb", "=1", "'=1", "é", " ", ""]
    random = np.random.default_rng(0)
    with (tmp_path / "expected.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_MINIMAL, lineterminator="\n")
        writer.writerow(layout.columns)
        with Table(str(tmp_path / "t.csv"), layout.columns) as table:
            for number in range(2000):
                text = odd[random.integers(len(odd))] if number > 1000 else f"{number}.png"
                decision = {"x": number % 2, "y": 1}
                prediction = Prediction(text, layout.labels, "ok", 1, decision=decision, **numbers)
                table.write(next(layout.rows(prediction)))
                safe = "'" + text if text.startswith("=") else text
                scores = ["0.5", "0.125", "0.75", "", number % 2, 1, "1.0", "0.0000001"]
                line = [safe, 1, *[""] * 6, "ok", "", "", *scores]
                if "\r" in text:
                    file.write(f'"{safe}",{",".join(map(str, line[1:]))}\n')
                else:
                    writer.writerow(line)
            table.commit()
    assert (tmp_path / "t.csv").read_bytes() == (tmp_path / "expected.csv").read_bytes()


def test_a_number_is_never_taken_for_a_formula(tmp_path: Path) -> None:
    with Table(str(tmp_path / "t.csv"), {"cosine": float, "n": int}) as table:
        table.write([-0.25, -3])
        table.commit()
    assert (tmp_path / "t.csv").read_text() == "cosine,n\n-0.25,-3\n"


def test_parquet_has_types_and_streams_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxrzero.tables.writers.ROW_GROUP_CELLS", 10 * len(COLUMNS))
    out = tmp_path / "t.parquet"
    with Table(str(out), COLUMNS) as table:
        for number in range(25):
            table.write(cells(row(f"{number}.png", pneumonia=0.5)))
        table.write(cells(Prediction("bad.png", LABELS, "failed", error="empty_file: no bytes")))
        table.commit()
    file = parquet.ParquetFile(out)
    assert file.num_row_groups == 3
    types = dict(zip(file.schema_arrow.names, file.schema_arrow.types, strict=True))
    assert (types["path"], types["frame"], types["pneumonia"]) == (pa.string(), pa.int32(), pa.float32())
    rows = file.read().to_pylist()
    assert [r["path"] for r in rows[:25]] == [f"{number}.png" for number in range(25)]
    assert (rows[25]["pneumonia"], rows[25]["frame"], rows[0]["mass, left"]) == (None, None, None)


def test_an_interrupted_parquet_is_readable_under_its_partial_name(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Table(str(tmp_path / "t.parquet"), COLUMNS) as table:
            table.write(cells(row(pneumonia=0.5)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet.partial"]
    assert pd.read_parquet(tmp_path / "t.parquet.partial")["path"].tolist() == ["a.png"]


def test_parquet_without_pyarrow_is_one_line_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"cxrzero\[parquet\]"):
        Table(str(tmp_path / "t.parquet"), COLUMNS)
    assert not list(tmp_path.iterdir())


def test_jsonl_has_null_where_nothing_is(tmp_path: Path) -> None:
    with Table(str(tmp_path / "t.jsonl"), COLUMNS) as table:
        table.write(cells(row(pneumonia=float(np.float32(0.1)))))
        table.commit()
    line = (tmp_path / "t.jsonl").read_text()
    assert '"pneumonia": 0.1,' in line
    assert json.loads(line)["mass, left"] is None
    assert list(json.loads(line)) == list(COLUMNS)


def test_long_and_cosines() -> None:
    scored = Prediction(
        "a", ("x", "y"), "ok", 1, Facts(), frozenset(), "", *cast(Any, [{"x": n, "y": -n} for n in (0.1, 0.2, 0.3)])
    )
    wide = Wide(("x", "y"), ("cos_pos", "cos_neg"))
    assert list(wide.columns)[11:] == ["x", "y", "x_cos_pos", "y_cos_pos", "x_cos_neg", "y_cos_neg"]
    assert next(wide.rows(scored))[11:] == [0.1, -0.1, 0.2, -0.2, 0.3, -0.3]
    long = Long(("x", "y"), ("cos_pos", "cos_neg"))
    assert list(long.columns)[11:] == ["label", "probability", "cos_pos", "cos_neg"]
    assert [cells[11:] for cells in long.rows(scored)] == [["x", 0.1, 0.2, 0.3], ["y", -0.1, -0.2, -0.3]]
    failed = Prediction("b", ("x", "y"), "failed", error="empty_file: no bytes")
    assert [cells[11:] for cells in Long(("x", "y")).rows(failed)] == [["x", None], ["y", None]]


def test_a_label_with_the_name_of_another_column_is_refused() -> None:
    row_form(["x", "x_cos_pos"], long=False)
    row_form(["x", "x_cos_pos"], long=True, kinds=KINDS)
    for kind in KINDS:
        with pytest.raises(LabelError, match=f"x_{kind}"):
            row_form(["x", f"x_{kind}"], long=False, kinds=KINDS)


def test_kinds_stand_in_the_order_of_the_contract() -> None:
    columns = list(row_form(["x", "y"], long=False, kinds=reversed(KINDS)).columns)[11:]
    assert columns == ["x", "y", *(f"{label}_{kind}" for kind in KINDS for label in "xy")]
    assert [kind for kind in KINDS if kind != "sd"] == ["calibrated", "decision", "cos_pos", "cos_neg"]


def test_the_format_is_the_suffix_or_what_is_asked() -> None:
    assert [table_format_of(f"t.{suffix}") for suffix in SUFFIXES] == list(SUFFIXES)
    assert (table_format_of("-"), table_format_of("-", "jsonl"), table_format_of("t.txt", "csv")) == (
        ("csv", "jsonl", "csv")
    )
    for out, asked in (("-", "parquet"), ("t.csv", "jsonl")):
        with pytest.raises(UsageError):
            table_format_of(out, asked)  # type: ignore[arg-type]
