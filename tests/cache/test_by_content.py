"""--cache-by content: an embedding follows its film wherever that goes, and never goes with another one."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cxrzero.cache.contents import Contents, Hashed, hash_film, place_of
from cxrzero.cache.store import Store
from cxrzero.cli import app
from cxrzero.pipeline.hashing import Hashing
from cxrzero.pipeline.items import RunStats
from cxrzero.sources import ImageRef, find_images
from cxrzero.sources.reader import Reader
from tests.support.films import film

Draw = Callable[..., Path]
Predict = Callable[..., Result]
BY_CONTENT = ("--cache-by", "content")
# BLAKE2b-256 of "abc", by b2sum -l 256 of GNU coreutils.
ABC = "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"


@pytest.fixture
def predict(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Predict:
    monkeypatch.setenv("CXRZERO_CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        done = CliRunner().invoke(app, ["predict", *arguments, "--model", str(tiny_bundle), "--overwrite"])
        assert done.exit_code in (0, 3), done.output
        return done

    return run


def counts() -> tuple[int, int, int]:
    """Embeddings from the cache, embeddings made, files hashed."""
    record = json.loads(Path("predictions.run.json").read_text(encoding="utf-8"))["cache"]
    return record["cached"], record["embedded"], record["hashed"]


def rows() -> list[dict[str, str]]:
    with open("predictions.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def age(*files: Path, seconds: int = 100) -> None:
    """Make files as old as those of an archive are."""
    for file in files:
        changed = file.stat().st_mtime_ns - seconds * 10**9
        os.utime(file, ns=(changed, changed))


def unpacked(ref: ImageRef) -> bytes:
    raise AssertionError(f"{ref.path} is in no archive file")


def draw(png: Draw, count: int = 5) -> list[Path]:
    files = [png(f"in/{seed}.png", seed) for seed in range(count)]
    age(*files)
    return files


def test_a_digest_is_the_one_of_the_standard(tmp_path: Path) -> None:
    file = tmp_path / "film"
    file.write_bytes(b"abc")
    age(file)
    (ref,) = [ref._replace(path=str(file)) for ref in find_images([str(file)])]
    content, is_settled = hash_film(ref, unpacked)
    assert content is not None
    assert (content.hex(), is_settled) == (ABC, True)


def test_a_moved_copied_or_linked_film_is_not_embedded_again(predict: Predict, png: Draw) -> None:
    draw(png)
    film("in/d.dcm", 3)
    age(Path("in/d.dcm"))
    predict("in", *BY_CONTENT)
    assert counts() == (0, 6, 6)
    first = rows()
    Path("in").rename("elsewhere")
    predict("elsewhere", *BY_CONTENT)
    assert counts() == (6, 0, 6)
    assert [row | {"path": row["path"].replace("elsewhere", "in")} for row in rows()] == first
    predict("elsewhere", *BY_CONTENT)
    assert counts() == (6, 0, 0)
    shutil.copytree("elsewhere", "copied")  # other inodes and, but for copy2, other times
    for file in Path("copied").iterdir():
        os.utime(file, ns=(10**18, 10**18))
    Path("links").mkdir()
    os.link("copied/0.png", "links/hard")
    os.symlink("../copied/1.png", "links/symbolic.png")
    Path("copied/d.dcm").rename("links/without_suffix")
    predict("copied", "links", *BY_CONTENT)
    assert counts() == (8, 0, 8)
    facts = {row["path"]: row for row in rows()}
    assert facts["links/without_suffix"] == {**first[-1], "path": "links/without_suffix", "flags": first[-1]["flags"]}


def test_films_in_archive_files_are_known_wherever_these_go_and_when_they_are_unpacked(
    predict: Predict, png: Draw
) -> None:
    draw(png)
    film("in/d.dcm", 3)
    with zipfile.ZipFile("films.zip", "w", zipfile.ZIP_DEFLATED) as packed, tarfile.open("films.tar", "w") as tar:
        for file in sorted(Path("in").iterdir()):
            packed.write(file, f"study/{file.name}")
            tar.add(file, file.name)
    age(Path("films.zip"), Path("films.tar"), *Path("in").iterdir())
    predict("films.zip", *BY_CONTENT)
    assert counts() == (0, 6, 6)
    expected = [{**row, "path": ""} for row in rows()]
    predict("films.zip", *BY_CONTENT)
    assert counts() == (6, 0, 0)
    Path("films.zip").rename("moved.zip")
    predict("moved.zip", "films.tar", "in", *BY_CONTENT)
    assert counts() == (18, 0, 18)
    flags = {row["flags"] for row in rows()[6:]}
    assert all("duplicate" in each for each in flags)
    assert [{**row, "path": ""} for row in rows()[:6]] == expected
    predict("moved.zip", "films.tar")
    assert counts() == (12, 0, 0)


def test_a_changed_archive_file_is_hashed_again(predict: Predict, png: Draw) -> None:
    draw(png, 2)
    with zipfile.ZipFile("films.zip", "w") as packed:
        packed.write("in/0.png", "film.png")
    (ref,) = find_images(["films.zip"])
    with zipfile.ZipFile("films.zip", "w") as packed:
        packed.write("in/1.png", "film.png")
    assert hash_film(ref, Reader().content).content is None
    (now,) = find_images(["films.zip"])
    digest = hashlib.blake2b(Path("in/1.png").read_bytes(), digest_size=32).digest()
    assert hash_film(now, Reader().content) == (digest, False)
    age(Path("films.zip"))
    (later,) = find_images(["films.zip"])
    assert hash_film(later, Reader().content) == (digest, True)


def test_by_path_a_rename_embeds_again(predict: Predict, png: Draw) -> None:
    draw(png)
    predict("in")
    Path("in").rename("elsewhere")
    predict("elsewhere")
    assert counts() == (0, 5, 0)


def test_what_is_kept_by_path_is_found_by_content_and_follows_from_then_on(predict: Predict, png: Draw) -> None:
    draw(png)
    predict("in")
    assert counts() == (0, 5, 0)
    predict("in", *BY_CONTENT)
    assert counts() == (5, 0, 5)
    Path("in").rename("elsewhere")
    predict("elsewhere", *BY_CONTENT)
    assert counts() == (5, 0, 5)


def test_what_is_kept_by_content_is_found_by_path_where_it_was_hashed(predict: Predict, png: Draw) -> None:
    draw(png)
    predict("in", *BY_CONTENT)
    expected = rows()
    predict("in")
    assert counts() == (5, 0, 0)
    assert rows() == expected
    Path("in").rename("elsewhere")
    predict("elsewhere")
    assert counts() == (0, 5, 0)


def test_equal_headers_are_not_equal_films(predict: Predict, png: Draw) -> None:
    """Two files of one SOP Instance UID: one of them was changed, and its embedding is another one."""
    film("in/a.dcm", 1)
    content = bytearray(Path("in/a.dcm").read_bytes())
    content[-2000:] = bytes(2000)
    Path("in/b.dcm").write_bytes(content)
    age(*Path("in").iterdir())
    predict("in", *BY_CONTENT)
    assert counts() == (0, 2, 2)
    first, second = rows()
    assert first["sop_instance_uid"] == second["sop_instance_uid"]
    labels = [column for column in first if column not in ("path", "flags")]
    assert [first[each] for each in labels] != [second[each] for each in labels]


def test_a_changed_film_is_hashed_and_embedded_again(predict: Predict, png: Draw) -> None:
    draw(png)
    predict("in", *BY_CONTENT)
    png("in/2.png", 77)
    predict("in", *BY_CONTENT)
    assert counts() == (4, 1, 1)


def test_a_file_that_changed_just_now_is_not_kept(predict: Predict, png: Draw) -> None:
    """Changed twice within a tick of its clock it has the same size and time: who knows which of both was decoded?"""
    file = png("in/a.png", 1)
    age(file, seconds=-1)  # a clock that is a little ahead
    predict("in", *BY_CONTENT)
    assert counts() == (0, 1, 1)
    predict("in", *BY_CONTENT)
    assert counts() == (0, 1, 1)
    age(file)
    predict("in", *BY_CONTENT)
    assert counts() == (0, 1, 1)
    predict("in", *BY_CONTENT)
    assert counts() == (1, 0, 0)


def test_what_is_known_of_a_content_is_said_of_a_file_that_changed_just_now(predict: Predict, png: Draw) -> None:
    age(png("in/a.png", 1))
    predict("in", *BY_CONTENT)
    os.utime("in/a.png")
    predict("in", *BY_CONTENT)
    assert counts() == (1, 0, 1)


def test_what_goes_wrong_while_a_film_is_hashed_ends_no_run(
    predict: Predict, png: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(png)

    def out_of_memory(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("cxrzero.cache.contents._of_file", out_of_memory)
        predict("in", *BY_CONTENT)
        assert counts() == (0, 5, 0)
    predict("in", *BY_CONTENT)
    assert counts() == (0, 5, 5)


def test_a_film_that_changes_between_hash_and_decoder_is_not_kept(
    predict: Predict, png: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = draw(png, 1)[0]

    def hash_and_write(ref: ImageRef, content_of: Callable[[ImageRef], bytes]) -> Hashed:
        hashed = hash_film(ref, content_of)
        png("in/0.png", 2)
        return hashed

    original, status = file.read_bytes(), file.stat()
    with monkeypatch.context() as patch:
        patch.setattr("cxrzero.pipeline.hashing.hash_film", hash_and_write)
        predict("in", *BY_CONTENT)
    assert counts() == (0, 1, 1)
    changed = rows()
    file.write_bytes(original)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    predict("in", *BY_CONTENT)
    assert counts()[:2] == (0, 1)
    assert rows() != changed


def test_a_film_that_changed_before_its_hash_or_is_gone_has_none(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n")
    (ref,) = find_images([str(file)])
    file.write_bytes(b"\x89PNG\r\n\x1a\n and more")
    assert hash_film(ref, unpacked).content is None
    file.unlink()
    assert hash_film(ref, unpacked).content is None


def test_rows_are_the_same_in_any_mixture(predict: Predict, png: Draw) -> None:
    """Known and new, hashed and not, unreadable and equal ones: the table is that of a run without the cache."""
    files = [png(f"in/{seed:03}.png", seed % 40) for seed in range(120)]
    (Path("in") / "060.png").write_bytes(b"broken")
    (Path("in") / "061.png").write_bytes(b"")
    age(*files)
    predict("in", "--no-cache")
    expected = Path("predictions.csv").read_bytes()
    predict("in/010.png", "in/050.png", "in/119.png", *BY_CONTENT)
    for options in (("--batch-size", "4"), ("--workers", "1"), ("--decode-in", "processes", "--workers", "2")):
        predict("in", *BY_CONTENT, *options)
        assert Path("predictions.csv").read_bytes() == expected
        age(*files[::7])
    assert counts() == (118, 0, 18)  # each seventh file has another time; the two that are none are known, too


def test_hashing_is_ahead_in_order_and_bounded(tmp_path: Path) -> None:
    """A first film that takes long holds no thread but its own, and no more than the window runs ahead of it."""
    (tmp_path / "in").mkdir()
    for number in range(300):
        (tmp_path / "in" / f"{number:03}.png").write_bytes(str(number).encode())
    age(*(tmp_path / "in").iterdir())
    release, started, busy = threading.Event(), [], threading.Condition()

    def slowly(ref: ImageRef) -> Hashed:
        with busy:
            started.append(ref.path)
            busy.notify()
        if ref.path.endswith("000.png"):
            release.wait(60)
        return hash_film(ref, unpacked)

    seen: list[ImageRef] = []

    def found() -> Iterator[ImageRef]:
        for ref in find_images([str(tmp_path / "in")]):
            seen.append(ref)
            yield ref

    def let_go() -> None:
        with busy:
            busy.wait_for(lambda: len(started) == 10, 60)
        release.set()

    helper = threading.Thread(target=let_go)
    helper.start()
    with closing(Store(tmp_path / "kept")) as store:
        stats = RunStats()
        blocks = Hashing(Contents(store), slowly, threads=2, batch_size=8).blocks(found(), stats)
        first = next(blocks)
        assert len(started) == 10  # all that are in the window: 2 threads and a batch of 8
        assert 1 <= len(first) <= 2
        given = first + [ref for block in blocks for ref in block]
        helper.join()
        assert [ref.path for ref in given] == [ref.path for ref in seen]
        assert [ref.content for ref in given] == [
            hashlib.blake2b(str(number).encode(), digest_size=32).digest() for number in range(300)
        ]
        assert stats.hashed == 300
        again = list(Hashing(Contents(store), slowly, 2, 8).blocks(find_images([str(tmp_path / "in")]), stats))
        assert [len(block) for block in again] == [256, 44]
        assert stats.hashed == 300
        assert [ref for block in again for ref in block] == given


def test_a_run_that_ends_early_remembers_what_was_hashed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(100):
        (tmp_path / "in" / f"{number:03}.png").write_bytes(b"%d" % number)
    age(*(tmp_path / "in").iterdir())
    with closing(Store(tmp_path / "kept")) as store:
        stats = RunStats()
        blocks = Hashing(Contents(store), partial(hash_film, content_of=unpacked), 1, 8).blocks(
            find_images([str(tmp_path / "in")]), stats
        )
        given = [*next(blocks), *next(blocks)]
        blocks.close()
        known = Contents(store).lookup([place_of(ref) for ref in given])
        assert known == [ref.content for ref in given]
        assert stats.hashed == len(given)
        assert threading.active_count() == 1 or not any(t.name.startswith("hash") for t in threading.enumerate())


def test_an_ensemble_hashes_each_film_once(predict: Predict, png: Draw, tiny_bundle: Path, tmp_path: Path) -> None:
    draw(png)
    other = tmp_path / "other"
    shutil.copytree(tiny_bundle, other)
    card = json.loads((other / "model.json").read_text())
    card["preprocess"][-1]["mean"] = [0.1] * 3
    (other / "model.json").write_text(json.dumps(card))
    predict("in", "--model", str(other), *BY_CONTENT)
    assert counts() == (0, 10, 5)
    Path("in").rename("elsewhere")
    predict("elsewhere", "--model", str(other), *BY_CONTENT)
    assert counts() == (10, 0, 5)


def test_search_knows_them_too(predict: Predict, png: Draw, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(png)
    predict("in", *BY_CONTENT)
    Path("in").rename("elsewhere")
    monkeypatch.setattr("cxrzero.images.decode", None)
    arguments = ["search", "effusion", "elsewhere", "--model", str(tiny_bundle), *BY_CONTENT]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0, found.output
    assert "5 images: 5 compared, 0 failed" in found.output


def test_info_says_what_there_is_of_each_kind(predict: Predict, png: Draw) -> None:
    draw(png)
    predict("in", "--labels", "edema", *BY_CONTENT)
    said = CliRunner().invoke(app, ["cache", "info"]).output
    assert "5 files with a known content, last used" in said
    assert "tiny: 5 image files, last used" in said
    assert "tiny: 2 prompts, last used" in said


def test_nothing_in_the_index_names_a_file(predict: Predict, png: Draw, tmp_path: Path) -> None:
    age(png("in/DOE_JANE_1960.png", 1))
    predict("in", *BY_CONTENT)
    assert all(b"DOE_JANE" not in file.read_bytes() for file in (tmp_path / "kept").iterdir())


def test_without_a_cache_there_is_nothing_to_know_films_by(tiny_bundle: Path, png: Draw, tmp_path: Path) -> None:
    png("in/a.png", 1)
    options = ["--model", str(tiny_bundle), "--no-cache", *BY_CONTENT]
    refused = CliRunner().invoke(app, ["predict", str(tmp_path / "in"), *options])
    assert refused.exit_code == 2
    assert "--no-cache keeps none" in refused.output


def test_a_cache_that_cannot_be_used_hashes_nothing(predict: Predict, png: Draw, tmp_path: Path) -> None:
    draw(png)
    (tmp_path / "kept").write_text("a file where a folder should be", encoding="utf-8")
    predict("in", *BY_CONTENT)
    assert counts() == (0, 5, 0)
