"""Decode many broken files and count the results: python benchmarks/fuzz_dicom.py --cases 50000

Every case must end in frames or in a typed error, within 10 s, with at most 1 GB of memory and with nothing on standard
error. A worker process decodes. When it dies, its case is noted, and the next worker continues after this case.
Case n is the same file in every run: `--only n` repeats it, `--save FILE` writes it.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import json
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from cxrzero.errors import ImageError
from cxrzero.images import decode
from tests.support.mutate import dicom_seeds, mutant, raster_seeds

SEEDS = {"dicom": dicom_seeds, "raster": raster_seeds}
SECONDS, KIBIBYTES = 10.0, 1024 * 1024


def work(kind: str, numbers: range, notes: Path) -> None:
    """Decode cases; a line of JSON for each, written before the next begins."""
    faulthandler.enable()
    seeds = SEEDS[kind]()
    with tempfile.TemporaryDirectory() as folder, notes.open("a", encoding="utf-8") as log:
        path = Path(folder) / "case"
        for number in numbers:
            path.write_bytes(mutant(seeds, number))
            log.write(json.dumps({"number": number, "outcome": "died"}) + "\n")
            log.flush()
            start = time.monotonic()
            outcome, why = outcome_of(path)
            seconds = time.monotonic() - start
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            note = {"number": number, "outcome": outcome, "seconds": seconds, "kib": memory, "why": why}
            log.write(json.dumps(note) + "\n")


def outcome_of(path: Path) -> tuple[str, str]:
    try:
        frames = sum(1 for _ in decode(path))
    except ImageError as error:
        return error.code, ""
    except BaseException:
        return "UNTYPED", traceback.format_exc(limit=-4)
    return ("decoded" if frames else "NO FRAME"), ""


def run(kind: str, cases: int, start: int) -> int:
    """Run all cases; prints the summary. Returns how many broke a promise."""
    outcomes: dict[int, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as folder:
        notes, said = Path(folder) / "notes", Path(folder) / "stderr"
        notes.touch()
        following = start
        while following < start + cases:
            command = [sys.executable, __file__, "--kind", kind, "--worker", str(notes), "--start", str(following)]
            with said.open("ab") as errors:
                stop = min(following + 2000, start + cases)
                subprocess.run([*command, "--cases", str(stop - following)], stderr=errors, check=False)
            for line in notes.read_text().splitlines():
                note = json.loads(line)
                outcomes[note["number"]] = note
            following = max(outcomes, default=following) + 1
        noise = said.read_text(errors="replace")
    return summarise(kind, outcomes, noise)


def summarise(kind: str, outcomes: dict[int, dict[str, object]], noise: str) -> int:
    counts = collections.Counter(str(note["outcome"]) for note in outcomes.values())
    done = [note for note in outcomes.values() if "seconds" in note]
    slow = [n for n, note in outcomes.items() if float(str(note.get("seconds", 0))) > SECONDS]
    large = [n for n, note in outcomes.items() if float(str(note.get("kib", 0))) > KIBIBYTES]
    bad = [n for n, note in outcomes.items() if str(note["outcome"]) in ("UNTYPED", "NO FRAME", "died")]
    print(f"{kind}: {len(outcomes)} cases")
    for outcome, count in counts.most_common():
        print(f"  {count:7d}  {outcome}")
    print(f"  slowest {max((float(str(n['seconds'])) for n in done), default=0):.2f} s, "
          f"most memory {max((float(str(n['kib'])) for n in done), default=0) / 1024:.0f} MiB")  # fmt: skip
    print(f"  over {SECONDS:.0f} s: {slow[:20]}; over 1 GiB: {large[:20]}; broken promises: {bad[:50]}")
    for number in bad[:10]:
        print(f"--- case {number}\n{outcomes[number].get('why', 'the process died')}")
    print(f"  standard error: {len(noise)} characters")
    print(noise[:3000])
    return len(slow) + len(large) + len(bad) + bool(noise)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--kind", choices=sorted(SEEDS), default="dicom")
    parser.add_argument("--only", type=int)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.kind, range(args.start, args.start + args.cases), args.worker)
        return 0
    if args.only is not None:
        path = args.save or Path(tempfile.mkdtemp()) / "case"
        path.write_bytes(mutant(SEEDS[args.kind](), args.only))
        print(*outcome_of(path), sep="\n")
        return 0
    return int(run(args.kind, args.cases, args.start) > 0)


if __name__ == "__main__":
    sys.exit(main())
