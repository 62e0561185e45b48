"""Runs and rows of a database: added once, never rewritten; in SQLite and in PostgreSQL alike."""

import hashlib
import os
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

import sqlalchemy

from cxrzero.database import check_database, open_database, schema
from cxrzero.database.select import choose, rows_of
from cxrzero.errors import DatabaseError, LabelError, NoInputError
from cxrzero.images.radiograph import Facts
from cxrzero.prediction import Prediction
from tests.database.rows import LABELS, ask, count, failure, film, record
from tests.support import REPO

TABLES = ("settings", "prompts", "films", "facts", "scores")


def test_the_same_again_changes_nothing(address: str) -> None:
    rows = [film(1), film(2), failure("archive/bad.dcm")]
    with open_database(address) as database:
        run = database.begin_run(record())
        assert database.add(run, rows) == 3
        assert database.add(run, rows) == 0
        assert count(database, "listed") == 3
        before = {table: ask(database, f"SELECT * FROM {table}") for table in TABLES}
    with open_database(address) as database:
        again = database.begin_run(record())
        assert again != run
        assert database.add(again, [*rows, film(3)]) == 1
        for table, then in before.items():
            now = ask(database, f"SELECT * FROM {table}")
            assert set(then) <= set(now)
            assert len(now) - len(then) == {"films": 1, "facts": 1, "scores": 2}.get(table, 0)
        assert ask(database, "SELECT run, count(*) FROM scores GROUP BY run ORDER BY run") == [(run, 4), (again, 2)]


def test_another_label_model_or_number_is_new_beside_what_is_there(address: str) -> None:
    with open_database(address) as database:
        database.add(database.begin_run(record()), [film(1)])
        more = ("edema", "goiter")
        assert database.add(database.begin_run(record(more)), [film(1, more)]) == 1
        assert count(database, "scores") == 3
        assert database.add(database.begin_run(record(model="other")), [film(1)]) == 1
        assert count(database, "scores") == 5
        changes: list[dict[str, Any]] = [{"precision": "fp16"}, {"options": {"invert": "yes"}}, {"cxrzero": "9"}]
        for decisive in changes:
            assert database.add(database.begin_run(record(**decisive)), [film(1)]) == 1, decisive
        workers = record(options={"workers": 3}, versions={"python": "3.99"})
        assert database.add(database.begin_run(workers), [film(1)]) == 0
        assert count(database, "films") == 1


def test_a_film_is_its_uid_or_its_path_and_its_picture(address: str) -> None:
    plain = Prediction("a.png", LABELS, "ok", 1, scores=dict.fromkeys(LABELS, 0.5))
    moved = film(1)
    moved.path = "elsewhere/1.dcm"
    with open_database(address) as database:
        run = database.begin_run(record())
        database.add(run, [film(1), plain], pictures=["aa", "bb"])
        assert database.add(database.begin_run(record()), [film(1), plain], pictures=["aa", "bb"]) == 0
        assert database.add(database.begin_run(record()), [moved, plain], pictures=["aa", "cc"]) == 2
        assert ask(database, "SELECT sop_instance_uid, path, picture FROM films ORDER BY picture") == [
            ("1.4.1", "", "aa"),
            ("", "a.png", "bb"),
            ("", "a.png", "cc"),
        ]
        assert count(database, "scores") == 2 * 3


def test_failed_and_skipped_rows_are_there_without_numbers(address: str) -> None:
    skipped = Prediction("b.dcm", LABELS, "skipped", None, Facts("CT"), error="modality: not a radiograph: CT")
    with open_database(address) as database:
        database.add(database.begin_run(record()), [failure("a.dcm"), skipped])
        query = "SELECT path, frame, status, modality, error, label, probability FROM latest ORDER BY path, place"
        assert ask(database, query) == [
            (path, None, status, modality, error, label, None)
            for path, status, modality, error in (
                ("a.dcm", "failed", "", "empty_file: the file is empty"),
                ("b.dcm", "skipped", "CT", "modality: not a radiograph: CT"),
            )
            for label in LABELS
        ]


def test_a_path_may_be_as_long_as_any(address: str) -> None:
    long = failure("/".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(62)))
    with open_database(address) as database:
        database.add(database.begin_run(record()), [long])
        assert ask(database, "SELECT DISTINCT path FROM latest") == [(long.path,)]


def test_labels_are_data(address: str) -> None:
    labels = ("'; DROP TABLE films; --", 'a"b', "%s :x {}", "Lungenödem 肺炎")
    with open_database(address) as database:
        run = database.begin_run(record(labels))
        database.add(run, [film(1, labels)])
        assert [label for (label,) in ask(database, "SELECT label FROM latest ORDER BY place")] == list(labels)


def test_rows_have_no_label_that_the_run_does_not_ask(address: str) -> None:
    with open_database(address) as database:
        run = database.begin_run(record())
        with pytest.raises(LabelError, match="'goiter'"):
            database.add(run, [film(1), film(2, ("goiter",))])
        assert count(database, "films") == 0
        with pytest.raises(DatabaseError, match="no run 77"):
            database.add(77, [film(1)])


def test_latest_and_by_study_have_each_film_once(address: str) -> None:
    lateral = film(3, flags=frozenset({"lateral", "view_unknown"}))
    with open_database(address) as database:
        database.add(database.begin_run(record()), [film(2), lateral, failure("later.dcm"), failure("never.dcm")])
        newer = record(cxrzero="2")
        later = Prediction("later.dcm", LABELS, "ok", 1, Facts(study_instance_uid="1.2.9", sop_instance_uid="1.4.9"))
        later.scores = {"edema": 0.25, "mass, left": 0.75}
        database.add(database.begin_run(newer), [film(2, scores={"edema": 0.5, "mass, left": 0.125}), later])
        query = "SELECT path, run, probability FROM latest WHERE label = 'edema' ORDER BY path"
        assert ask(database, query) == [
            ("archive/2.dcm", 2, 0.5),
            ("archive/3.dcm", 1, pytest.approx(0.03)),
            ("later.dcm", 2, 0.25),
            ("never.dcm", 1, None),
        ]
        query = (
            "SELECT study, study_instance_uid, images_used, images_left_out, mean_probability, max_probability "
            "FROM by_study WHERE label = 'edema' ORDER BY study"
        )
        assert ask(database, query) == [
            (".", "", 0, 1, None, None),
            ("1.2.1", "1.2.1", 1, 1, 0.5, 0.5),
            ("1.2.9", "1.2.9", 1, 0, 0.25, 0.25),
        ]


def test_writers_at_once_add_each_row_once(address: str) -> None:
    rows = [film(number) for number in range(40)]

    def write(turn: int) -> int:
        with open_database(address) as database:
            run = database.begin_run(record())
            some = rows[turn * 5 :] + rows[: turn * 5]
            return sum(database.add(run, some[start : start + 8]) for start in range(0, 40, 8))

    with ThreadPoolExecutor(4) as pool:
        new = list(pool.map(write, range(4)))
    assert sum(new) == 40
    with open_database(address) as database:
        assert {table: count(database, table) for table in TABLES} == {
            "settings": 1, "prompts": 2, "films": 40, "facts": 40, "scores": 80,
        }  # fmt: skip
        assert count(database, "listed") == 160
        assert count(database, "latest") == 80


def test_writers_of_one_run_give_no_place_twice(address: str) -> None:
    with open_database(address) as database:
        run = database.begin_run(record())
        with ThreadPoolExecutor(4) as pool:
            new = list(pool.map(lambda number: database.add(run, [film(number), film(number + 1)]), range(0, 20, 2)))
        assert new == 10 * [2]
        places = [place for (place,) in ask(database, "SELECT position FROM listed ORDER BY position")]
        assert places == list(range(20))


def test_what_fails_in_the_middle_leaves_nothing(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_database(address) as database:
        run = database.begin_run(record())

        def fail(*_: object) -> None:
            raise RuntimeError("in the middle")

        with monkeypatch.context() as patch:
            patch.setattr("cxrzero.database.store._places", fail)
            with pytest.raises(RuntimeError):
                database.add(run, [film(1)])
        assert count(database, "films") == count(database, "scores") == 0
        assert database.add(run, [film(1)]) == 1


def test_another_schema_and_another_program_s_database_are_left_alone(address: str) -> None:
    with open_database(address) as database:

        def set_version(version: int) -> Callable[[Any], None]:
            return lambda connection: connection.execute(schema.schema.update(), {"version": version})

        database.connector.write(set_version(99))
        with pytest.raises(DatabaseError, match="schema 99 of a newer cxrzero, this one knows 1"):
            open_database(address)
        database.connector.write(lambda connection: connection.execute(sqlalchemy.text("DROP TABLE cxrzero_schema")))
        with pytest.raises(DatabaseError, match="holds something else"):
            open_database(address)
        assert count(database, "films") == 0


def test_reading_makes_nothing(tmp_path: Path, server: Any, password: None) -> None:
    with pytest.raises(NoInputError, match="does not exist"):
        open_database(tmp_path / "new.sqlite", must_exist=True)
    assert not list(tmp_path.iterdir())
    (tmp_path / "empty.sqlite").touch()
    for empty in (str(tmp_path / "empty.sqlite"), server.new_database("empty")):
        with pytest.raises(DatabaseError, match="is empty"):
            open_database(empty, must_exist=True)
        check_database(empty)
    check_database(tmp_path / "new.sqlite")
    assert [path.name for path in tmp_path.iterdir()] == ["empty.sqlite"]
    assert server.sql("empty", "SELECT count(*) FROM pg_class WHERE relname = 'films'") == "0"


def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    text = tmp_path / "text.sqlite"
    text.write_text("path,frame\n" * 100, encoding="utf-8")
    with pytest.raises(DatabaseError, match=r"text\.sqlite is no database, though its name says so"):
        open_database(text)
    assert text.read_text(encoding="utf-8") == "path,frame\n" * 100
    with pytest.raises(DatabaseError, match=r"the folder .* does not exist"):
        open_database(tmp_path / "missing" / "r.sqlite")
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE films (title TEXT)")
    connection.close()
    with pytest.raises(DatabaseError, match="holds something else"):
        open_database(foreign)
    damaged = tmp_path / "damaged.sqlite"
    with open_database(damaged) as database:
        database.add(database.begin_run(record()), [film(n) for n in range(200)])
    content = bytearray(damaged.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    damaged.write_bytes(content)
    with pytest.raises(DatabaseError, match="is damaged"):
        open_database(damaged)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE runs SET record = 'no JSON'",
        "UPDATE runs SET record = '{}'",
        """UPDATE runs SET record = '{"prompts": [{"label": 1}]}'""",
        """UPDATE runs SET record = '{"prompts": [], "options": 3}'""",
        "UPDATE facts SET path = x'00ff'",
        "UPDATE facts SET flags = x'ff'",
        "UPDATE scores SET probability = 'high'",
        "UPDATE films SET digest = 5, frame = 'one'",
    ],
)
def test_a_strangers_file_is_an_error_at_worst(tmp_path: Path, change: str) -> None:
    path = tmp_path / "r.sqlite"
    with open_database(path) as database:
        database.add(database.begin_run(record()), [film(1)])
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(change)
    connection.close()
    with open_database(path, must_exist=True) as database, pytest.raises(DatabaseError, match="does not write"):
        list(rows_of(database, choose(database)))


def test_a_process_that_is_killed_in_the_middle_leaves_what_was_committed(tmp_path: Path) -> None:
    code = """
        import os, sys
        from cxrzero.database import open_database, store
        from tests.database.rows import film, record
        with open_database(sys.argv[1]) as database:
            run = database.begin_run(record())
            database.add(run, [film(1), film(2)])
            store._places = lambda *_: os._exit(9)
            database.add(run, [film(3)])
    """
    path = tmp_path / "r.sqlite"
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code), path], env=environment, check=False)
    assert killed.returncode == 9
    with open_database(path) as database:
        assert (count(database, "films"), count(database, "scores"), count(database, "listed")) == (2, 4, 2)
        assert database.add(1, [film(2), film(3)]) == 1


def test_a_file_that_another_process_holds_is_waited_for_within_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxrzero.database.connect.BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "r.sqlite"
    with open_database(path) as database:
        run = database.begin_run(record())
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseError, match="was being written by another process"):
            database.add(run, [film(1)])
        other.execute("ROLLBACK")
        other.close()
        assert database.add(run, [film(1)]) == 1


def test_a_reader_does_not_stop_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxrzero.database.connect.BUSY_TIMEOUT_S", 0.05)
    with open_database(tmp_path / "r.sqlite") as database:
        run = database.begin_run(record())
        database.add(run, [film(1)])
        with database.connector.reading() as connection:
            rows = connection.execute(sqlalchemy.text("SELECT * FROM results"))
            rows.fetchone()
            assert database.add(run, [film(2)]) == 1
            assert len(rows.fetchall()) == 1


def test_a_run_ends_with_its_whole_record(address: str) -> None:
    with open_database(address) as database:
        run = database.begin_run(record())
        assert ask(database, "SELECT ended FROM runs") == [(None,)]
        database.end_run(run, record(ended="2026-01-31T12:00:09.000+00:00", counts={"ok": 1}))
        ((ended, text),) = ask(database, "SELECT ended, record FROM runs")
        assert ended == "2026-01-31T12:00:09.000+00:00"
        assert '"counts": {"ok": 1}' in text
