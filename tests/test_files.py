"""Files are written whole or not at all, locks end with their process, the user's folders stay where they were."""

from __future__ import annotations

import errno
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from platformdirs import windows

from cxrzero.errors import OutputError, WriteError
from cxrzero.files import (
    WholeFile,
    check_file,
    installed_versions,
    is_database,
    make_private,
    no_formula,
    open_locked,
    partial_of,
    sha256_of,
    sha256_of_tree,
    software,
    user_folder,
    whole_folder,
    write_json,
    write_whole,
)


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file reaches the disk any more."""

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)


@pytest.mark.parametrize("before", [None, "old"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    path = tmp_path / "out.json"
    if before is not None:
        path.write_text(before)
    full_disk(monkeypatch)
    with pytest.raises(WriteError, match=r"out\.json cannot be written: No space left"):
        write_json(path, {"new": True})
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == ({} if before is None else {"out.json": before})


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ on Windows")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_ends_in_the_middle_leaves_what_was_there(tmp_path: Path, sent: signal.Signals) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    script = (
        "import sys, time\nfrom cxrzero.files import WholeFile\n"
        "with WholeFile(sys.argv[1]) as whole:\n"
        "    whole.file.write(b'half'); whole.file.flush(); print('half', flush=True); time.sleep(60); whole.commit()\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        with pytest.raises(OutputError, match="another run is writing"):
            write_whole(path, "other")
        process.send_signal(sent)
    assert path.read_text() == "old"
    write_whole(path, "new")  # over what the killed process left
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"out.txt": "new"}


def test_a_kept_partial_is_what_was_written_so_far(tmp_path: Path) -> None:
    def interrupted() -> None:
        with WholeFile(tmp_path / "t", keep=True) as whole:
            whole.file.write(b"rows")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"t.partial": b"rows"}


def test_a_link_stays_and_its_target_is_replaced_on_its_own_disk(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    real, link = tmp_path / "far" / "real", tmp_path / "link"
    link.symlink_to(real)
    assert partial_of(link) == tmp_path / "far" / "real.partial"
    write_whole(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_permissions(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_whole(path, "first")
    path.chmod(0o640)
    write_whole(path, "second")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    with WholeFile(tmp_path / "key", private=True) as whole:
        assert stat.S_IMODE(whole.partial.stat().st_mode) == 0o600
        whole.commit()
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    made = make_private(tmp_path / "a" / "b")
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (made, made.parent)] == [0o700, 0o700]


def test_names_that_are_not_unicode_read_back_from_json(tmp_path: Path) -> None:
    content = ["é", os.fsdecode(b"caf\xe9")]
    write_json(tmp_path / "x.json", content)
    assert json.loads((tmp_path / "x.json").read_text("utf-8")) == content


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"gone.x cannot be written: No such file"):
        write_whole(tmp_path / "gone" / "x", "")
    with pytest.raises(OutputError, match="cannot be made"):
        make_private(tmp_path / "file" / "folder")
    with pytest.raises(OutputError, match="is a folder"):
        check_file(tmp_path, overwrite=True)


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    def interrupted() -> None:
        with whole_folder(tmp_path / "made") as folder:
            (folder / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    with whole_folder(tmp_path / "made") as folder:
        (folder / "all").touch()
        assert not (tmp_path / "made").exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "all"]


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is locked on Windows")
def test_a_lock_is_one_process_s_until_it_is_closed(tmp_path: Path) -> None:
    with open_locked(tmp_path / "lock"), pytest.raises(BlockingIOError):
        open_locked(tmp_path / "lock")
    open_locked(tmp_path / "lock", wait=True).close()


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is locked on Windows")
def test_a_file_that_got_its_name_before_it_was_locked_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    real = fcntl.flock

    def late(file: object, how: int) -> None:
        (tmp_path / "t.partial").rename(tmp_path / "t")
        real(file, how)  # type: ignore[arg-type]

    (tmp_path / "t.partial").write_text("complete")
    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(OutputError, match="another run"):
        WholeFile(tmp_path / "t")
    assert (tmp_path / "t").read_text() == "complete"


LINUX = {"XDG_CACHE_HOME": "/c", "XDG_DATA_HOME": "/d", "XDG_CONFIG_HOME": "/s"}
WINDOWS = {"LOCALAPPDATA": "/local", "APPDATA": "/roaming"}


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, ("/home/me/.cache", "/home/me/.local/share", "/home/me/.config")),
        ("linux", LINUX, ("/c", "/d", "/s")),
        ("darwin", {}, ("/home/me/Library/Caches", "/home/me/Library/Application Support", "/home/me/.config")),
        ("darwin", LINUX, ("/home/me/Library/Caches", "/home/me/Library/Application Support", "/s")),
        ("win32", WINDOWS, ("/local", "/local", "/roaming")),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="written with the paths of Linux")
def test_user_folders_are_where_they_were_before_there_was_a_library_for_it(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: tuple[str, ...]
) -> None:
    for name in (*LINUX, *WINDOWS):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(windows, "get_win_folder", windows.get_win_folder_from_env_vars)  # Windows itself is not here
    found = user_folder("cache"), user_folder("data"), user_folder("config")
    assert found == tuple(Path(folder) / "cxrzero" for folder in expected)


def test_hashes(tmp_path: Path) -> None:
    (tmp_path / "m" / "sub").mkdir(parents=True)
    (tmp_path / "m" / "a").write_bytes(b"abc")
    (tmp_path / "m" / "sub" / "b").write_bytes(b"")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "m" / "a") == sha256_of_tree(tmp_path / "m" / "a") == abc
    # As the folders of imported models are named: this value may not change.
    assert sha256_of_tree(tmp_path / "m") == "e977afb807ecc615763897f284e0e22e585de00a7ee3d69a4f06c0183b0713e0"


def test_versions() -> None:
    assert list(installed_versions(["numpy", "no-such-package", "pillow"])) == ["numpy", "pillow"]
    assert list(software(["numpy"])) == ["cxrzero", "python", "numpy"]


def test_no_formula() -> None:
    assert [no_formula(text) for text in ("=1", "+1", "-1", "@x", "\tx", "\rx", "x=1", "")] == [
        "'=1", "'+1", "'-1", "'@x", "'\tx", "'\rx", "x=1", "",
    ]  # fmt: skip


def test_a_database_is_told_from_other_files(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.csv")) as connection:
        connection.execute("CREATE TABLE t (x)")
    (tmp_path / "b.sqlite").write_text("path,frame\n", encoding="utf-8")
    assert is_database(tmp_path / "a.csv")
    assert is_database("postgresql://h/d")
    assert is_database(Path("postgresql://h/d"))
    for name in ("b.sqlite", "missing.sqlite", "", "\0"):
        assert not is_database(tmp_path / name)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert not is_database(tmp_path / "pipe")
