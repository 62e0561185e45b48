"""What names a database, what is shown of it, and where its password comes from."""

from pathlib import Path

import pytest

from cxrzero.database import is_address, parse_address
from cxrzero.database.pgpass import password_of
from cxrzero.errors import DatabaseError, UsageError


def test_databases_are_told_from_tables() -> None:
    for name in ("r.sqlite", "r.sqlite3", "a/r.DB", Path("r.db"), "sqlite:///r", "postgresql://h/d", "mysql://u:p@h/d"):
        assert is_address(name), name
    for name in ("r.csv", "-", "predictions", "r.parquet", "sqlite", "db", "a.sqlite/r.csv", "C:/r.csv"):
        assert not is_address(name), name


def test_a_file_is_named_in_three_ways() -> None:
    assert parse_address("a/r.sqlite").file == parse_address("sqlite:///a/r.sqlite").file == Path("a/r.sqlite")
    assert parse_address("sqlite:////data/my%20results.db").file == Path("/data/my results.db")


def test_a_servers_address_is_taken_apart_and_its_password_shown_nowhere() -> None:
    address = parse_address("postgresql://ana%40x:p%2F%3A%40s@db.example:6432/films")
    assert (address.host, address.port, address.user, address.password) == ("db.example", 6432, "ana@x", "p/:@s")
    assert address.database == "films"
    assert str(address) == "postgresql://db.example:6432/films"
    assert "p/:@s" not in repr(address)
    assert str(parse_address("postgresql://[::1]/films")) == "postgresql://[::1]/films"
    socket = parse_address("postgresql://ana:geheim@/films?host=/run/postgresql")
    assert (socket.host, socket.tls) == ("/run/postgresql", "disable")
    assert str(socket) == "postgresql:///films?host=/run/postgresql"


def test_elsewhere_the_certificate_is_checked_unless_somebody_says_otherwise() -> None:
    assert parse_address("postgresql://db.example/films").tls == "verify-full"
    assert parse_address("postgresql://db.example/films?sslmode=require").tls == "require"
    for host in ("localhost", "127.0.0.1", "[::1]"):
        assert parse_address(f"postgresql://{host}/films").tls == "disable"


@pytest.mark.parametrize(
    "wrong",
    [
        "mysql://ana:geheim@h/films",
        "postgresql://ana:geheim@h",
        "postgresql://ana:geheim@h/a/b",
        "postgresql://ana:geheim@h:port/films",
        "postgresql://ana:ge[heim@h/films",
        "postgresql://ana:geheim@h/films?sslmode=prefer",
        "postgresql://ana@h/films?password=geheim",
        "sqlite://geheim/films",
        "sqlite:///:memory:",
    ],
)
def test_other_addresses_are_refused_without_their_password(wrong: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(wrong)
    assert "heim" not in str(caught.value)


@pytest.fixture
def pgpass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A password file that $PGPASSFILE names."""
    monkeypatch.delenv("PGPASSWORD", raising=False)
    path = tmp_path / "pgpass"
    monkeypatch.setenv("PGPASSFILE", str(path))
    lines = [
        "# host:port:database:user:password",
        "",
        "too:few:fields",
        "db.example:5432:films:ana:first",
        r"*:5432:films:a\:b:with\:colon\\",
        r"::1:5432:films:ana:not the fields of an IPv6 address, which needs backslashes",
        r"\:\:1:5432:films:ana:six",
        "localhost:*:*:*:here",
        "*:*:films:ben:any:more",
        "*:*:films:eve:",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    path.chmod(0o600)
    return path


def test_the_first_line_of_the_password_file_that_fits_is_taken(pgpass: Path) -> None:
    assert password_of("db.example", 5432, "films", "ana") == "first"
    assert password_of("other", 5432, "films", "a:b") == "with:colon\\"
    assert password_of("::1", 5432, "films", "ana") == "six"
    assert password_of("localhost", 6432, "x", "y") == "here"
    assert password_of("/run/postgresql", 5432, "x", "y") == "here"
    assert password_of("db.example", 6432, "films", "ana") is None
    assert password_of("other", 5432, "films", "eve") == ""


def test_the_environment_goes_before_the_file(pgpass: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "from the environment")
    assert password_of("db.example", 5432, "films", "ana") == "from the environment"


def test_a_password_file_that_others_can_read_is_not_used(pgpass: Path) -> None:
    pgpass.chmod(0o640)
    with pytest.raises(DatabaseError, match="can be read by others, so it is not used; run: chmod 600") as caught:
        password_of("db.example", 5432, "films", "ana")
    assert "first" not in str(caught.value)
    pgpass.unlink()
    assert password_of("db.example", 5432, "films", "ana") is None
