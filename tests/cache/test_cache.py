"""Embeddings are kept: asked again nothing is opened, a killed run goes on, damage never costs a run."""

import csv
import json
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import cxrzero
from cxrzero.cache.store import FILE_NAME, Store
from cxrzero.cli import app
from cxrzero.images import DecodeOptions, Radiograph, decode
from tests.support import REPO

Draw = Callable[..., Path]
Predict = Callable[..., Result]
DETAILS = Path("predictions.run.json")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CXRZERO_CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "kept"


@pytest.fixture
def predict(tiny_bundle: Path, folder: Path) -> Predict:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["predict", *arguments, "--model", str(tiny_bundle), "--overwrite"])

    return run


def cache(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["cache", *arguments])


def counts() -> tuple[int, int]:
    record = json.loads(DETAILS.read_text(encoding="utf-8"))["cache"]
    return record["cached"], record["embedded"]


def rows() -> list[dict[str, str]]:
    with open("predictions.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def destroy_content(path: Path) -> None:
    """Zeros in place of the content; size, time and inode stay."""
    status = path.stat()
    with path.open("r+b") as file:
        file.write(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_other_labels_open_no_image(predict: Predict, png: Draw) -> None:
    files = [png(f"in/{seed}.png", seed) for seed in range(5)]
    result = predict("in", "--labels", "edema")
    assert "Embeddings: 0 taken from the cache, 5 computed" in result.output
    first = rows()
    for file in files:
        destroy_content(file)
    result = predict("in", "--labels", "edema,pneumonia")
    assert result.exit_code == 0, result.output
    assert "Embeddings: 5 taken from the cache, 0 computed" in result.output
    assert counts() == (5, 0)
    assert [row["edema"] for row in rows()] == [row["edema"] for row in first]
    assert predict("in", "--no-cache").exit_code == 1


def test_what_is_known_needs_no_model_in_memory(predict: Predict, png: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        png(f"in/{seed}.png", seed)
    predict("in")
    monkeypatch.setattr("cxrzero.backends.onnxruntime.open_tower", None)
    assert predict("in").exit_code == 0
    assert counts() == (3, 0)
    assert predict("in", "--labels", "a new one").exit_code == 1


def test_duplicates_selection_studies_and_frames_are_the_same_from_the_cache(predict: Predict, png: Draw) -> None:
    from tests.support.films import film

    png("in/a.png", 1)
    png("in/b.png", 1)
    film("in/c.dcm", 2, view="LL")
    film("in/d.dcm", 3)
    for arguments in (["--skip", "duplicate"], ["--only", "frontal"], ["--by", "study"], []):
        predict("in", "--no-cache", *arguments)
        expected = Path("predictions.csv").read_bytes()
        for _ in range(2):
            predict("in", *arguments)
            assert Path("predictions.csv").read_bytes() == expected
    assert counts() == (4, 0)


def test_what_changes_the_result_is_recomputed(predict: Predict, png: Draw) -> None:
    file = png("in/a.png", 1)
    predict("in")
    predict("in", "--invert", "yes")
    assert counts() == (0, 1)
    png("in/a.png", 2)
    predict("in")
    assert counts() == (0, 1)
    os.utime(file, ns=(1, 1))
    predict("in")
    assert counts() == (0, 1)


def test_another_preprocessing_or_model_is_recomputed(
    predict: Predict, png: Draw, tiny_bundle: Path, tmp_path: Path
) -> None:
    png("in/a.png", 1)
    predict("in")
    first = rows()
    other = tmp_path / "other"
    shutil.copytree(tiny_bundle, other)
    card = json.loads((other / "model.json").read_text())
    card["preprocess"][-1]["mean"] = [0.1] * 3
    (other / "model.json").write_text(json.dumps(card))
    result = CliRunner().invoke(app, ["predict", "in", "--model", str(other), "--overwrite"])
    assert result.exit_code == 0, result.output
    assert counts() == (0, 1)
    assert rows() != first
    predict("in")
    assert counts() == (1, 0)
    assert rows() == first


def test_what_an_older_version_saw_is_seen_again(
    predict: Predict, png: Draw, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.2.0 reads some files otherwise than 0.1.0 did: no embedding, flag or fact of that one is taken for it."""
    png("in/a.png", 1)
    with monkeypatch.context() as old:
        old.setattr("cxrzero.member.__version__", "0.1.0")
        predict("in")
        predict("in")
        assert counts() == (1, 0)
    predict("in")
    assert counts() == (0, 1)


def test_a_mixture_of_known_and_new_files_keeps_its_order(predict: Predict, png: Draw) -> None:
    """Also where a known file waits behind one that is decoded, and where several blocks of look-ups are known."""
    for seed in range(300):
        png(f"in/{seed:03}.png", seed % 20)
    (Path("in") / "100.png").write_bytes(b"broken")
    predict("in", "--no-cache")
    expected = Path("predictions.csv").read_bytes()
    predict("in")
    for seed in (0, 7, 8, 150, 255, 256, 299):
        status = Path(f"in/{seed:03}.png").stat()
        os.utime(f"in/{seed:03}.png", ns=(1, status.st_mtime_ns + 1))
    predict("in", "--batch-size", "4")
    assert counts() == (292, 7)
    assert Path("predictions.csv").read_bytes() == expected


def test_a_file_that_changes_while_it_is_read_is_not_kept(
    predict: Predict, png: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = png("in/a.png", 1)
    found = file.stat().st_mtime_ns

    def decode_and_touch(path: Path, options: DecodeOptions, decoder: None) -> Iterator[Radiograph]:
        os.utime(file, ns=(1, 1))
        yield from decode(path, options)

    monkeypatch.setattr("cxrzero.sources.reader.decode", decode_and_touch)
    assert predict("in").exit_code == 0
    monkeypatch.setattr("cxrzero.sources.reader.decode", decode)
    os.utime(file, ns=(found, found))
    assert predict("in").exit_code == 0
    assert counts() == (0, 1)


def test_nothing_in_the_cache_names_a_file_and_it_is_private(predict: Predict, png: Draw, folder: Path) -> None:
    png("in/DOE_JANE_1960.png", 1)
    predict("in")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert b"DOE_JANE" not in file.read_bytes()


@pytest.mark.parametrize("damage", ["header", "pages", "text"])
def test_a_damaged_cache_is_set_aside_and_rebuilt(predict: Predict, png: Draw, folder: Path, damage: str) -> None:
    for seed in range(40):
        png(f"in/{seed}.png", seed)
    predict("in")
    expected = Path("predictions.csv").read_bytes()
    file = folder / FILE_NAME
    content = bytearray(file.read_bytes())
    if damage == "text":
        content = bytearray(b"this is not a database" * 900)
    else:
        start = 0 if damage == "header" else 100
        content[start:] = random.Random(0).randbytes(len(content) - start)
    file.write_bytes(content)
    result = predict("in")
    assert result.exit_code == 0, result.output
    assert result.output.count("set aside") == 1
    assert len(list(folder.glob("*.damaged-*"))) == 1
    assert Path("predictions.csv").read_bytes() == expected
    assert "Note" not in predict("in").output
    assert counts() == (40, 0)


def test_a_flipped_bit_in_an_embedding_is_embedded_again(predict: Predict, png: Draw, folder: Path) -> None:
    png("in/a.png", 1)
    predict("in")
    with sqlite3.connect(folder / FILE_NAME) as connection:
        (payload,) = connection.execute("SELECT payload FROM entries WHERE kind = 'image'").fetchone()
        connection.execute("UPDATE entries SET payload = ? WHERE kind = 'image'", (payload[:-1] + b"\xff",))
    connection.close()
    predict("in")
    assert counts() == (0, 1)


def test_a_newer_cache_is_left_alone(predict: Predict, png: Draw, folder: Path) -> None:
    png("in/a.png", 1)
    folder.mkdir()
    with sqlite3.connect(folder / FILE_NAME) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = (folder / FILE_NAME).read_bytes()
    result = predict("in")
    assert result.exit_code == 0
    assert "newer cxrzero" in result.output
    assert (folder / FILE_NAME).read_bytes() == before


def test_an_unusable_folder_costs_a_sentence(predict: Predict, png: Draw, folder: Path) -> None:
    png("in/a.png", 1)
    folder.write_text("a file where a folder should be", encoding="utf-8")
    result = predict("in")
    assert result.exit_code == 0
    assert result.output.count("goes on without it") == 1
    assert cache("info").exit_code == 1


@pytest.mark.parametrize("reason", ["database or disk is full", "attempt to write a readonly database"])
def test_a_disk_that_takes_nothing_costs_a_sentence(
    predict: Predict, png: Draw, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    for seed in range(40):
        png(f"in/{seed}.png", seed)

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError(reason)

    monkeypatch.setattr(Store, "_write", refuse)
    result = predict("in")
    assert result.exit_code == 0
    assert " ".join(result.output.split()).count(reason) == 1
    assert len(rows()) == 40


def test_the_size_limit_drops_what_was_not_used_for_longest(tmp_path: Path) -> None:
    store = Store(tmp_path, max_bytes=1_000_000)
    for number in range(200):
        store.put("image", "m", {number.to_bytes(16, "big"): bytes(20_000)})
    assert store.bytes_on_disk() < 6_000_000
    assert (0).to_bytes(16, "big") not in store.get([(0).to_bytes(16, "big")])
    assert store.get([(199).to_bytes(16, "big")])
    assert 10 < sum(usage.entries for usage in store.usage()) < 60
    store.close()


def test_info_and_clear(predict: Predict, png: Draw) -> None:
    png("in/a.png", 1)
    predict("in", "--labels", "edema")
    assert "tiny: 1 image file," in cache("info").output
    assert "Deleted 0 entries" in cache("clear", "--older-than", "30d", "--yes").output
    assert "Deleted 3 entries" in cache("clear", "--model", "tiny", "--yes").output


@pytest.mark.parametrize(
    "age", ["soon", "", " ", "0", "-1d", "1.5d", "1e3d", "9" * 400 + "d", "\N{ARABIC-INDIC DIGIT ONE}d"]
)
def test_an_age_that_is_none_deletes_nothing(predict: Predict, png: Draw, age: str) -> None:
    """An empty one is what a script's unset variable gives."""
    png("in/a.png")
    predict("in")
    refused = cache("clear", "--older-than", age, "--yes")
    assert refused.exit_code == 2, refused.output
    assert "for example 30d" in refused.output
    assert cache("clear", "--older-than", "999999w", "--yes").exit_code == 0
    assert "Deleted 0 entries" not in cache("clear", "--yes").output


def test_clearing_what_is_not_kept_says_so(predict: Predict, png: Draw) -> None:
    """A name that is no model's is a slip, and nobody must believe that something was deleted."""
    png("in/a.png", 1)
    predict("in", "--labels", "edema")
    slip = cache("clear", "--model", "tinny", "--yes")
    assert (slip.exit_code, slip.stdout) == (2, "")
    assert "--model tinny: nothing is kept of 'tinny', only of tiny" in slip.stderr
    known = cache("clear", "--model", "cxrzero-mini", "--yes")
    assert known.exit_code == 0
    assert "nothing is kept of 'cxrzero-mini', only of tiny" in known.stderr
    cache("clear", "--yes")
    assert "nothing is kept of any model" in cache("clear", "--model", "tiny", "--yes").stderr


@pytest.mark.parametrize("options", [(), ("--model", "tiny"), ("--older-than", "12h")])
def test_without_a_terminal_nothing_is_deleted_unless_yes_was_said(
    predict: Predict, png: Draw, options: tuple[str, ...]
) -> None:
    png("in/a.png", 1)
    predict("in", "--labels", "edema")
    refused = cache("clear", *options)
    assert refused.exit_code == 2
    assert "add --yes" in refused.stderr
    assert "tiny: 1 image file," in cache("info").output


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize(("answer", "left"), [("n", 3), ("", 3), ("y", 0)])
def test_in_a_terminal_it_asks(folder: Path, answer: str, left: int) -> None:
    store = Store(folder)
    store.put("image", "tiny", {bytes([number]): b"" for number in range(3)})
    ours, theirs = os.openpty()
    os.write(ours, f"{answer}\n".encode())
    command = [sys.executable, "-m", "cxrzero", "cache", "clear"]
    done = subprocess.run(command, stdin=theirs, env=environment(), capture_output=True, text=True, check=True)
    assert "Delete 3 entries from" in done.stderr
    assert ("Nothing was deleted." in done.stdout) == bool(left)
    assert sum(usage.entries for usage in store.usage()) == left
    store.close()
    os.close(ours)
    os.close(theirs)


def filled(folder: Path, entries: int = 1000) -> Store:
    store = Store(folder)
    for number in range(entries):
        store.put("image", "even" if number % 2 == 0 else "odd", {number.to_bytes(16, "big"): bytes(3000)})
    return store


def test_the_file_shrinks_by_what_is_cleared_while_others_use_it(tmp_path: Path) -> None:
    store, other = filled(tmp_path), Store(tmp_path)
    full = store.bytes_on_disk()
    assert full > 3_000_000
    assert len(other.get([(0).to_bytes(16, "big")])) == 1
    assert store.clear("even") == 500
    assert store.bytes_on_disk() < 0.6 * full
    assert len(other.get([number.to_bytes(16, "big") for number in range(1000)])) == 500
    other.put("image", "even", {bytes(16): b"again"})
    assert other.clear() == 501
    assert store.bytes_on_disk() < 200_000
    assert store.usage() == []
    assert store.notices == other.notices == []
    store.close()
    other.close()


def test_clearing_beside_a_reader_takes_nothing_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is reading goes on with what was there; the file shrinks with the next clearing."""
    monkeypatch.setattr("cxrzero.cache.store.BUSY_TIMEOUT_S", 0.1)
    store = filled(tmp_path)
    reader = sqlite3.connect(store.path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM entries").fetchone() == (1000,)
    assert store.clear() == 1000
    assert len(reader.execute("SELECT payload FROM entries").fetchall()) == 1000
    reader.close()
    assert store.alive
    assert store.clear() == 0
    assert store.bytes_on_disk() < 200_000
    assert store.notices == []
    store.close()


def test_a_smaller_limit_makes_the_file_smaller(tmp_path: Path) -> None:
    filled(tmp_path).close()
    store = Store(tmp_path, max_bytes=1_000_000)
    store.put("image", "odd", {b"one more": b""})
    store.close()  # which empties the log
    assert store.bytes_on_disk() <= 1_000_000


def command(bundle: Path, out: str, *options: str) -> list[str]:
    arguments = ["predict", "in", "--model", str(bundle), "--overwrite", "--quiet", "--device", "cpu", "--out", out]
    return [sys.executable, "-m", "cxrzero", *arguments, *options]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(cxrzero.__file__).parent.parent)}


@pytest.mark.slow
def test_two_processes_and_a_third_that_clears(png: Draw, tiny_bundle: Path, folder: Path) -> None:
    for seed in range(60):
        png(f"in/{seed}.png", seed)
    subprocess.run(command(tiny_bundle, "expected.csv", "--no-cache"), check=True, env=environment())
    running = [
        subprocess.Popen(
            command(tiny_bundle, f"{n}.csv", "--batch-size", "16"), env=environment(), stderr=subprocess.PIPE
        )
        for n in range(2)
    ]
    while any(process.poll() is None for process in running):
        store = Store(folder)
        store.clear()
        assert store.notices == []
        store.close()
        time.sleep(0.02)
    for number, process in enumerate(running):
        assert process.communicate()[1] == b""
        assert process.returncode == 0
        assert Path(f"{number}.csv").read_bytes() == Path("expected.csv").read_bytes()
        assert json.loads(Path(f"{number}.run.json").read_text(encoding="utf-8"))["cache"]["notices"] == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is not known there")
def test_ten_kills_cost_a_batch_each_and_change_nothing(png: Draw, tiny_bundle: Path, folder: Path) -> None:
    """benchmarks/kill_resume.py does the same with more images and more kills."""
    for seed in range(40):
        png(f"in/{seed}.png", seed)
    result = subprocess.run(
        [
            sys.executable,
            str(REPO / "benchmarks" / "kill_resume.py"),
            "in",
            "--model",
            str(tiny_bundle),
            "--kills",
            "10",
        ],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "10 kills" in result.stdout
