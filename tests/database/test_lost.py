"""A server that goes away in the middle, for a moment or for good; and passwords, which are in no message."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

import sqlalchemy

from cxrzero.database import open_database, parse_address
from cxrzero.database.connect import Connector
from cxrzero.database.store import Database
from cxrzero.errors import DatabaseError
from tests.database.rows import ask, count, film, record
from tests.support.postgres import PASSWORD, USER, Server


@pytest.fixture
def database(server: Server, password: None, request: pytest.FixtureRequest) -> str:
    """The name of a new database."""
    name = str(request.node.name)[:60]
    server.new_database(name)
    return name


def test_a_connection_lost_in_the_middle_is_made_again_and_nothing_is_half_or_twice(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxrzero.database import store

    real = store._places
    lost: list[int] = []

    def lose(*arguments: Any) -> Any:
        if not lost:  # films, facts and scores are written, and not committed
            lost.append(server.kill_connections(database))
        return real(*arguments)

    with open_database(server.address(database)) as opened:
        run = opened.begin_run(record())
        opened.add(run, [film(1)])
        monkeypatch.setattr(store, "_places", lose)
        assert opened.add(run, [film(1), film(2)]) == 1
        assert lost == [1]
        assert (count(opened, "films"), count(opened, "scores"), count(opened, "listed")) == (2, 4, 2)


def test_a_run_whose_beginning_was_committed_is_not_begun_twice(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[int] = []

    def answer_lost(connection: Any) -> None:
        if not lost:
            connection.connection.commit()  # what the server did before its answer was lost
            lost.append(server.kill_connections(database))

    with open_database(server.address(database)) as opened:
        monkeypatch.setattr("cxrzero.database.connect._whole", _then(answer_lost))
        assert opened.begin_run(record()) == 1
        assert lost == [1]
        assert count(opened, "runs") == 1
        assert count(opened, "asked") == 2


def _then(after: Callable[[Any], None]) -> Callable[..., Any]:
    from cxrzero.database.connect import _whole

    def whole(connection: Any, work: Callable[[Any], Any]) -> Any:
        def both(inner: Any) -> Any:
            done = work(inner)
            after(inner)
            inner.execute(sqlalchemy.text("SELECT 1"))
            return done

        return _whole(connection, both)

    return whole


def test_one_that_is_lost_for_good_is_an_error_within_the_limit(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = parse_address(server.address(database))
    with open_database(server.address(database)) as opened:
        run = opened.begin_run(record())
        opened.connector.close()
        opened.connector = Connector(address, retry_limit_s=0.5)
        server.sql("postgres", f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
        server.kill_connections(database)
        waits: list[float] = []
        monkeypatch.setattr(time, "sleep", waits.append)
        with pytest.raises(DatabaseError) as caught:
            opened.add(run, [film(1)])
        assert waits == []  # the server says that it will not: nothing to wait for
        assert str(opened.address) in str(caught.value)
        assert PASSWORD not in str(caught.value)
        server.sql("postgres", f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')
        assert opened.add(run, [film(1)]) == 1


def test_nobody_there_is_tried_again_with_longer_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(time, "monotonic", lambda: sum(waits))
    connector = Connector(parse_address(f"postgresql://{USER}:{PASSWORD}@127.0.0.1:1/films"), retry_limit_s=20)
    with pytest.raises(DatabaseError) as caught:
        connector.write(lambda connection: None)
    assert waits[:3] == [0.1, 0.2, 0.4]
    assert max(waits) == 5.0
    assert sum(waits) == pytest.approx(20)
    assert str(caught.value) == (
        "the database postgresql://127.0.0.1:1/films cannot be reached, or the connection was lost"
    )


def test_a_read_that_is_cut_short_is_an_error(server: Server, database: str) -> None:
    with open_database(server.address(database)) as opened:
        run = opened.begin_run(record())
        opened.add(run, [film(n) for n in range(3)])
        with pytest.raises(DatabaseError, match=r"terminating connection|was lost"):
            lose_and_read(server, database, opened)
        assert count(opened, "results") == 6


def lose_and_read(server: Server, database: str, opened: Database) -> None:
    with opened.connector.reading() as connection:
        connection.execute(sqlalchemy.text("SELECT 1")).fetchall()
        server.kill_connections(database)
        connection.execute(sqlalchemy.text("SELECT * FROM results")).fetchall()


def test_two_processes_wait_for_each_other_s_rows(server: Server, database: str) -> None:
    """A row that another transaction has written and not committed is waited for, and is not added twice."""
    with open_database(server.address(database)) as first, open_database(server.address(database)) as second:
        runs = first.begin_run(record()), second.begin_run(record())
        written, new = threading.Event(), []

        def add_second() -> None:
            written.wait(30)
            new.append(second.add(runs[1], [film(1), film(2)]))

        thread = threading.Thread(target=add_second)
        thread.start()

        def add_first(connection: Any) -> int:
            added = first._add(connection, runs[0], [film(1)], None, ())
            written.set()
            while not server.sql(database, "SELECT 1 FROM pg_locks WHERE NOT granted LIMIT 1"):
                pass
            return added

        assert first.connector.write(add_first) == 1
        thread.join(30)
        assert new == [1]
        assert ask(first, "SELECT run, count(*) FROM scores GROUP BY run ORDER BY run") == [(1, 2), (2, 2)]


def test_a_wrong_or_missing_password_is_said_without_it(
    server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD")
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    for given in ("", "falsch-5Z"):
        with pytest.raises(DatabaseError, match="refuses the user: password authentication failed") as caught:
            open_database(server.address(database, password=given))
        assert "falsch" not in str(caught.value)
    (tmp_path / "pgpass").write_text(f"127.0.0.1:*:*:{USER}:{PASSWORD}\n", encoding="utf-8")
    (tmp_path / "pgpass").chmod(0o600)
    open_database(server.address(database)).close()
    with pytest.raises(DatabaseError, match="offers no TLS"):
        open_database(server.address(database, query="?sslmode=require"))
    with pytest.raises(DatabaseError, match="does not exist"):
        open_database(server.address("nowhere"))
