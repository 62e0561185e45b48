"""Commands on .zip and .tar files: as on the folders that they would be, and their films are found again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from cxrzero.cli import app
from cxrzero.containers import zips
from cxrzero.containers.open import Container
from cxrzero.places.kind import kind_of_place
from cxrzero.report.findfilm import find_film
from cxrzero.sources import find_images
from cxrzero.sources.reader import Reader
from tests.support.containers import tarred, zipped
from tests.support.films import mixed_archive
from tests.support.results import write_film
from tests.support.tables import table

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})


@pytest.fixture
def predict(run: Run, tiny_bundle: Path) -> Run:
    asked = ("--labels", "pneumothorax,lump", "--model", tiny_bundle, "--device", "cpu", "--batch-size", "4")
    return lambda *arguments: run("predict", *arguments, *asked)


def members(folder: str) -> dict[str, bytes]:
    """What a folder holds, the films as they are walked and the rest behind them."""
    films = [ref.path for ref in find_images([folder])]
    others = [str(path) for path in sorted(Path(folder).rglob("*")) if path.is_file() and str(path) not in films]
    return {path.removeprefix(f"{folder}/"): Path(path).read_bytes() for path in (*films, *others)}


def pack(folder: str = "in") -> None:
    """in.zip and in.tar beside the folder; a .zip file's order is not that of a walk."""
    found = members(folder)
    Path(f"{folder}.tar").write_bytes(tarred(found))
    text = {name.encode("utf-8", "replace").decode(): content for name, content in found.items()}
    Path(f"{folder}.zip").write_bytes(zipped(dict(reversed(text.items()))))


@pytest.mark.parametrize("suffix", ["zip", "tar"])
@pytest.mark.parametrize("how", [("--workers", "1"), ("--workers", "2", "--decode-in", "processes")])
def test_the_table_is_that_of_the_folder(predict: Run, suffix: str, how: tuple[str, ...]) -> None:
    mixed_archive(Path("in"))
    if suffix == "zip":  # whose names are text
        (odd,) = (path for path in Path("in/sub").iterdir() if "caf" in path.name)
        odd.rename("in/sub/café, =1.png")
    pack()
    assert predict("in", "--no-cache", "--workers", "1").exit_code == 3
    expected = Path("predictions.csv").read_text(encoding="utf-8")
    result = predict(f"in.{suffix}", "--no-cache", "--out", "packed.csv", *how)
    assert result.exit_code == 3, result.output
    assert Path("packed.csv").read_text(encoding="utf-8") == expected.replace("in/", f"in.{suffix}!/")
    assert "1 other file ignored" in result.output
    assert (
        json.loads(Path("packed.run.json").read_text(encoding="utf-8"))["counts"]
        == json.loads(Path("predictions.run.json").read_text(encoding="utf-8"))["counts"]
    )


def test_a_folder_leaves_archive_files_alone_and_says_so(predict: Run, png: Callable[..., Path]) -> None:
    png("all/a.png")
    Path("all/b.zip").write_bytes(zipped({"b.png": Path("all/a.png").read_bytes()}))
    result = predict("all")
    assert [row["path"] for row in table()] == ["all/a.png"]
    assert "1 other file ignored, among them 1 archive file (.zip, .tar), read only where named" in result.output
    Path("list.txt").write_text("all/b.zip\nall/b.zip!/b.png\n", encoding="utf-8")
    result = predict("@list.txt", "--overwrite")
    assert [row["path"] for row in table()] == ["all/b.zip!/b.png"] * 2
    Path("all/a.png").unlink()
    result = predict("all", "--out", "none.csv")
    assert result.exit_code == 2
    assert "1 archive file (.zip, .tar), read only where named" in result.output.replace("\n", " ")


def test_compressed_tar_files_are_refused_and_films_with_such_names_are_films(predict: Run, png: Run) -> None:
    Path("a.tar.gz").write_bytes(b"\x1f\x8b" + bytes(600))
    png("film.zip")
    assert predict("a.tar.gz", "film.zip").exit_code == 3
    assert [(row["path"], row["error"].partition(":")[0]) for row in table()] == [
        ("a.tar.gz", "container_unsupported"),
        ("film.zip", ""),
    ]


def test_what_cannot_be_told_from_a_folder_is_refused(predict: Run, png: Callable[..., Path]) -> None:
    png("a.zip!/x.png")
    Path("a.zip").write_bytes(zipped({"x.png": b"other"}))
    predict("a.zip", "a.zip!")
    assert [(row["path"], row["error"].partition(":")[0]) for row in table()] == [
        ("a.zip", "container_unsupported"),
        ("a.zip!/x.png", ""),
    ]


def test_a_second_run_opens_no_member(predict: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed_archive(Path("in"))
    shutil.rmtree("in/sub")
    pack()
    first = predict("in.zip", "in.tar")
    assert "0 taken from the cache, 32 computed" in first.output
    with monkeypatch.context() as patched:
        patched.setattr(Container, "content", lambda *_: pytest.fail("a member was opened"))
        again = predict("in.zip", "in.tar", "--out", "again.csv")
    assert "32 taken from the cache, 0 computed" in again.output
    assert Path("again.csv").read_bytes() == Path("predictions.csv").read_bytes()
    os.utime("in.tar", (1, 1))
    changed = predict("in.zip", "in.tar", "--out", "changed.csv")
    assert "16 taken from the cache, 16 computed" in changed.output


def test_a_shard_has_whole_archive_files(predict: Run, run: Run, png: Callable[..., Path]) -> None:
    paths = []
    for number in range(6):
        films = {f"{n}.png": png("film.png", seed=10 * number + n).read_bytes() for n in range(3)}
        Path(f"{number}.tar").write_bytes(tarred(films))
        paths.append(f"{number}.tar")
    parts = [f"part-{index}.csv" for index in (1, 2, 3)]
    for index, part in enumerate(parts, start=1):
        assert predict(*paths, "--shard", f"{index}/3", "--out", part).exit_code == 0
    for number in range(6):
        counts = [sum(row["path"].startswith(f"{number}.tar!/") for row in table(part)) for part in parts]
        assert sorted(counts) == [0, 0, 3]
    assert predict(*paths, "--out", "whole.csv").exit_code == 0
    assert run("merge", *parts, "--out", "joined.csv").exit_code == 0
    assert Path("joined.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_pseudonyms_are_those_of_the_absolute_path(predict: Run, png: Callable[..., Path], tmp_path: Path) -> None:
    Path("a.zip").write_bytes(zipped({"dir/x.png": png("x.png").read_bytes(), "y.png": png("y.png").read_bytes()}))
    predict("a.zip", "--pseudonymise", "--pseudonym-key", "key")
    predict(tmp_path / "a.zip", "--pseudonymise", "--pseudonym-key", "key", "--out", "absolute.csv")
    found = [row["path"] for row in table()]
    assert found == [row["path"] for row in table("absolute.csv")]
    assert all(kind_of_place(path) == "file" and "zip" not in path for path in found)
    command = json.loads(Path("predictions.run.json").read_text(encoding="utf-8"))["command"]
    assert f"predict {found[1].partition('/')[0]}/ " in command  # the folder of what is at its top


@pytest.fixture
def packed(predict: Run) -> None:
    """Four films with headers in two archive files, and their table."""
    for number in range(1, 5):
        write_film(Path("in") / f"{number}.dcm", number=number, StudyInstanceUID=f"2.25.{number}")
    found = members("in")
    names = sorted(found)
    Path("a.zip").write_bytes(zipped({f"dir/{name}": found[name] for name in names[:2]}))
    Path("b.tar").write_bytes(tarred({name: found[name] for name in names[2:]}))
    shutil.rmtree("in")
    result = predict("a.zip", "b.tar", "--no-cache")
    assert result.exit_code == 0, result.output


def test_films_of_a_table_are_found_again(packed: None, run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    cells = [row["path"] for row in table()]
    assert cells == ["a.zip!/dir/1.dcm", "a.zip!/dir/2.dcm", "b.tar!/3.dcm", "b.tar!/4.dcm"]
    model = ("--model", tiny_bundle, "--device", "cpu")

    shown = run("inspect", *cells)
    assert shown.exit_code == 0, shown.output
    assert [line.split()[1] for line in shown.output.splitlines() if line[:1].isdigit()] == cells

    maps = run("heatmap", "predictions.csv", "--top", "4", "--method", "occlusion", *model)
    assert maps.exit_code == 0, maps.output
    assert {(row["path"], row["status"]) for row in table("heatmaps/heatmaps.csv")} == {(cell, "ok") for cell in cells}

    page = run("worklist", "predictions.csv", *model)
    assert page.exit_code == 0, page.output
    assert len(list(Path("worklist/films").glob("*-small.jpg"))) == 4
    assert (tmp_path / "a.zip").as_uri() in Path("worklist/index.html").read_text(encoding="utf-8")

    reports = run(
        "dicom-sr", "predictions.csv", "--out", "reports", "--heatmaps", "heatmaps", "--as", "secondary-capture"
    )
    assert reports.exit_code == 0, reports.output
    assert "Wrote 4 reports of 4 images" in reports.output

    sheet = run("search", "a film", "a.zip", "b.tar", "--html", "found.html", "--out", "found.csv", *model)
    assert sheet.exit_code == 0, sheet.output
    html = Path("found.html").read_text(encoding="utf-8")
    assert html.count("<img") == 4
    assert '<a href="b.tar">' in html
    alike = run("search", "--like", cells[2], "a.zip", "b.tar", "--out", "alike.csv", *model)
    assert alike.exit_code == 0, alike.output
    assert float(table("alike.csv")[0]["cosine"]) == pytest.approx(1)


def test_films_of_a_table_that_are_gone_are_told(packed: None, run: Run, tiny_bundle: Path) -> None:
    Path("a.zip").unlink()
    content = {"3.dcm": next(iter(Reader().content("b.tar!/3.dcm") for _ in "1"))}
    Path("b.tar").write_bytes(tarred(content))
    maps = run("heatmap", "predictions.csv", "--top", "4", "--model", tiny_bundle, "--device", "cpu")
    assert maps.exit_code == 3, maps.output
    errors = {row["path"]: row["error"].partition(":")[0] for row in table("heatmaps/heatmaps.csv")}
    assert errors == {"a.zip!/dir/1.dcm": "changed", "a.zip!/dir/2.dcm": "changed", "b.tar!/3.dcm": "",
                      "b.tar!/4.dcm": "missing"}  # fmt: skip
    reports = run("dicom-sr", "predictions.csv", "--out", "reports")
    assert reports.exit_code == 3, reports.output
    assert "missing: the archive file has no member of this name" in reports.output.replace("\n", " ")


def test_a_table_asks_no_store(run: Run, packed: None, tiny_bundle: Path) -> None:
    text = Path("predictions.csv").read_text(encoding="utf-8")
    Path("predictions.csv").write_text(text.replace("a.zip!", "s3://b/a.zip!"), encoding="utf-8")
    maps = run("heatmap", "predictions.csv", "--top", "4", "--model", tiny_bundle, "--device", "cpu")
    assert maps.exit_code == 3, maps.output
    errors = [row["error"] for row in table("heatmaps/heatmaps.csv") if row["path"].startswith("s3")]
    assert len(errors) == 2
    assert all("no store is asked because a table names it" in error for error in errors)


def test_error_films_are_found_under_a_folder(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films/a.zip").write_bytes(zipped({"dir/x.png": b""}))
    assert find_film(tmp_path, "/elsewhere/films/a.zip!/dir/x.png") == tmp_path / "films/a.zip!/dir/x.png"
    assert find_film(tmp_path / "films", "in/a.zip!/dir/x.png") == tmp_path / "films/a.zip!/dir/x.png"
    assert find_film(tmp_path, "/elsewhere/b.zip!/dir/x.png") is None
    assert find_film(tmp_path / "films", "a.zip!/../../x.png") is None
    Image.new("L", (8, 8)).save(tmp_path / "x.png")
    assert find_film(tmp_path, "/elsewhere/b.zip!/dir/x.png") == tmp_path / "x.png"  # unpacked


def test_a_path_in_an_archive_file_that_is_not_there_is_told(run: Run, packed: None) -> None:
    gone = run("inspect", "c.zip!/x.dcm")
    assert gone.exit_code == 2
    assert "c.zip does not exist" in gone.output
    missing: Any = run("inspect", "a.zip!/x.dcm")
    assert missing.exit_code == 3
    assert "missing: the archive file has no member of this name" in missing.output


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_not_waited_for(predict: Run, run: Run) -> None:
    os.mkfifo("a.zip")
    predict("a.zip", "a.zip!/x.png")
    assert [row["error"].partition(":")[0] for row in table()] == ["not_a_file", "not_a_file"]


def test_many_lines_of_a_list_read_a_directory_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number}.png" for number in range(30)]
    Path("a.zip").write_bytes(zipped(dict.fromkeys(names, b"film")))
    read: list[int] = []
    of_zip = zips.read_directory
    monkeypatch.setattr(zips, "read_directory", lambda blob: read.append(1) or of_zip(blob))
    Path("list.txt").write_text("".join(f"a.zip!/{name}\n" for name in reversed(names)), encoding="utf-8")
    refs = list(find_images(["@list.txt"]))
    assert [ref.path for ref in refs] == [f"a.zip!/{name}" for name in reversed(names)]
    assert all(isinstance(ref.identity, bytes) for ref in refs)
    assert len(read) == 1


def test_a_report_shows_films_of_an_archive_file(predict: Run, run: Run, png: Callable[..., Path]) -> None:
    Path("a.zip").write_bytes(zipped({f"{n}.png": png("film.png", seed=n).read_bytes() for n in range(8)}))
    assert predict("a.zip", "--no-cache").exit_code == 0
    labels = "".join(f"{n}.png,{n % 2}\n" for n in range(8))
    Path("l.csv").write_text(f"image,lump\n{labels}", encoding="utf-8")
    shown = run("eval", "predictions.csv", "l.csv", "--resamples", "0", "--images", ".", "--out", "results")
    assert shown.exit_code == 0, shown.output
    page = Path("results/report.html").read_text(encoding="utf-8")
    assert page.count('<a href="../a.zip">') == page.count('alt="Film') > 0
