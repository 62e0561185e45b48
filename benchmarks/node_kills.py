"""Kill -9 a node at random moments while films come in, and count what its archive has in the end.

    python benchmarks/node_kills.py --kills 50 --out kills.json

Orthanc is the archive: reports go there by C-STORE. A sender gives films to the node until each one is acknowledged;
the node is started, killed after a random time (fixed seed), and started again. In the end it is left alone, and then
stopped. Counted by SOP Instance UID in Orthanc, films in the database, lines of studies: none lost, none double. Every
probability is compared with `predict` on the same file. Exits 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from cxrzero import Screener
from cxrzero.bench.machine import machine, versions
from cxrzero.node.status import status_of
from tests.support import orthanc
from tests.support.listening import Listener, Sender
from tests.support.roundtrip import phantoms, read_back

LONGEST_S = 3600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--films", type=int, default=300)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--model", default="cxrzero-mini")
    parser.add_argument("--longest", type=float, default=4.0, help="seconds that a node lives at most once it listens")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON of the result")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        report = trial(options, Path(work))
    print(json.dumps(report, indent=2))
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if any(report["faults"].values()):
        sys.exit(1)


def trial(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    phantoms(work / "films", options.films, (options.side, options.side))
    expected = {
        row.facts.sop_instance_uid: (Path(row.path), dict(row.scores))
        for row in Screener(options.model, cache=False).predict(work / "films")
    }
    rng = random.Random(options.seed)
    lives, started = [], time.monotonic()
    with orthanc.serving() as archive:
        tables = (
            f'[peer]\nae_title = "{archive.title}"\nhost = "127.0.0.1"\nport = {archive.dicom_port}\n'
            "[retries]\nfirst = 0.2\nlongest = 2.0\n"
        )
        listener = Listener(work, Path(options.model), tables)
        sender = Sender(listener.port, {uid: path for uid, (path, _) in expected.items()})
        sender.start()
        try:
            for number in range(options.kills):
                listener.start()
                lives.append(rng.uniform(0.0, options.longest))
                time.sleep(lives[-1])
                listener.kill()
                done = status_of(listener.state)
                print(f"kill {number + 1}: {done.received} received, {done.delivered} delivered", file=sys.stderr)
            listener.start()
            wait_until_done(listener, sender)
            code = listener.stop()
        finally:
            sender.stop()
            listener.close()
        stored = archive.instances(Modality="SR")
        reports = [read_back(archive.content(each["ID"])) for each in stored]
    status = status_of(listener.state)
    return {
        "machine": machine(),
        "versions": versions(),
        "settings": {name: value for name, value in vars(options).items() if name != "out"},
        "seconds": round(time.monotonic() - started, 1),
        "mean_life_s": round(sum(lives) / max(1, len(lives)), 2),
        "films": len(expected),
        "reports_in_archive": len(reports),
        "faults": faults(expected, reports, work, listener, sender, code, status),
    }


def wait_until_done(listener: Listener, sender: Sender) -> None:
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        status = status_of(listener.state)
        is_over = not (status.waiting or status.reports_waiting or sender.left)
        if is_over and not list((listener.state / "objects").iterdir()):
            return
        time.sleep(0.5)


def faults(
    expected: dict[str, Any], reports: list[Any], work: Path, listener: Listener, sender: Sender, code: int, status: Any
) -> dict[str, Any]:
    """What should all be nothing."""
    films = Counter(uid for report in reports for uid in report)
    with sqlite3.connect(work / "results.sqlite") as connection:
        scored, distinct = connection.execute("SELECT count(*), count(DISTINCT film) FROM scores").fetchone()
    connection.close()
    labels = len(next(iter(expected.values()))[1])
    lines = [json.loads(line)["study"] for line in (listener.state / "studies.jsonl").read_text().splitlines()]
    worst = max(
        abs(value - expected[uid][1][label])
        for report in reports
        for uid, scores in report.items()
        for label, value in scores.items()
    )
    return {
        "films_never_acknowledged": len(sender.left),
        "films_without_a_report": len(expected.keys() - films.keys()),
        "films_with_several_reports": sum(count > 1 for count in films.values()),
        "films_missing_in_database": len(expected) - distinct,
        "scores_doubled_in_database": scored - distinct * labels,
        "studies_without_a_line": len(expected) - len(set(lines)),
        "lines_doubled": len(lines) - len(set(lines)),
        "dead_letters": status.failed + status.reports_failed,
        "files_left": len(list((listener.state / "objects").iterdir()))
        + len(list((listener.state / "reports").iterdir())),
        "probabilities_off_by_more_than_1e-6": int(worst > 1e-6),
        "exit_code": code,
    }


if __name__ == "__main__":
    main()
