"""Rows of one study come together wherever they stand, whatever the format of the table."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import pytest

from cxrzero.dicom_out.table import open_predictions
from cxrzero.errors import ConfigError
from cxrzero.images.radiograph import Facts
from cxrzero.prediction import Prediction
from cxrzero.tables.rows import row_form
from cxrzero.tables.table import Table
from tests.support import needs

LABELS = ("mass", "odd, label")


def predicted(number: int, study: str, **more: object) -> Prediction:
    facts = Facts("DX", "PA", "MONOCHROME2", study, "2.25.9", f"2.25.10{number}" if study else "")
    return Prediction(
        f"{number}.dcm", LABELS, "ok", frame=1, facts=facts, scores={"mass": number / 7, "odd, label": 0.1},
        calibrated={"mass": 0.25, "odd, label": None}, decision={"mass": 1, "odd, label": None},
        sd={"mass": 0.125, "odd, label": 0.5}, flags=frozenset({"lateral", "duplicate"}), **more,  # type: ignore[arg-type]
    )  # fmt: skip


ROWS = [
    predicted(1, "2.25.1"),
    predicted(2, "2.25.2"),
    predicted(3, ""),
    predicted(4, "2.25.1"),
    predicted(5, ""),
    Prediction("6.dcm", LABELS, "failed", error="truncated: it ends early", code="truncated",
               facts=Facts(study_instance_uid="2.25.2", sop_instance_uid="2.25.106")),
]  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, rows: list[Prediction] = ROWS, *, long: bool = False) -> Path:
        form = row_form(LABELS, long=long, kinds=("calibrated", "decision", "sd", "cos_pos"))
        with Table(str(tmp_path / name), form.columns, overwrite=True) as table:
            for row in rows:
                for cells in form.rows(row):
                    table.write(cells)
            table.commit()
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_rows_are_those_that_were_written(written: Callable[..., Path], name: str) -> None:
    if name.endswith("parquet"):
        needs.modules("pyarrow")
    table = open_predictions(written(name))
    assert table.labels == LABELS
    for row, before in zip(table.rows(), ROWS, strict=True):
        for attribute in ("path", "status", "flags", "error", "code", "sd"):
            assert getattr(row, attribute) == getattr(before, attribute)
        assert row.facts == before.facts
        assert row.frame == before.frame
        assert row.scores == pytest.approx(before.scores, abs=1e-7)
        assert row.calibrated == {label: value for label, value in before.calibrated.items() if value is not None}
        assert row.decision == {label: value for label, value in before.decision.items() if value is not None}


def test_a_study_is_complete_once_its_last_row_is_read(written: Callable[..., Path]) -> None:
    total, groups = open_predictions(written("t.csv")).groups("study")
    assert total == 6
    assert [[row.path for row in rows] for rows in groups] == [
        ["3.dcm"],
        ["1.dcm", "4.dcm"],
        ["5.dcm"],
        ["2.dcm", "6.dcm"],
    ]
    _, groups = open_predictions(written("t.csv")).groups("image")
    assert [[row.path for row in rows] for rows in groups] == [[f"{number}.dcm"] for number in range(1, 7)]


def test_of_a_large_table_only_open_studies_are_in_memory(written: Callable[..., Path]) -> None:
    table = open_predictions(written("t.csv", [predicted(number, f"2.25.{number // 2}") for number in range(400)]))
    _, groups = table.groups("study")
    alive = []
    for number, rows in enumerate(groups):
        assert len(rows) == 2
        del rows
        if number in (80, 160):
            alive.append(sum(type(each) is Prediction for each in gc.get_objects()))
    assert max(alive) < 50


def test_other_tables_are_refused(written: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--long"):
        open_predictions(written("t.csv", long=True))
    (tmp_path / "x.csv").write_text("path,status,mass\na.png,ok,0.5\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="study_instance_uid"):
        open_predictions(tmp_path / "x.csv")
