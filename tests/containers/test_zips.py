"""What of a .zip file is read, and what is refused before it is."""

from __future__ import annotations

import io
import os
import stat
import struct
import weakref
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from cxrzero.containers import limits
from cxrzero.containers.blob import LocalBlob
from cxrzero.containers.open import Container, OpenContainers
from cxrzero.sources import WalkCounts, find_images
from cxrzero.sources.reader import Reader
from tests.support.containers import CENTRAL, END, LOCAL, changed, code_when, films, zipped

Put = Callable[[bytes], Path]
FILM = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40  # by its first bytes


@pytest.fixture
def put(tmp_path: Path) -> Put:
    def write(content: bytes) -> Path:
        path = tmp_path / "a.zip"
        path.write_bytes(content)
        return path

    return write


def read_all(path: Path) -> dict[str, str]:
    """Name → the code that reading its bytes ends with, "" where they are those of FILM."""
    reader, found = Reader(), {}
    for ref in find_images([str(path)]):
        name = ref.path[len(str(path)) :].removeprefix("!/")
        if ref.error is not None:
            found[name] = ref.error.code
        else:
            found[name] = code_when(lambda ref=ref: _is_film(reader._content(ref)))  # type: ignore[misc]
    return found


def _is_film(content: bytes) -> None:
    assert content == FILM


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_read_in_the_order_of_a_folder(put: Put, method: int) -> None:
    umlaut = "ä.png"
    names = ("b.png", "a/z.png", "a/B.png", "Z.png", "a.png", umlaut, "a-1.png")
    path = put(zipped(dict.fromkeys(names, FILM), method))
    assert [name for name, _ in films(path)] == ["Z.png", "a/B.png", "a/z.png", "a-1.png", "a.png", "b.png", umlaut]
    assert set(read_all(path).values()) == {""}


def test_what_is_an_image_is_decided_as_in_a_folder(put: Put) -> None:
    counts = WalkCounts()
    members = {"IM0001": FILM, "notes.txt": b"no image", "fake.dcm": b"it claims", "dir/": b"", "DICOMDIR.dcm": b"none"}
    leftovers = {"__MACOSX/._x.png": FILM, "dir/._x.png": b"fork", "Thumbs.db": b"", "._film": FILM}
    path = put(zipped(members | leftovers))
    assert films(path, counts) == [("._film", ""), ("DICOMDIR.dcm", ""), ("IM0001", ""), ("fake.dcm", "")]
    assert (counts.found, counts.ignored) == (4, 4)


def test_names_without_a_flag_are_utf8_where_they_can_be(put: Put) -> None:
    info = zipfile.ZipInfo("x.png")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(info, FILM)
    written = buffer.getvalue()
    for raw, name in (("ä.pn".encode(), "ä.pn"), (b"\x84x.pn", "äx.pn")):  # 0x84 is ä in code page 437
        assert films(put(written.replace(b"x.png", raw))) == [(name, "")]
    bad = bytearray(written.replace(b"x.png", b"\xff.png"))
    for start, at in ((LOCAL, 6), (CENTRAL, 8)):
        struct.pack_into("<H", bad, bad.index(start) + at, 0x0800)  # says that it is UTF-8, and is not
    path = put(bytes(bad))
    assert films(path) == [(os.fsdecode(b"\xff.png"), "")]
    assert read_all(path) == {os.fsdecode(b"\xff.png"): ""}


@pytest.mark.parametrize(
    "name",
    ["../x.png", "a/../../x.png", "/etc/x.png", "a\\x.png", "C:x.png", "c:/x.png", "a//x.png", "a/./x.png", "x" * 5000],
)
def test_names_that_lead_out_are_rows_and_not_read(put: Put, name: str) -> None:
    ((shown, code),) = films(put(zipped({name: FILM})))
    assert code == "member_name"
    assert shown == name[:4096]


def test_control_characters_of_a_refused_name_are_written_out(put: Put) -> None:
    raw = zipped({"../a_b.png": FILM}).replace(b"a_b", b"a\0b")
    assert films(put(raw)) == [(r"../a\x00b.png", "member_name")]


def test_links_devices_encrypted_and_nested_members_are_rows(put: Put) -> None:
    modes = {"link.png": stat.S_IFLNK, "device.png": stat.S_IFBLK, "pipe": stat.S_IFIFO, "film.png": stat.S_IFREG}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, mode in modes.items():
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, (mode | 0o644) << 16
            file.writestr(info, FILM)
        for name in ("in.zip", "in.tar.gz", "secret"):
            file.writestr(name, FILM)
    path = put(changed(buffer.getvalue(), CENTRAL, 6, flags=1))
    assert read_all(path) == {
        "device.png": "member_not_a_file", "film.png": "", "in.tar.gz": "member_nested", "in.zip": "member_nested",
        "link.png": "member_link", "pipe": "member_not_a_file", "secret": "member_encrypted",
    }  # fmt: skip


def test_of_equal_names_the_first_is_read(put: Put) -> None:
    path = put(zipped({"a.png": FILM, "./a.png": b"other", "b.png": b"another"}).replace(b"b.png", b"a.png"))
    assert films(path) == [("a.png", ""), ("a.png", "member_duplicate"), ("a.png", "member_duplicate")]
    assert Reader().content(f"{path}!/a.png") == FILM


@pytest.mark.parametrize(
    ("start", "fields", "code"),
    [
        (LOCAL, {"method": 0}, "member_mismatch"),
        (LOCAL, {"flags": 1}, "member_mismatch"),
        (LOCAL, {"crc": 1}, "member_mismatch"),
        (LOCAL, {"size": 7}, "member_mismatch"),
        (LOCAL, {"stored": 7}, "member_mismatch"),
        (CENTRAL, {"method": 12}, "member_compression"),
        (CENTRAL, {"size": limits.MAX_MEMBER_BYTES + 1}, "member_too_large"),
        (CENTRAL, {"size": limits.RATIO_FREE_BYTES + 1}, "member_too_large"),  # more than 200 times what is stored
        (CENTRAL, {"size": 60_000_000}, "member_mismatch"),  # more than deflate can make of it
        (CENTRAL, {"stored": 10_000_000}, "member_mismatch"),
        (CENTRAL, {"offset": 10_000_000}, "member_mismatch"),
        (CENTRAL, {"offset": 3}, "member_mismatch"),
        (CENTRAL, {"disk": 1}, "member_mismatch"),
    ],
)
def test_headers_that_lie_are_rows(put: Put, start: bytes, fields: dict[str, int], code: str) -> None:
    path = put(changed(zipped({"a.png": FILM, "b.png": FILM}), start, 0, **fields))
    assert read_all(path) == {"a.png": code, "b.png": ""}


@pytest.mark.parametrize("said", [len(FILM) - 1, len(FILM) + 1])
def test_a_size_that_both_headers_lie_about(put: Put, said: int) -> None:
    content = changed(zipped({"a.png": FILM}), LOCAL, 0, size=said)
    assert read_all(put(changed(content, CENTRAL, 0, size=said))) == {"a.png": "member_corrupt"}


def test_damaged_bytes_are_found_by_their_checksum(put: Put) -> None:
    stored = bytearray(zipped({"a.png": FILM}, zipfile.ZIP_STORED))
    stored[200] ^= 1
    assert read_all(put(bytes(stored))) == {"a.png": "member_corrupt"}
    deflated = bytearray(zipped({"a.png": FILM}))
    deflated[60:70] = bytes(10)
    assert read_all(put(bytes(deflated))) == {"a.png": "member_corrupt"}


def test_a_bomb_takes_no_memory(put: Put) -> None:
    """100 MB of zeros in 100 KB, said to be 200 KB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(100)) + packer.flush()
    raw = zipped({"a.png": b"x" * len(bomb)}, zipfile.ZIP_STORED).replace(b"x" * len(bomb), bomb)
    for start in (LOCAL, CENTRAL):
        raw = changed(raw, start, 0, method=8, size=200_000)
    assert read_all(put(raw)) == {"a.png": "member_corrupt"}


def test_members_that_share_bytes_are_rows(put: Put) -> None:
    """As in the bombs of David Fifield (2019): two entries of one member, and a member inside of another's bytes."""
    plain = zipped({"a.png": FILM, "b.png": FILM, "c.png": FILM}, zipfile.ZIP_STORED)
    same = changed(plain, CENTRAL, 1, offset=0)
    assert read_all(put(same)) == {"a.png": "member_overlaps", "b.png": "member_overlaps", "c.png": ""}
    inner = zipped({"b.png": FILM}, zipfile.ZIP_STORED)
    outer = b"\x89PNG\r\n\x1a\n" + inner[: inner.index(CENTRAL)]
    around = zipped({"a.png": outer, "b.png": FILM}, zipfile.ZIP_STORED)
    assert read_all(put(changed(around, CENTRAL, 1, offset=around.index(LOCAL, 4)))) == {
        "a.png": "member_overlaps", "b.png": ""
    }  # fmt: skip


def test_zip64_is_read(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    content = zipped({"a.png": FILM, "b.png": FILM})
    assert b"PK\6\6" in content
    assert read_all(put(content)) == {"a.png": "", "b.png": ""}
    assert films(put(content.replace(b"PK\6\6", b"PK\6\0"))) == [("", "container_broken")]


def test_sizes_that_come_behind_are_read(put: Put) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.written = b""

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.written += bytes(data)
            return len(data)

        def writable(self) -> bool:
            return True

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.png", FILM)
        with file.open("b.png", "w", force_zip64=True) as member:
            member.write(FILM)
    assert read_all(put(pipe.written)) == {"a.png": "", "b.png": ""}


def test_bytes_in_front_of_a_zip_file_are_no_harm(put: Put) -> None:
    assert read_all(put(b"#!/bin/sh\n" * 100 + zipped({"a.png": FILM}))) == {"a.png": ""}


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (lambda raw: raw[:-30], "container_truncated"),
        (lambda raw: raw[:-1], "container_broken"),
        (lambda raw: raw[: len(raw) // 2], "container_truncated"),
        (lambda raw: raw + b"more", "container_broken"),
        (lambda raw: b"", "container_broken"),
        (lambda raw: b"no archive at all", "container_broken"),
        (lambda raw: raw.replace(CENTRAL, b"PK\0\0", 1), "container_broken"),
        (lambda raw: _end(raw, 10, "<H", 1), "container_unsupported"),  # members here and in all differ
        (lambda raw: _end(raw, 4, "<H", 1), "container_unsupported"),
        (lambda raw: _end(raw, 8, "<HH", 1, 1), "container_broken"),  # it has two
        (lambda raw: _end(raw, 8, "<HH", 3, 3), "container_broken"),
        (lambda raw: _end(raw, 12, "<I", 2**31), "container_broken"),
        (lambda raw: _end(raw, 16, "<I", 2**31), "container_broken"),
    ],
)
def test_a_directory_that_is_none_is_one_row(put: Put, broken: Callable[[bytes], bytes], code: str) -> None:
    assert films(put(broken(zipped({"a.png": FILM, "b.png": FILM})))) in ([("", code)], [("a.png", ""), ("", code)])


def _end(raw: bytes, at: int, form: str, *values: int) -> bytes:
    data = bytearray(raw)
    struct.pack_into(form, data, data.rindex(END) + at, *values)
    return bytes(data)


def test_more_members_than_are_held_are_refused_before_they_are_read(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxrzero.containers.zips.MAX_MEMBERS", 1)
    assert films(put(zipped({"a.png": FILM, "b.png": FILM}))) == [("", "container_too_large")]


def test_every_cut_of_a_zip_file_is_told(put: Put) -> None:
    raw = zipped({"a.png": FILM[:100], "b/c.png": FILM[:90]})
    for length in range(len(raw)):
        found = films(put(raw[:length]))
        assert [code for _, code in found if code], length


def test_every_changed_byte_of_the_headers_is_told_or_harmless(put: Put) -> None:
    raw = zipped({"a.png": FILM})
    headers = [*range(35), *range(raw.index(CENTRAL), len(raw))]
    for at in headers:
        data = bytearray(raw)
        data[at] ^= 0xFF
        for name, code in read_all(put(bytes(data))).items():
            assert code or name, at  # reading asserts that the content is that of FILM


def test_a_zip_file_that_changes_is_told(put: Put, tmp_path: Path) -> None:
    path = put(zipped({"a.png": FILM, "b.png": FILM}))
    reader = Reader()
    first, second = find_images([str(path)])
    assert reader._content(first) == FILM
    other = tmp_path / "other"
    other.write_bytes(zipped({"a.png": FILM[:-1] + b"?", "b.png": FILM}))
    other.replace(path)
    assert code_when(lambda: reader._content(second)) == "container_changed"
    assert code_when(lambda: Reader()._content(second)) == "container_changed"
    path.unlink()
    assert code_when(lambda: reader._content(second)) == "missing"


def test_a_zip_file_that_changes_while_it_is_listed_is_told(put: Put) -> None:
    path = put(zipped({"a.png": FILM, "b.png": FILM}))
    refs = find_images([str(path)])
    next(refs)
    os.utime(path, (1, 1))
    assert [(ref.error.code if ref.error else "") for ref in refs] == ["", "container_changed"]


def test_few_containers_are_open_at_once(tmp_path: Path) -> None:
    blobs: list[weakref.ref[LocalBlob]] = []

    def opened(path: str) -> LocalBlob:
        blobs.append(weakref.ref(blob := LocalBlob(path)))
        return blob

    containers = OpenContainers(opened)
    for number in (*range(20), *range(20)):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(zipped({"a.png": FILM}))
        assert containers.content(str(path), "a.png") == FILM
    assert len(blobs) == 40
    assert sum(blob() is not None for blob in blobs) == 8


def test_a_member_is_found_by_its_name(put: Put) -> None:
    path = put(zipped({"a": FILM, "a/b": FILM[:100], "dir/ü.png": FILM[:50], "in.zip": b""}))
    container = Container(str(path), LocalBlob(str(path)))
    assert [container.content(container.find(name)) for name in ("a", "a/b", "dir/ü.png")] == [
        FILM, FILM[:100], FILM[:50]
    ]  # fmt: skip
    assert code_when(lambda: container.find("b")) == "missing"
    assert code_when(lambda: container.find("in.zip")) == "member_nested"
