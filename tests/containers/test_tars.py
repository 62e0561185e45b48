"""What of a .tar file is read, and what is refused before it is."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cxrzero.containers import limits
from cxrzero.containers.directory import Seen
from cxrzero.sources import WalkCounts, find_images
from cxrzero.sources.reader import Reader
from tests.support.containers import code_when, films, special, tarred

Put = Callable[[bytes], Path]
FILM = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4  # by its first bytes
KINDS = (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)


@pytest.fixture
def put(tmp_path: Path) -> Put:
    def write(content: bytes) -> Path:
        path = tmp_path / "a.tar"
        path.write_bytes(content)
        return path

    return write


def contents(path: Path) -> list[bytes]:
    reader = Reader()
    return [reader._content(ref) for ref in find_images([str(path)]) if ref.error is None]


def with_checksum(block: bytearray) -> bytes:
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    return bytes(block)


def header(kind: bytes, size: int) -> bytes:
    info = special("a.png", kind)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def pax(records: bytes) -> bytes:
    return header(tarfile.XHDTYPE, len(records)) + records.ljust(512, b"\0")


@pytest.mark.parametrize("kind", KINDS)
def test_members_are_read_as_they_are_stored(put: Put, kind: int) -> None:
    """As WebDataset's shards: a film and what is said of it, of one stem."""
    shard = {"000002.png": FILM, "000002.json": b"{}", "./000001.png": FILM[:77], "000001.cls": b"1", "IM1": FILM[:512]}
    counts = WalkCounts()
    path = put(tarred({**shard, "dir": special("dir", tarfile.DIRTYPE)}, kind))
    assert films(path, counts) == [("000002.png", ""), ("000001.png", ""), ("IM1", "")]
    assert (counts.found, counts.ignored) == (3, 2)
    assert contents(path) == [FILM, FILM[:77], FILM[:512]]


@pytest.mark.parametrize("kind", KINDS[:2])
def test_long_names_and_names_of_any_bytes(put: Put, kind: int) -> None:
    names = ["long/" * 60 + "film.png", "ü" * 90 + ".png", os.fsdecode(b"\xff.png")]
    path = put(tarred(dict.fromkeys(names, FILM), kind))
    assert films(path) == [(name, "") for name in names]
    assert contents(path) == [FILM] * 3
    assert Reader().content(f"{path}!/\\xff.png") == FILM  # as a table writes it


def test_name_and_size_in_a_pax_header_count(put: Put) -> None:
    """As for members of more than 8 GB, whose own header says 0."""
    records = b"18 path=dir/a.png\n" + b"%d size=%d\n" % (len(b"13 size=1032\n"), len(FILM)) + b"17 comment=x = y\n"
    film = FILM + bytes(-len(FILM) % 512)
    path = put(pax(records) + header(tarfile.REGTYPE, 0) + film + tarred({"b.png": b""}))
    assert films(path) == [("dir/a.png", ""), ("b.png", "")]
    assert contents(path) == [FILM, b""]


def test_what_is_no_plain_file_is_a_row(put: Put) -> None:
    sparse = tarfile.TarInfo("pax.png")
    sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "holes.png"}
    members: dict[str, bytes | tarfile.TarInfo] = {
        "a.png": FILM,
        "hard": special("hard.png", tarfile.LNKTYPE, "a.png"),
        "soft": special("soft.png", tarfile.SYMTYPE, "/etc/passwd"),
        "pipe": special("pipe", tarfile.FIFOTYPE),
        "device": special("device", tarfile.BLKTYPE),
        "in.tgz": b"",
        "../up.png": FILM,
        "/etc/x.png": FILM,
        "b\\c.png": FILM,
        "sparse": sparse,
        "z.png": FILM,
    }
    assert films(put(tarred(members))) == [
        ("a.png", ""),
        ("hard.png", "member_link"),
        ("soft.png", "member_link"),
        ("pipe", "member_not_a_file"),
        ("device", "member_not_a_file"),
        ("in.tgz", "member_nested"),
        ("../up.png", "member_name"),
        ("/etc/x.png", "member_name"),
        ("b\\c.png", "member_name"),
        ("holes.png", "member_sparse"),
        ("z.png", ""),
    ]


def test_old_sparse_files_are_passed_over_with_their_maps(put: Put) -> None:
    block, maps = bytearray(header(tarfile.GNUTYPE_SPARSE, 512)), bytearray(1024)
    block[482] = maps[504] = 1  # another block of the map follows, and after it one more
    path = put(with_checksum(block) + bytes(maps) + bytes(512) + tarred({"b.png": FILM}))
    assert films(path) == [("a.png", "member_sparse"), ("b.png", "")]
    assert contents(path) == [FILM]


def test_of_equal_names_the_first_is_read(put: Put) -> None:
    path = put(tarred({"a.png": FILM, "./a.png": FILM[:99]}))
    assert films(path) == [("a.png", ""), ("a.png", "member_duplicate")]
    assert Reader().content(f"{path}!/a.png") == FILM


def test_names_are_known_again_beyond_those_that_came_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Seen, "RECENT", 10)
    seen = Seen()
    assert not any(seen.add(str(number)) for number in range(95))
    assert all(seen.add(str(number)) for number in range(95))


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "container_truncated"),
        (b"no archive" * 100, "container_broken"),
        (tarred({"a.png": FILM})[:512], "container_truncated"),
        (header(tarfile.REGTYPE, 2**62), "container_truncated"),
        (header(tarfile.REGTYPE, -1), "container_broken"),
        (header(tarfile.XHDTYPE, 2**40), "container_broken"),
        (header(tarfile.GNUTYPE_LONGNAME, 2**40), "container_broken"),
        (header(tarfile.XGLTYPE, limits.MAX_HEADER_BYTES), "container_truncated"),
        (pax(b"99 path=a\n"), "container_broken"),
        (pax(b"0 path=a\n"), "container_broken"),
        (pax(b"x path=a\n"), "container_broken"),
        (pax(b"9 path=ab\n"), "container_broken"),
        (pax(b"12 size=-10\n"), "container_broken"),
        (pax(b"9" * 400 + b" path=a\n"), "container_broken"),
    ],
)
def test_headers_that_cannot_be_are_one_row(put: Put, raw: bytes, code: str) -> None:
    assert films(put(raw)) == [("", code)]


def test_an_archive_without_its_end_mark_is_told(put: Put) -> None:
    whole = tarred({"a.png": FILM})
    length = len(whole.rstrip(b"\0"))
    cut = whole[: length + -length % 512]
    assert films(put(cut + bytes(512))) == [("a.png", "")]
    assert films(put(cut)) == [("a.png", ""), ("", "container_truncated")]


def test_a_damaged_header_is_not_taken_for_the_end(put: Put) -> None:
    raw = bytearray(tarred({"a.png": FILM, "b.png": FILM}, tarfile.USTAR_FORMAT))
    raw[raw.index(b"b.png") + 100] ^= 1
    assert films(put(bytes(raw))) == [("a.png", ""), ("", "container_broken")]


def test_what_stands_behind_the_end_mark_is_told(put: Put) -> None:
    raw = tarred({"a.png": FILM})
    assert films(put(raw + bytes(5000))) == [("a.png", "")]
    assert films(put(raw + tarred({"b.png": FILM}))) == [("a.png", ""), ("", "container_broken")]


def test_every_cut_of_a_tar_file_is_told(put: Put) -> None:
    raw = tarred({"a.png": FILM, "long/" * 40 + "b.png": FILM[:600]})
    for length in range(0, len(raw.rstrip(b"\0")), 31):
        assert [code for _, code in films(put(raw[:length])) if code], length


def test_every_changed_byte_of_a_header_is_told(put: Put) -> None:
    raw = tarred({"a.png": FILM}, tarfile.USTAR_FORMAT)
    for at in (*range(148), *range(156, 512)):  # all but the checksum, of which tar does not read each letter
        data = bytearray(raw)
        data[at] ^= 0x40
        assert [code for _, code in films(put(bytes(data)))] == ["container_broken"], at


def test_members_that_are_too_large_are_not_read(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxrzero.containers.tars.MAX_MEMBER_BYTES", 600)
    path = put(tarred({"a.png": FILM, "b.png": FILM[:600]}))
    assert films(path) == [("a.png", "member_too_large"), ("b.png", "")]
    monkeypatch.setattr("cxrzero.containers.tars.MAX_MEMBERS", 1)
    assert films(path) == [("a.png", "member_too_large"), ("", "container_too_large")]


def test_a_tar_file_that_is_cut_meanwhile_is_told(put: Put) -> None:
    path = put(tarred({"a.png": FILM, "b.png": FILM}))
    reader, refs = Reader(), find_images([str(path)])
    first = next(refs)
    os.truncate(path, 700)
    assert code_when(lambda: reader._content(first)) == "container_changed"
    assert [ref.error.code for ref in refs if ref.error] == ["container_changed"]
