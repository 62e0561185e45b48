"""The whole way round: films that an archive routes to a node, and their reports in the archive.

    python benchmarks/node_routed.py --films 300

storescu sends phantoms of all kinds to Orthanc, which routes each to the node; the node answers with a report. Counted
are the reports that QIDO-RS finds, and compared every probability in them with `predict` on the same file. Exits 1
where anything differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from cxrzero import Screener
from tests.support import orthanc
from tests.support.listening import Listener
from tests.support.roundtrip import phantoms, read_back, send_to, wait_for_reports, wait_until_tidy

Scores = dict[str, dict[str, float]]  # SOP Instance UID of a film → label → probability


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=300)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--model", type=Path, default=Path("models/cxrzero-mini"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        files = phantoms(place / "films", options.films, (options.side, options.side))
        rows = Screener(options.model, cache=False).predict(place / "films")
        expected = {str(row.facts.sop_instance_uid): dict(row.scores) for row in rows}
        found, seconds = routed(place, options, files, len(expected))
    off = max(abs(found[uid][label] - p) for uid, scores in expected.items() for label, p in scores.items())
    print(f"{len(found)} of {len(expected)} films have a report after {seconds:.0f} s; largest difference {off:.1g}")
    if found.keys() != expected.keys() or off > 1e-6:
        sys.exit(1)


def routed(place: Path, options: argparse.Namespace, files: dict, count: int) -> tuple[Scores, float]:
    """What the reports say, and how long it took."""
    [port] = orthanc.free_ports(1)
    with orthanc.serving(modalities={"node": ("CXRZERO", "127.0.0.1", port)}, route="node") as archive:
        peer = f'[peer]\nae_title = "{archive.title}"\nhost = "127.0.0.1"\nport = {archive.dicom_port}\n'
        node = Listener(place, options.model.resolve(), peer, port=port, callers=[archive.title])
        try:
            node.start()
            started = time.perf_counter()
            send_to(archive, files)
            wait_for_reports(archive, count)
            seconds = time.perf_counter() - started
            wait_until_tidy(node.state / "objects")
            assert node.stop() == 0
        finally:
            node.close()
        reports = [read_back(archive.content(each["ID"])) for each in archive.instances(Modality="SR")]
    assert len(reports) == count, f"{len(reports)} reports"
    return {uid: scores for report in reports for uid, scores in report.items()}, seconds


if __name__ == "__main__":
    main()
