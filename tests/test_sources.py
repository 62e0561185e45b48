import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cxrzero.errors import NoInputError
from cxrzero.sources import WalkCounts, check_paths, find_images

Draw = Callable[..., Path]


def names(paths: list[Path | str], counts: WalkCounts | None = None) -> list[str]:
    return [os.path.basename(ref.path) for ref in find_images([str(p) for p in paths], counts)]


def test_order_is_by_bytes_and_depth_first(png: Draw, tmp_path: Path) -> None:
    umlaut = os.fsdecode("ä.png".encode())
    for name in ("b.png", "a/z.png", "a/B.png", "Z.png", "a.png", umlaut, "a-1.png"):
        png(f"in/{name}")
    found = [os.path.relpath(ref.path, tmp_path / "in") for ref in find_images([str(tmp_path / "in")])]
    # by bytes: "Z" < "a" < "a-1.png" < "a.png" < "b" < "ä"; the folder "a" is walked where its name stands
    assert found == ["Z.png", "a/B.png", "a/z.png", "a-1.png", "a.png", "b.png", umlaut]


def test_arguments_keep_their_order_and_may_repeat(png: Draw, tmp_path: Path) -> None:
    b, a = png("b.png"), png("a.png")
    assert names([b, a, b]) == ["b.png", "a.png", "b.png"]


def test_content_decides_where_the_suffix_says_nothing(png: Draw, tmp_path: Path) -> None:
    png("in/IM0001")
    (tmp_path / "in/notes.txt").write_text("no image")
    (tmp_path / "in/fake.dcm").write_text("no image either, but it claims to be one")
    counts = WalkCounts()
    assert names([tmp_path / "in"], counts) == ["IM0001", "fake.dcm"]
    assert (counts.found, counts.ignored) == (2, 1)


def test_explicit_file_is_always_a_row(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    assert names([tmp_path / "notes.txt"]) == ["notes.txt"]


def test_list_file_with_bom_blank_lines_and_odd_bytes(png: Draw, tmp_path: Path) -> None:
    a, odd = png("a.png"), png(os.fsdecode(b"caf\xe9.png"))
    lines = [b"\xef\xbb\xbf" + os.fsencode(a), b"", b"  ", os.fsencode(odd) + b"\r"]
    (tmp_path / "list.txt").write_bytes(b"\n".join(lines))
    assert [ref.path for ref in find_images([f"@{tmp_path}/list.txt"])] == [str(a), str(odd)]


def test_broken_link_is_a_failed_row_and_a_loop_ends(png: Draw, tmp_path: Path) -> None:
    png("in/a.png")
    (tmp_path / "in/gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "in/self.png").symlink_to(tmp_path / "in/self.png")
    (tmp_path / "in/sub").mkdir()
    (tmp_path / "in/sub/up").symlink_to(tmp_path / "in", target_is_directory=True)
    refs = list(find_images([str(tmp_path / "in")]))
    assert [os.path.basename(ref.path) for ref in refs] == ["a.png", "gone.png", "self.png"]
    assert [ref.error.code if ref.error else None for ref in refs] == [None, "broken_link", "broken_link"]


def test_two_ways_to_one_file_are_two_rows(png: Draw, tmp_path: Path) -> None:
    png("real/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    assert names([tmp_path]) == ["a.png", "a.png"]


def test_pipe_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (ref,) = find_images([str(tmp_path / "pipe.png")])
    assert ref.error is not None
    assert ref.error.code == "not_a_file"
    assert names([tmp_path]) == []


def test_check_paths_names_what_is_wrong(png: Draw, tmp_path: Path) -> None:
    check_paths([str(png("a.png"))])
    with pytest.raises(NoInputError, match=r"nope\.png does not exist"):
        check_paths([str(tmp_path / "nope.png")])
    with pytest.raises(NoInputError, match="cannot be read"):
        check_paths([f"@{tmp_path}/nope.txt"])
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(NoInputError, match="name no path"):
        check_paths([f"@{tmp_path}/empty.txt"])
    with pytest.raises(NoInputError, match="no input"):
        check_paths([])
