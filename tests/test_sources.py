import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cxrzero.errors import NoInputError
from cxrzero.sources import WalkCounts, check_paths, find_images
from tests.support.films import medium

Draw = Callable[..., Path]


def names(paths: list[Path | str], counts: WalkCounts | None = None) -> list[str]:
    return [os.path.basename(ref.path) for ref in find_images([str(p) for p in paths], counts)]


def test_order_is_by_bytes_and_depth_first(png: Draw, tmp_path: Path) -> None:
    for name in ("b.png", "a/z.png", "a/B.png", "Z.png", "a.png", "ä.png", "a-1.png"):
        png(f"in/{name}")
    found = [os.path.relpath(ref.path, tmp_path / "in") for ref in find_images([str(tmp_path / "in")])]
    # by bytes: "Z" < "a" < "a-1.png" < "a.png" < "b" < "ä"; the folder "a" is walked where its name stands
    assert found == ["Z.png", "a/B.png", "a/z.png", "a-1.png", "a.png", "b.png", "ä.png"]


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


def test_a_line_of_a_list_is_a_path_or_a_comment(png: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b c.png", "#odd.png", "d.png ", '"e".png', "f.png"):
        png(name)
    lines = ["# films of Monday", "  # and more", "a.png  ", '"b c.png"', "'b c.png'", "#odd.png", "d.png ", '"e".png',
             "", "\t", "\tf.png\r", "nowhere.png "]  # fmt: skip
    Path("list.txt").write_bytes("\r\n".join(lines).encode())
    check_paths(["@list.txt"])
    expected = ["a.png", "b c.png", "b c.png", "#odd.png", "d.png ", '"e".png', "f.png", "nowhere.png"]
    assert [ref.path for ref in find_images(["@list.txt"])] == expected


def test_paths_of_a_list_start_from_the_current_folder(
    png: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    png("lists/a.png", 1)
    (tmp_path / "lists/list.txt").write_text("a.png\n")
    monkeypatch.chdir(tmp_path)
    (ref,) = find_images(["@lists/list.txt"])
    assert ref.error is not None
    assert ref.error.code == "missing"
    monkeypatch.chdir(tmp_path / "lists")
    assert [each.error for each in find_images(["@list.txt"])] == [None]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"a.png\n@more.txt\n", "line 2: a list in a list"),
        ("a.png\n".encode("utf-16"), "line 1: no text"),
        (b"a.png\0b.png\0", "line 1: no text"),
        (b"# only\n\n# comments\n", "name no path"),
    ],
)
def test_what_is_no_list_of_paths_is_refused_before_anything_runs(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(NoInputError, match=complaint):
        check_paths([f"@{tmp_path}/list.txt"])


def test_what_systems_leave_among_images_is_ignored_and_counted(png: Draw, tmp_path: Path) -> None:
    png("in/a.jpg")
    left = ["._a.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "sub/._b.dcm", "sub/._c"]
    left += ["__MACOSX/._a.jpg", "__MACOSX/in/._x.png", "__macosx/._y.png"]
    for name in left:
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    (tmp_path / "in/._gone.png").symlink_to(tmp_path / "nowhere")
    # Real pictures, but previews of others, or thrown away.
    for name in ("@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "$RECYCLE.BIN/x.png", ".Trash-1000/files/y.png"):
        png(f"in/{name}")
    counts = WalkCounts()
    assert names([tmp_path / "in"], counts) == ["a.jpg"]
    assert (counts.found, counts.ignored) == (1, len(left) + 1 + 3)


def test_an_image_is_an_image_whatever_it_is_called(png: Draw, tmp_path: Path) -> None:
    png("in/._film.png")
    assert names([tmp_path / "in"]) == ["._film.png"]


def test_what_a_shell_pattern_names_beside_images_is_skipped_not_failed(tmp_path: Path) -> None:
    (tmp_path / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (tmp_path / "._a.jpg").write_bytes(b"\0\5\x16\7")
    refs = list(find_images([str(tmp_path / "Thumbs.db"), str(tmp_path / "._a.jpg")]))
    assert [(ref.error.status, ref.error.code) for ref in refs if ref.error] == [("skipped", "system_file")] * 2


def test_a_directory_of_a_medium_is_ignored_in_a_folder_whatever_its_suffix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    medium(tmp_path / "disc", 1)
    (tmp_path / "disc/DICOMDIR").rename(tmp_path / "disc/DICOMDIR.dcm")
    (tmp_path / "disc/dicomdir_old.dcm").write_bytes(b"no directory at all")
    counts = WalkCounts()
    found = names(["disc"], counts)
    assert len(found) == 2
    assert "dicomdir_old.dcm" in found
    assert counts.ignored == 1


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
