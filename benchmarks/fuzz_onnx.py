"""Import many broken pairs of ONNX encoders and count the results: python benchmarks/fuzz_onnx.py --cases 20000

Every case must end in a bundle that can be loaded or in a typed error that leaves nothing behind, within 20 s, with at
most 1 GB of memory in the importing process. Whatever ONNX Runtime does over a graph, it does in a process of its own,
which is started again only when it has died (counted as "ONNX Runtime ended"). Case n is the same pair in every run:
`--only n` repeats it, `--save FOLDER` writes it.
"""

from __future__ import annotations

import argparse
import collections
import functools
import json
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from cxrzero.convert.own import examples, importer, trial
from cxrzero.convert.own.asked import OwnEncoders
from cxrzero.errors import CxrzeroError, ImportModelError
from cxrzero.model.bundle import load_bundle
from cxrzero.model.model_json import Scoring, Templates
from tests.support.mutateonnx import write_mutant
from tests.support.ownencoders import Pair

SECONDS, KIBIBYTES = 20.0, 1024 * 1024
ENDED = "ONNX Runtime ended"


class KeptTrial:
    """One process for all cases, until one of them ends it."""

    kept: trial.Trial | None = None

    def __init__(self, size: int) -> None:
        if KeptTrial.kept is None:
            KeptTrial.kept = trial.Trial(size)

    def run(self, *arguments: Any) -> Any:
        assert KeptTrial.kept is not None
        try:
            return KeptTrial.kept.run(*arguments)
        except ImportModelError as error:
            if ENDED in str(error):
                KeptTrial.kept.close()
                KeptTrial.kept = None
            raise

    def __enter__(self) -> KeptTrial:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def outcome_of(pair: Pair, out: Path) -> tuple[str, str]:
    """What became of a pair, and the traceback where a promise was broken."""
    files = (pair.image_file, pair.text_file, pair.tokenizer_file, pair.steps_file)
    asked = OwnEncoders(*files, scoring=Scoring("softmax_pair", 10.0), templates=Templates(("{}",), ("no {}",)))
    try:
        importer.import_encoders(asked, out, "fuzz")
        load_bundle(out)
        found = "imported", ""
    except CxrzeroError as error:
        found = (ENDED if ENDED in str(error) else type(error).__name__), ""
        if list(out.parent.iterdir()):
            found = "LEFT BEHIND", str(error)
    except BaseException:
        found = "UNTYPED", traceback.format_exc(limit=-6)
    return found


def work(numbers: range, notes: Path) -> None:
    """Import cases; a line of JSON for each, written before the next begins."""
    importer.Trial = KeptTrial  # type: ignore[assignment,misc]
    examples.draw = functools.cache(examples.draw)  # the same three films for every case
    with tempfile.TemporaryDirectory() as folder, notes.open("a", encoding="utf-8") as log:
        pair = Pair(Path(folder) / "pair").write()
        for number in numbers:
            write_mutant(pair, number)
            log.write(json.dumps({"number": number, "outcome": "died"}) + "\n")
            log.flush()
            start = time.monotonic()
            with tempfile.TemporaryDirectory(dir=folder) as into:
                outcome, why = outcome_of(pair, Path(into) / "bundle")
            note = {"number": number, "outcome": outcome, "seconds": time.monotonic() - start, "why": why}
            note["kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            log.write(json.dumps(note) + "\n")
    if KeptTrial.kept is not None:
        KeptTrial.kept.close()


def run(cases: int, start: int) -> int:
    """Run all cases; prints the summary. Returns how many broke a promise."""
    outcomes: dict[int, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes"
        notes.touch()
        following = start
        while following < start + cases:
            stop = min(following + 2000, start + cases)
            command = [sys.executable, __file__, "--worker", str(notes), "--start", str(following)]
            subprocess.run([*command, "--cases", str(stop - following)], check=False)
            before = len(outcomes)
            for line in notes.read_text(encoding="utf-8").splitlines():
                note = json.loads(line)
                outcomes[note["number"]] = note
            if len(outcomes) == before:
                raise SystemExit("the worker did not begin")
            following = max(outcomes) + 1
    return summarise(outcomes)


def summarise(outcomes: dict[int, dict[str, Any]]) -> int:
    counts = collections.Counter(note["outcome"] for note in outcomes.values())
    done = [note for note in outcomes.values() if "seconds" in note]
    slow = [n for n, note in outcomes.items() if note.get("seconds", 0) > SECONDS]
    large = [n for n, note in outcomes.items() if note.get("kib", 0) > KIBIBYTES]
    bad = [n for n, note in outcomes.items() if note["outcome"] in ("UNTYPED", "LEFT BEHIND", "died")]
    print(f"{len(outcomes)} cases")
    for outcome, count in counts.most_common():
        print(f"  {count:7d}  {outcome}")
    print(f"  slowest {max((n['seconds'] for n in done), default=0):.2f} s, "
          f"most memory {max((n['kib'] for n in done), default=0) / 1024:.0f} MiB")  # fmt: skip
    print(f"  over {SECONDS:.0f} s: {slow[:20]}; over 1 GiB: {large[:20]}; broken promises: {bad[:50]}")
    for number in bad[:10]:
        print(f"--- case {number}\n{outcomes[number].get('why', 'the process died')}")
    return len(slow) + len(large) + len(bad)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--only", type=int)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(range(args.start, args.start + args.cases), args.worker)
        return 0
    if args.only is not None:
        pair = Pair(args.save or Path(tempfile.mkdtemp())).write()
        write_mutant(pair, args.only)
        print(*outcome_of(pair, Path(tempfile.mkdtemp()) / "bundle"), sep="\n")
        return 0
    return int(run(args.cases, args.start) > 0)


if __name__ == "__main__":
    sys.exit(main())
