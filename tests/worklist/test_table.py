"""Of a table of any length: the order by numbers, the rows that are shown, and what is left out and why."""

from __future__ import annotations

import csv
import tracemalloc
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cxrzero.errors import ConfigError, LabelError, NoInputError, UsageError
from cxrzero.prediction import FIXED_COLUMNS
from cxrzero.worklist.choose import Chosen, choose
from cxrzero.worklist.names import Names
from cxrzero.worklist.options import WorklistOptions
from cxrzero.worklist.table import films_of, open_predictions, seconds

HERE = Names(Path())


def write_table(path: Path, labels: Sequence[str], rows: Iterable[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [*FIXED_COLUMNS, *labels], restval="")
        writer.writeheader()
        for number, row in enumerate(rows):
            writer.writerow({"path": f"films/{number}.png", "frame": 1, "status": "ok", **row})
    return path


def chosen(table: Path, **options: Any) -> Chosen:
    return choose(WorklistOptions(table, **options), open_predictions(table), HERE)


def test_by_one_label_in_whatever_spelling(tmp_path: Path) -> None:
    rows = [{"pneumonia": p, "Pleural Effusion": 1 - p} for p in (0.2, 0.9, 0.5)]
    table = write_table(tmp_path / "t.csv", ["pneumonia", "Pleural Effusion"], rows)
    assert chosen(table, label="pneumonia").rows == (1, 2, 0)
    assert chosen(table, label="pleural_effusion", top=2).rows == (0, 2)
    with pytest.raises(LabelError, match=r"has no label 'mass'; its labels: pneumonia, Pleural Effusion"):
        chosen(table, label="mass")


def test_the_highest_of_all_is_by_calibrated_values_where_there_are_some(tmp_path: Path) -> None:
    labels = ["mass", "edema", "No Finding", "mass_calibrated", "edema_calibrated", "No Finding_calibrated"]
    rows = [
        {"mass": 0.9, "edema": 0.9, "No Finding": 0.1, "mass_calibrated": 0.2, "edema_calibrated": 0.1},
        {"mass": 0.1, "edema": 0.1, "No Finding": 0.9, "mass_calibrated": 0.01, "edema_calibrated": 0.3},
        {"mass": 0.1, "edema": 0.1, "No Finding": 0.9, "mass_calibrated": 0.01, "No Finding_calibrated": 0.99},
    ]
    found = chosen(write_table(tmp_path / "t.csv", labels, rows))
    assert (found.rows, found.reasons) == ((1, 0, 2), ("edema", "mass", "mass"))
    assert "highest calibrated probability" in found.order
    assert "(No Finding aside)" in found.order


def test_without_calibration_it_is_by_ranks_within_each_label(tmp_path: Path) -> None:
    """Of mass all probabilities are high, of edema all are low: only their order tells anything."""
    rows = [{"mass": m, "edema": e} for m, e in ((0.91, 0.05), (0.90, 0.06), (0.92, 0.01), (0.89, 0.02))]
    found = chosen(write_table(tmp_path / "t.csv", ["mass", "edema"], rows), by="max")
    # mass: ranks 5/8, 3/8, 7/8, 1/8; edema: 5/8, 7/8, 1/8, 3/8
    assert (found.rows, found.reasons) == ((1, 2, 0, 3), ("edema", "mass", "mass", "edema"))
    assert "rank within any label" in found.order


def test_what_failed_and_what_was_skipped_is_counted_with_its_reason(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"mass": 0.5},
        {"status": "failed", "error": "truncated: the file ends in the middle", "frame": ""},
        {"status": "skipped", "error": "not_projection_radiography: CT"},
        {"status": "failed", "error": "truncated: the file ends in the middle", "frame": 3},
        {"status": "ok", "mass": ""},
    ]
    found = chosen(write_table(tmp_path / "t.csv", ["mass"], rows))
    assert found.rows == (0,)
    assert found.scan.left_out.counts == {
        ("failed", "truncated"): 2,
        ("skipped", "not_projection_radiography"): 1,
        ("not ranked", "no number"): 1,
    }
    assert found.scan.left_out.examples[2] == ("films/3.png", "3", "truncated: the file ends in the middle")


def test_times_are_the_column_received_else_those_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"mass": p, "received": at} for p, at in ((0.9, "2026-01-03"), (0.5, "2026-01-02"), (0.1, "2026-01-01"))]
    table = write_table(tmp_path / "t.csv", ["mass", "received"], rows)
    found = chosen(table, oldest_every=2)
    assert (found.rows, set(found.waited)) == ((0, 2, 1), {1})
    assert "the column received" in found.order
    (tmp_path / "films").mkdir()
    for number in range(3):
        (tmp_path / f"films/{number}.png").touch()
    import os

    for number, time in enumerate((300, 100, 200)):
        os.utime(tmp_path / f"films/{number}.png", (time, time))
    table = write_table(tmp_path / "u.csv", ["mass"], [{"mass": p} for p in (0.9, 0.1, 0.5, 0.4)])
    found = chosen(table, oldest_every=2)
    assert (found.rows, set(found.waited)) == (
        (0, 1, 2, 3),
        {1},
    )  # after 0.9 the oldest file; the next, of 200, is row 2
    assert "of 1 film nobody knows since when" in found.order


def test_a_time_is_iso_8601_or_seconds() -> None:
    assert seconds("1970-01-02T00:00:00") == seconds("1970-01-02T01:00:00+01:00") == seconds("86400") == 86400
    assert seconds("yesterday") != seconds("yesterday")


def test_other_films_of_a_study_are_found_though_they_are_not_shown(tmp_path: Path) -> None:
    rows = [{"mass": p, "study_instance_uid": uid} for p, uid in ((0.1, "2.25.1"), (0.9, "2.25.1"), (0.2, "2.25.2"))]
    rows.append({"study_instance_uid": "2.25.1", "status": "failed"})
    table = write_table(tmp_path / "t.csv", ["mass"], rows)
    layout, found = open_predictions(table), chosen(table, top=1)
    films, beside = films_of(layout, found.rows, set(found.scan.studies[list(found.rows)].tolist()))
    assert [film.row for film in films.values()] == [1]
    assert [film.row for film in beside] == [0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"label": "mass", "by": "max"}, "give one of them"),
        ({"blind": True, "by": "max"}, "leave out --by"),
        ({"blind": True, "oldest_every": 5}, "leave out --oldest-every"),
        ({"blind": True, "overlays": 5}, "leave out --overlays"),
        ({"pseudonym_key": Path("k")}, "give both"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", ["mass", "edema"], [{"mass": 0.1, "edema": 0.2}])
    with pytest.raises(UsageError, match=says):
        chosen(table, **options)


def test_what_is_no_prediction_table_of_films(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="no such file"):
        open_predictions(tmp_path / "none.csv")
    (tmp_path / "labels.csv").write_text("image,mass\na.png,1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no prediction table of films, which has a column 'path'"):
        open_predictions(tmp_path / "labels.csv")
    long = write_table(tmp_path / "long.csv", ["label", "probability"], [{"label": "mass", "probability": 0.5}])
    with pytest.raises(ConfigError, match="row per label"):
        open_predictions(long)
    with pytest.raises(LabelError, match="no column of a label"):
        open_predictions(write_table(tmp_path / "none.csv", [], [{}]))
    table = write_table(tmp_path / "t.csv", ["comment"], [{"comment": 0.5}])
    with pytest.raises(LabelError, match="'comment' has the name of a column of reviews"):
        chosen(table)
    table = write_table(tmp_path / "t.csv", ["No Finding"], [{"No Finding": 0.5}])
    with pytest.raises(LabelError, match="name with --label"):
        chosen(table)
    assert chosen(table, label="No Finding").rows == (0,)


@pytest.mark.slow
def test_of_many_rows_little_is_kept(tmp_path: Path) -> None:
    """200,000 rows of 2 labels and 40 MB: some 20 bytes of each row are kept."""
    rows = (
        {"mass": (n * 7919 % 200_000) / 200_000, "edema": 0.5, "path": f"{'folder/' * 20}{n}.dcm"}
        for n in range(200_000)
    )
    table = write_table(tmp_path / "t.csv", ["mass", "edema"], rows)
    tracemalloc.start()
    found = chosen(table, label="mass", top=5)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [row * 7919 % 200_000 for row in found.rows] == [199_999, 199_998, 199_997, 199_996, 199_995]
    assert kept < 8_000_000
