"""A PostgreSQL server of the test's own: loopback only, its data in a temporary folder, gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import needs

USER, PASSWORD = "radiology", "geheim-7Q"
# Programs of Debian's package, which are not in the path.
INSTALLED = Path("/usr/lib/postgresql")
SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers.

    Attributes:
        port: on 127.0.0.1.
        folder: of its data, log and socket.
        programs: folder of `psql` and others.
    """

    port: int
    folder: Path
    programs: Path

    def address(self, database: str, *, user: str = USER, password: str = "", query: str = "") -> str:
        """A URL of it, by default without a password."""
        who = f"{user}:{password}" if password else user
        return f"postgresql://{who}@127.0.0.1:{self.port}/{database}{query}"

    def new_database(self, name: str) -> str:
        """Make an empty database; its address."""
        self.sql("postgres", f'CREATE DATABASE "{name}"')
        return self.address(name)

    def sql(self, database: str, statement: str) -> str:
        """What `psql` says to a statement, a row a line."""
        command: list[str | Path] = [self.programs / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement]
        environment = {"PGPASSWORD": PASSWORD, "PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": USER}
        return _run([*command, database], environment).strip()

    def kill_connections(self, database: str) -> int:
        """Have the server end every connection to a database; how many there were."""
        said = self.sql(
            "postgres", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        )
        return len(said.splitlines())


@contextmanager
def postgres() -> Iterator[Server]:
    """Start a server that asks USER for PASSWORD; the test is skipped where there is none (`needs`)."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="cxrzero-postgres-"))
    owner = _owner(folder)
    try:
        (folder / "password").write_text(PASSWORD, encoding="ascii")
        (folder / "password").chmod(0o644)
        initdb: list[str | Path] = [
            programs / "initdb",
            "--pgdata",
            folder / "data",
            "--username",
            USER,
            "--encoding",
            "UTF8",
        ]
        initdb += ["--locale", "C.UTF-8", "--auth", "scram-sha-256", "--pwfile", folder / "password", "--no-sync"]
        _run(initdb, {}, owner)
        port = _free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": folder,
            "fsync": "off",
            "max_connections": 20,
        }
        command = [str(programs / "postgres"), "-D", str(folder / "data")]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, user=owner, cwd=folder)
        try:
            server = Server(port, folder, programs)
            _wait(server, process)
            yield server
        finally:
            process.send_signal(signal.SIGQUIT)  # at once, whoever is connected
            process.wait(SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    found = sorted(INSTALLED.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else Path(needs.program("postgres", "postgresql")).parent


def _owner(folder: Path) -> str | None:
    """Who runs it: not root, which it refuses."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    import pwd

    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        return name
    pytest.skip("PostgreSQL refuses root, and there is no other user")


def _run(command: list[str | Path], environment: Mapping[str, str], user: str | None = None) -> str:
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, **environment},
        user=user,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _wait(server: Server, process: subprocess.Popen[bytes]) -> None:
    ready = [server.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(server.port)]
    end = time.monotonic() + SECONDS
    while subprocess.run(list(map(str, ready)), check=False, cwd="/").returncode:
        log = server.folder / "log"
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < end, log.read_text(encoding="utf-8")
        time.sleep(0.05)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
