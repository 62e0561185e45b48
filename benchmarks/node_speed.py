"""Films a second through a node, beside receiving alone and `predict` alone on the same cores.

    python benchmarks/node_speed.py --films 300 --out node_speed.json

The films are phantoms of all kinds. Receiving alone (a/s): a receiver, its queue and folder without the working half.
`predict` alone: the command's library over the folder, model loaded, no cache (b/s). Through the node: from the first
C-STORE request until the last report is written, and with --peer until Orthanc has it; the model is loaded before. What
could be reached if the two shared the cores without loss is 1 / (1/a + 1/b).

Receiving is measured with as many associations as --senders says, each in a process of its own: they share the cores,
in all three where there are senders.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cxrzero import Screener
from cxrzero.bench.machine import machine, versions
from cxrzero.choices import silent
from cxrzero.node.config import Limits, NodeConfig, Peer
from cxrzero.node.intake import Intake
from cxrzero.node.objects import Objects
from cxrzero.node.queue import Queue
from cxrzero.node.receive import Receiver
from cxrzero.node.status import status_of_queue
from cxrzero.node.work import run as work
from tests.support import orthanc
from tests.support.roundtrip import phantoms

# Run as `python benchmarks/node_speed.py --send PORT FILE...`: one association, one answer after the other.
SEND = "--send"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=300)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--model", default="cxrzero-mini")
    parser.add_argument("--senders", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians are taken")
    parser.add_argument("--peer", action="store_true", help="deliver the reports to Orthanc, too")
    parser.add_argument("--out", type=Path, help="JSON of the result")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        films = Path(place) / "films"
        files = [
            path for kind in phantoms(films, options.films, (options.side, options.side)).values() for path in kind
        ]
        rates: dict[str, list[float]] = {"receive": [], "predict": [], "node": []}
        for number in range(options.rounds):
            folder = Path(place) / str(number)
            rates["receive"].append(options.films / receive_alone(options, folder / "receive", files))
            rates["predict"].append(options.films / predict_alone(options, films))
            rates["node"].append(options.films / through_the_node(options, folder / "node", files))
            print({name: round(each[-1], 2) for name, each in rates.items()}, file=sys.stderr)
    a, b, node = (statistics.median(each) for each in rates.values())
    ideal = 1 / (1 / a + 1 / b)
    report = {
        "machine": machine(),
        "versions": versions(),
        "settings": {name: value for name, value in vars(options).items() if name != "out"},
        "films_per_s": {name: [round(rate, 2) for rate in each] for name, each in rates.items()},
        "receive_per_s": round(a, 2),
        "predict_per_s": round(b, 2),
        "node_per_s": round(node, 2),
        "ideal_per_s": round(ideal, 2),
        "of_ideal": round(node / ideal, 3),
    }
    print(json.dumps(report, indent=2))
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def receive_alone(options: argparse.Namespace, folder: Path, files: list[Path]) -> float:
    """Seconds until all are acknowledged."""
    with receiving(config_of(options, folder)) as (_, receiver):
        return send_all(options, receiver.port, files)


def predict_alone(options: argparse.Namespace, films: Path) -> float:
    screener = Screener(options.model, cache=False)
    started = time.perf_counter()
    rows = screener.predict(films)
    assert len(rows) == options.films
    return time.perf_counter() - started


def through_the_node(options: argparse.Namespace, folder: Path, files: list[Path]) -> float:
    """Seconds until the last report is written, or delivered."""
    config = config_of(options, folder)
    if not options.peer:
        return _through(options, config, files)
    with orthanc.serving() as archive:
        peer = Peer(ae_title=archive.title, host="127.0.0.1", port=archive.dicom_port)
        return _through(options, replace(config, peer=peer), files)


def _through(options: argparse.Namespace, config: NodeConfig, files: list[Path]) -> float:
    with receiving(config) as (queue, receiver):
        stop, ready = threading.Event(), threading.Event()
        worker = threading.Thread(target=work, args=(config, queue, stop, print, lambda _: ready.set()))
        worker.start()
        ready.wait()
        started = time.perf_counter()
        send_all(options, receiver.port, files)
        while True:
            status = status_of_queue(queue)
            written = len(queue.outbox.reports("reported"))
            if (status.delivered if options.peer else written) >= options.films:
                break
            time.sleep(0.02)
        seconds = time.perf_counter() - started
        stop.set()
        worker.join()
    return seconds


@contextmanager
def receiving(config: NodeConfig) -> Iterator[tuple[Queue, Receiver]]:
    with Queue(config.state) as queue:
        receiver = Receiver(config, Intake(config, Objects(config.objects), queue), silent)
        receiver.start()
        try:
            yield queue, receiver
        finally:
            receiver.stop()


def config_of(options: argparse.Namespace, folder: Path) -> NodeConfig:
    return NodeConfig(
        state=folder / "state",
        out=str(folder / "results.sqlite"),
        model=(options.model,),
        port=0,
        study_quiet_seconds=0.0,
        limits=Limits(free_disk_mb=0),
    )


def send_all(options: argparse.Namespace, port: int, files: list[Path]) -> float:
    """Seconds from the first request to the last answer; senders start before, and wait for a line on their input."""
    shares = [files[number :: options.senders] for number in range(options.senders)]
    senders = [
        subprocess.Popen(
            [sys.executable, __file__, SEND, str(port), *map(str, share)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for share in shares
    ]
    for sender in senders:
        assert sender.stdout
        sender.stdout.readline()
    started = time.perf_counter()
    for sender in senders:
        assert sender.stdin
        sender.stdin.write(b"\n")
        sender.stdin.flush()
    for sender in senders:
        sender.communicate()
        assert sender.returncode == 0
    return time.perf_counter() - started


def send(port: int, paths: list[str]) -> None:
    from pydicom import dcmread
    from pynetdicom import AE, build_context

    datasets = [dcmread(path) for path in paths]
    kinds = {(str(each.SOPClassUID), str(each.file_meta.TransferSyntaxUID)) for each in datasets}
    association = AE("MODALITY").associate(
        "127.0.0.1", port, [build_context(*kind) for kind in sorted(kinds)], ae_title="CXRZERO"
    )
    print(flush=True)
    sys.stdin.readline()
    for dataset in datasets:
        assert association.send_c_store(dataset).Status == 0
    association.release()


if __name__ == "__main__":
    send(int(sys.argv[2]), sys.argv[3:]) if sys.argv[1:2] == [SEND] else main()
