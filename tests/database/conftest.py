"""Databases that tests write to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import PASSWORD, Server, postgres


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with postgres() as started:
        yield started


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's password is in the environment."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new database of either kind."""
    if request.param == "sqlite":
        return str(tmp_path / "results.sqlite")
    request.getfixturevalue("password")
    return str(request.getfixturevalue("server").new_database(request.node.name))
