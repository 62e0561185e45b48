"""What --cache-by content costs and saves, how fast caches are merged, and SQLite beside PostgreSQL for keeping them.

    python benchmarks/cache_by_content.py --log benchmarks/results/cache_by_content.json
    python benchmarks/cache_by_content.py --tables benchmarks/results/cache_by_content.json    # for docs/cache.md

Films are drawn: DICOM of 15 MB (uncompressed, 12 bits in 16) and PNG of 1 MB, each folder once by path and once by
content, a pair right after the other, --rounds times with alternating order. Of each pair: the first run with an empty
cache, where the system's memory of the files is dropped before (posix_fadvise; a disk then reads them); the second one,
nothing having changed; the one after the folder was renamed. Wall seconds are those of the run itself, from its
record; processor seconds those of the whole command, whose start is the same for all. Ratios are of each pair.

Look-ups are of 256 keys, which is what a run asks at once, in a store of --entries; PostgreSQL (tests/support/postgres)
answers on loopback, so that a network's time comes on top. While a cache of as many entries is merged, another process
keeps batches of 32, as a running prediction does: how long its longest transaction takes is measured, too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import UID, ExplicitVRLittleEndian

from cxrzero.bench.machine import machine, versions
from cxrzero.cache.merge import merge
from cxrzero.cache.store import Store
from cxrzero.phantom import draw
from tests.support.postgres import Server, postgres

DX = UID("1.2.840.10008.5.1.4.1.1.1.1")
MODES = ("path", "content")
# An embedding of 512 numbers with the facts of its film.
PAYLOAD_BYTES = 2300
KEYS_AT_ONCE = 256
BATCH = 32
LOOKUPS = 200
# Run as `python benchmarks/cache_by_content.py --keep FOLDER`: batches are kept until standard input ends.
KEEP = "--keep"


class Seconds(NamedTuple):
    wall: float
    processor: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dicom", type=int, default=60, metavar="N", help="films of 15 MB")
    parser.add_argument("--png", type=int, default=300, metavar="N", help="films of 1 MB")
    parser.add_argument("--entries", type=int, default=200_000, metavar="N", help="of the caches that are asked")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="cxrzero-mini")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--tables", type=Path, metavar="LOG", help="measure nothing, and print the tables of a log")
    options = parser.parse_args()
    if options.tables:
        print("\n".join(tables(json.loads(options.tables.read_text(encoding="utf-8")))))
        return
    os.environ["CXRZERO_CACHE_MAX_GB"] = "100"
    found: dict[str, Any] = {"machine": machine(), "versions": versions(), "model": options.model}
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        for kind, count, write in (("dicom", options.dicom, write_dicom), ("png", options.png, write_png)):
            folder = work / kind
            folder.mkdir()
            size = sum(write(folder, seed) for seed in range(count))
            found[kind] = {"films": count, "mb": round(size / count / 1e6, 2), **runs(folder, options)}
            say(found[kind])
            shutil.rmtree(folder)
        found["stores"] = stores(work, options.entries)
        say(found["stores"])
        found["merge"] = merging(work, options.entries)
        say(found["merge"])
    if options.log:
        options.log.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def say(what: Any) -> None:
    print(json.dumps(what), flush=True)


def tables(log: dict[str, Any]) -> Iterator[str]:
    """Lines of the document."""
    yield "| films | run | wall, by path | by content | processor, by path | by content | ratio |"
    yield "|---|---|---|---|---|---|---|"
    for kind, name in (("dicom", "DICOM"), ("png", "PNG")):
        films = f"{log[kind]['films']} {name} of {log[kind]['mb']:.1f} MB"
        for run, words in (("first", "first"), ("second", "again, unchanged"), ("renamed", "folder renamed")):
            wall, processor = log[kind][run]["wall"], log[kind][run]["processor"]
            cells = [f"{seconds[mode]:.2f} s" for seconds in (wall, processor) for mode in MODES]
            yield f"| {films} | {words} | {' | '.join(cells)} | {processor['ratio']:.2f} |"
    yield from (
        "",
        "| store | entries kept a second | keys looked up a second | ms for 256 keys |",
        "|---|---|---|---|",
    )
    for store, name in (("sqlite", "SQLite"), ("postgresql", "PostgreSQL on loopback, pg8000")):
        rate = log["stores"][store]
        yield f"| {name} | {rate['kept_per_s']:,} | {rate['lookups_per_s']:,} | {rate['ms_per_256']} |"
    yield from (
        "",
        f"| merging {log['merge']['entries']:,} entries | entries a second | MB a second |",
        "|---|---|---|",
    )
    for how, words in (("alone", "new ones"), ("again", "known ones"), ("beside_a_run", "new ones, beside a run")):
        rate = log["merge"][how]
        yield f"| {words} | {rate['entries_per_s']:,} | {rate['mb_per_s']} |"


def write_png(folder: Path, seed: int) -> int:
    """A film with grain, as films have; its bytes."""
    path = folder / f"{seed:05}.png"
    grain = np.random.default_rng(seed).normal(0, 6, (1200, 1200))
    Image.fromarray(np.clip(drawn(seed, 1200, 1200) + grain, 0, 255).astype(np.uint8)).save(path)
    return path.stat().st_size


def write_dicom(folder: Path, seed: int) -> int:
    path = folder / f"{seed:05}.dcm"
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = DX
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID(f"2.25.{seed + 1000}")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"2.25.{seed + 7}", f"2.25.{seed + 8}"
    dataset.Modality, dataset.ViewPosition = "DX", "PA"
    dataset.Rows, dataset.Columns = 3072, 2500
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = (drawn(seed, 2500, 3072).astype(np.uint16) * 16).tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path.stat().st_size


def drawn(seed: int, width: int, height: int) -> np.ndarray:
    """A phantom, enlarged: (height, width) uint8."""
    return np.asarray(Image.fromarray(draw(seed, 512).to_uint8()).resize((width, height)))


def runs(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """For each run the medians of seconds by mode, and the ratio of content to path of each pair and their median."""
    taken: dict[str, list[dict[str, Seconds]]] = {"first": [], "second": [], "renamed": []}
    for number in range(options.rounds):
        pair = {mode: three_runs(folder, mode, options.model) for mode in (MODES if number % 2 == 0 else MODES[::-1])}
        for name, pairs in taken.items():
            pairs.append({mode: pair[mode][name] for mode in MODES})
    return {name: compared(pairs) for name, pairs in taken.items()}


def compared(pairs: list[dict[str, Seconds]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for kind in Seconds._fields:
        values = {mode: [getattr(pair[mode], kind) for pair in pairs] for mode in MODES}
        ratios = [by_content / by_path for by_path, by_content in zip(*values.values(), strict=True)]
        medians = {mode: round(statistics.median(each), 3) for mode, each in values.items()}
        result[kind] = {
            **medians,
            "ratio": round(statistics.median(ratios), 3),
            "ratios": [round(r, 3) for r in ratios],
        }
    return result


def three_runs(folder: Path, mode: str, model: str) -> dict[str, Seconds]:
    cache, moved = folder.with_name("cache"), folder.with_name("moved")
    count = len(list(folder.iterdir()))
    forget(folder)
    taken = {"first": predict(folder, cache, mode, model, embedded=count, hashed=count if mode == "content" else 0)}
    taken["second"] = predict(folder, cache, mode, model, embedded=0, hashed=0)
    folder.rename(moved)
    forget(moved)
    if mode == "content":
        taken["renamed"] = predict(moved, cache, mode, model, embedded=0, hashed=count)
    else:
        taken["renamed"] = predict(moved, cache, mode, model, embedded=count, hashed=0)
    moved.rename(folder)
    shutil.rmtree(cache)
    return taken


def forget(folder: Path) -> None:
    """Have the system drop what it has of the files in memory."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def predict(folder: Path, cache: Path, mode: str, model: str, *, embedded: int, hashed: int) -> Seconds:
    """Seconds of a run, of which is known how many films it has to embed and to hash."""
    out = folder.with_name("table.csv")
    command = [sys.executable, "-m", "cxrzero", "predict", str(folder), "--labels", "pneumonia", "--model", model]
    command += ["--out", str(out), "--overwrite", "--quiet", "--device", "cpu", "--cache-by", mode]
    process = subprocess.Popen(command, env={**os.environ, "CXRZERO_CACHE_DIR": str(cache)})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    record = json.loads(out.with_suffix(".run.json").read_text(encoding="utf-8"))
    counts = record["cache"]
    if (counts["embedded"], counts["hashed"]) != (embedded, hashed):
        sys.exit(f"{mode}: {counts}, and not {embedded} embedded and {hashed} hashed")
    return Seconds(record["seconds"]["wall"], usage.ru_utime + usage.ru_stime)


def stores(work: Path, entries: int) -> dict[str, Any]:
    """Keys looked up a second, and entries kept a second in batches of BATCH, by SQLite and by PostgreSQL."""
    keys = list(all_keys(entries))
    asked = [random.Random(number).sample(keys, KEYS_AT_ONCE) for number in range(LOOKUPS)]
    store = Store(work / "sqlite")
    kept = timed(lambda: fill(store, keys))
    found = timed(lambda: check(sum(len(store.get(some)) for some in asked)))
    store.close()
    index = Store(work / "index")
    for start in range(0, entries, KEYS_AT_ONCE):
        index.put("content", "", {key: 2 * key for key in keys[start : start + KEYS_AT_ONCE]})
    index.close()
    sizes = {name: round(each.path.stat().st_size / entries) for name, each in (("film", store), ("index", index))}
    result = {"entries": entries, "keys_at_once": KEYS_AT_ONCE, "bytes": sizes, "sqlite": rates(entries, kept, found)}
    with postgres() as server:
        result["postgresql"] = rates(entries, *in_postgresql(server, keys, asked))
    return result


def rates(entries: int, kept: float, found: float) -> dict[str, Any]:
    return {
        "kept_per_s": round(entries / kept),
        "lookups_per_s": round(LOOKUPS * KEYS_AT_ONCE / found),
        "ms_per_256": round(1000 * found / LOOKUPS, 2),
    }


def all_keys(entries: int, seed: int = 0) -> Iterator[bytes]:
    numbers = random.Random(seed)
    return (numbers.randbytes(16) for _ in range(entries))


def fill(store: Store, keys: list[bytes], at_once: int = BATCH) -> None:
    for start in range(0, len(keys), at_once):
        store.put("image", "mini", {key: payload(key) for key in keys[start : start + at_once]})


def payload(key: bytes) -> bytes:
    return key * (PAYLOAD_BYTES // len(key))


def check(found: int) -> None:
    if found != LOOKUPS * KEYS_AT_ONCE:
        sys.exit(f"{found} keys found, and not {LOOKUPS * KEYS_AT_ONCE}")


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_postgresql(server: Server, keys: list[bytes], asked: list[list[bytes]]) -> tuple[float, float]:
    import pg8000.dbapi

    from tests.support.postgres import PASSWORD, USER

    server.new_database("cache")
    connection = pg8000.dbapi.connect(
        user=USER, password=PASSWORD, host="127.0.0.1", port=server.port, database="cache"
    )
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE entries (key bytea PRIMARY KEY, used bigint NOT NULL, payload bytea NOT NULL)")
    connection.commit()

    def keep() -> None:
        for start in range(0, len(keys), BATCH):
            some = keys[start : start + BATCH]
            marks = ",".join(["(%s, 0, %s)"] * len(some))
            values = [value for key in some for value in (key, payload(key))]
            cursor.execute(f"INSERT INTO entries VALUES {marks} ON CONFLICT DO NOTHING", values)
            connection.commit()

    def look_up() -> None:
        found = 0
        for some in asked:
            cursor.execute("SELECT key, used, payload FROM entries WHERE key = ANY(%s)", (some,))
            found += len(cursor.fetchall())
            connection.commit()
        check(found)

    taken = timed(keep), timed(look_up)
    connection.close()
    return taken


def merging(work: Path, entries: int) -> dict[str, Any]:
    """Entries merged a second into a cache of as many, once and again, and what a process beside that waits."""
    mine, other = Store(work / "mine"), Store(work / "other")
    fill(mine, list(all_keys(entries, 1)), 1000)
    fill(other, list(all_keys(entries, 2)), 1000)
    other.close()
    result: dict[str, Any] = {"entries": entries, "mb": round(other.path.stat().st_size / 1e6, 1), "batch": BATCH}
    result["alone"] = merged(mine, other.path, entries, entries)
    result["again"] = merged(mine, other.path, entries, 0)
    beside = Store(work / "beside")
    fill(beside, list(all_keys(entries, 3)), 1000)
    keeper = subprocess.Popen(
        [sys.executable, __file__, KEEP, str(work / "beside")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert keeper.stdin
    assert keeper.stdout
    keeper.stdout.readline()  # it has begun
    result["beside_a_run"] = merged(beside, other.path, entries, entries)
    keeper.stdin.close()
    result["beside_a_run"] |= json.loads(keeper.stdout.read())
    keeper.wait()
    return result


def merged(store: Store, file: Path, entries: int, added: int) -> Mapping[str, Any]:
    started = time.perf_counter()
    done = merge(file, store)
    seconds = time.perf_counter() - started
    if (done.added, done.known) != (added, entries - added):
        sys.exit(f"{done}, and not {added} added")
    return {"entries_per_s": round(entries / seconds), "mb_per_s": round(done.bytes / seconds / 1e6, 1)}


def keep_until_told(folder: Path) -> None:
    import select

    store, taken = Store(folder), []
    print("begun", flush=True)
    while not select.select([sys.stdin], [], [], 0.05)[0]:  # a batch now and then, as an encoder gives them
        keys = [os.urandom(16) for _ in range(BATCH)]
        taken.append(timed(lambda keys=keys: fill(store, keys)))  # type: ignore[misc]
    ms = sorted(1000 * each for each in taken)
    say({"batches": len(ms), "median_ms": round(statistics.median(ms), 2), "longest_ms": round(ms[-1], 1)})


if __name__ == "__main__":
    if sys.argv[1:2] == [KEEP]:
        keep_until_told(Path(sys.argv[2]))
    else:
        main()
