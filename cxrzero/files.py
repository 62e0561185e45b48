"""What every part of the package does with files: write them whole, lock them, hash them, find the user's folders.

A file appears under its name only when it is complete. Until then it is `<name>.partial`, which one process at a time
may write.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

from cxrzero._version import __version__
from cxrzero.errors import ConfigError, OutputError, OutputExistsError, ReaderGoneError, UsageError, WriteError

PARTIAL = ".partial"

# In messages.
STDOUT_NAME, STDERR_NAME = "standard output", "standard error"

# Spreadsheets run a cell that begins so as a formula (OWASP, "CSV Injection").
FORMULA_STARTS = frozenset({"=", "+", "-", "@", "\t", "\r"})

# The first bytes of every database of SQLite 3 (its "Database File Format", 1.3).
SQLITE_START = b"SQLite format 3\0"

# A scheme and what follows it, also as pathlib writes it: with one slash.
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
UserFolder = Literal["cache", "data", "config"]
APP = "cxrzero"
# Always these: newer versions of platformdirs follow XDG variables on macOS too, older ones do not.
MAC_FOLDERS: dict[UserFolder, str] = {"cache": "Library/Caches", "data": "Library/Application Support"}


class WholeFile:
    """A file that has its name once it is complete and `commit` was called. Most need `write_whole` only.

    Args:
        path: a link stays, what it leads to is replaced.
        keep: leave `<path>.partial` behind where the writing ends early; else it is removed.
        private: readable by the user only.

    Attributes:
        partial: where it is until then.
        file: to write to; what fails there, or in `commit`, is an OSError (see `cannot_write`).

    Raises:
        WriteError: it cannot be begun.
        OutputError: another process is writing it.
    """

    def __init__(self, path: str | Path, *, keep: bool = False, private: bool = False) -> None:
        self.path = Path(os.path.realpath(path))
        self.partial = partial_of(path)
        self._keep = keep
        self._is_over = False
        try:
            self.file = open_locked(self.partial, mode=0o600 if private else 0o666)
            with _closed_on_error(self.file):
                if self.partial.is_file():  # not a device, which tests put there
                    self.file.truncate(0)  # what a killed process left
                    if private:
                        self.partial.chmod(0o600)
                    elif self.path.exists():
                        shutil.copymode(self.path, self.partial)
        except BlockingIOError:
            raise OutputError(f"another run is writing {path}; wait for it, or choose another output") from None
        except OSError as error:
            raise cannot_write(path, error) from error

    def commit(self) -> None:
        """Give the complete file its name."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self._close_after(lambda: self.partial.replace(self.path))
        self._is_over = True

    def close(self) -> None:
        """End; without `commit` before, the file does not get its name."""
        if not self._is_over:
            self._is_over = True
            # Where the disk is why it ends, closing fails again; the first error is the one to report.
            with suppress(OSError):
                self._close_after(lambda: None if self._keep else self.partial.unlink(missing_ok=True))

    def _close_after(self, step: Callable[[], object]) -> None:
        """The lock ends with the file, so the step comes first; but on Windows no open file is renamed or removed."""
        try:
            if sys.platform == "win32":
                self.file.close()
            step()
        finally:
            self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def partial_of(path: str | Path) -> Path:
    """Where a file is while it is written: beside what `path` leads to, because no file is renamed across disks."""
    return Path(os.path.realpath(path) + PARTIAL)


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a file, whole or not at all; text as UTF-8, and what of it is not Unicode (names of files) as a \\u escape.

    Raises:
        WriteError: it cannot be written; what was there before is still there.
        OutputError: another process is writing it.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with WholeFile(path) as whole:
        try:
            whole.file.write(data)
            whole.commit()
        except OSError as error:
            raise cannot_write(path, error) from error


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file for people to read, see `write_whole`."""
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder that appears under its name only when it is complete; yields where to fill it. Raises OSError."""
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def cannot_write(path: str | Path, error: OSError) -> WriteError:
    """The error to raise where writing failed."""
    if isinstance(error, BrokenPipeError):
        return ReaderGoneError(f"nobody reads {path} any more")
    return WriteError(f"{path} cannot be written: {error.strerror or type(error).__name__}")


def check_file(path: Path, *, overwrite: bool) -> None:
    """Find out whether a file could be written at `path`, writing nothing.

    Raises:
        OutputExistsError: it exists and overwrite is false.
        OutputError: it is no regular file, or its folder does not exist or does not allow it.
        UsageError: it is an address.
    """
    if ADDRESS.match(str(path)):
        raise UsageError(
            "an address is given where a file is written: name a file, and copy it to the store; predict and merge "
            "send their tables to a store themselves"
        )
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} is a pipe or device; name a file, or - for standard output")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists already; name another file, or give --overwrite to replace it")
    if not path.parent.is_dir():
        raise OutputError(f"the folder {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"the folder {path.parent} cannot be written")


def open_locked(path: Path, *, wait: bool = False, mode: int = 0o666) -> BinaryIO:
    """Open a file to append to, locked until it is closed, however the process ends; not locked on Windows.

    Raises:
        BlockingIOError: another process has it (or, with `wait`, had it, and it is gone).
    """
    file = open(path, "ab", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
    if sys.platform == "win32":  # there a file that is open cannot be replaced by another process anyway
        return file
    import fcntl

    with _closed_on_error(file):
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        # Who had it may have renamed or removed it while it was opened here.
        if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            raise BlockingIOError
    return file


@contextmanager
def _closed_on_error(file: BinaryIO) -> Iterator[None]:
    try:
        yield
    except BaseException:
        file.close()
        raise


def user_folder(kind: UserFolder) -> Path:
    """`cxrzero` in the user's folder of that kind, see docs/cache.md, docs/models.md and docs/predict.md."""
    if sys.platform == "darwin" and kind in MAC_FOLDERS:
        return Path.home() / MAC_FOLDERS[kind] / APP
    from platformdirs.unix import Unix
    from platformdirs.windows import Windows

    windows = Windows(APP, appauthor=False, roaming=kind == "config", opinion=False)
    folders = windows if sys.platform == "win32" else Unix(APP)
    return {"cache": folders.user_cache_path, "data": folders.user_data_path, "config": folders.user_config_path}[kind]


def make_private(folder: Path) -> Path:
    """Make a folder, and those above it that are missing, so that only the user can read them.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder {folder} cannot be made: {error.strerror}") from error
    return folder


def is_database(path: str | Path) -> bool:
    """Whether a path given for a file of another kind is a database: a file of SQLite, or an address."""
    if re.match(r"(postgresql|sqlite)(\+\w+)?:/", str(path)):
        return True
    try:
        if not os.path.isfile(path):  # nobody may ever write to a pipe
            return False
        with open(path, "rb") as file:
            return file.read(len(SQLITE_START)) == SQLITE_START
    except (OSError, ValueError):
        return False


def sha256_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def sha256_of_tree(path: Path) -> str:
    """SHA-256 of a file, or of the names and SHA-256 of all files in a folder."""
    if path.is_file():
        return sha256_of(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listing = "\n".join(f"{sha256_of(file)}  {file.relative_to(path).as_posix()}" for file in files)
    return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Package → version, of those that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def software(packages: Iterable[str]) -> dict[str, str]:
    """Versions of cxrzero, Python and those packages that are installed."""
    return {"cxrzero": __version__, "python": platform.python_version(), **installed_versions(packages)}


def no_formula(text: str) -> str:
    """A cell of a CSV file that no spreadsheet runs: where one would, it gets a leading apostrophe."""
    return "'" + text if text[:1] in FORMULA_STARTS else text


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file has; its values are not checked.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
