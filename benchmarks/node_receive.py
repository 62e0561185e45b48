"""Receiving alone: objects a second, and what 10,000 tiny associations leave behind.

    python benchmarks/node_receive.py --objects 200 --tiny 10000 --out benchmarks/results/node_receive.json

The receiver, its queue and its folder run in a process of their own, without the working half. Objects are drawn CR of
--side pixels, uncompressed, sent by 1 and by 4 associations at once, each answer awaited. Of the tiny associations one
in three only connects, one sends garbage, one asks for an association and C-ECHO. Threads, open files and memory of the
receiver are read before and after.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from pynetdicom import AE

from cxrzero.bench.machine import machine, versions
from cxrzero.node.config import Limits, NodeConfig
from cxrzero.node.intake import Intake
from cxrzero.node.objects import Objects
from cxrzero.node.queue import Queue
from cxrzero.node.receive import VERIFICATION, Receiver
from tests.support.nodes import Caller, film


class Serving:
    """What a caller of tests needs to know."""

    def __init__(self, port: int) -> None:
        self.port = port


def serve(folder: str, pipe: Any) -> None:
    """The receiver's process: says its port, answers each message with what it holds, ends with the pipe."""
    config = NodeConfig(state=Path(folder) / "node", port=0, limits=Limits(free_disk_mb=0, associations=64))
    with Queue(config.state) as queue:
        receiver = Receiver(config, Intake(config, Objects(config.objects), queue), lambda _: None)
        receiver.start()
        pipe.send(receiver.port)
        while pipe.recv():
            pipe.send({
                "threads": threading.active_count(),
                "open_files": len(os.listdir("/proc/self/fd")),
                "memory_mb": round(int(Path("/proc/self/statm").read_text("utf-8").split()[1]) * 4096 / 1e6, 1),
                "parts": len(list(config.objects.glob("*.part"))),
                "objects": queue.waiting(),
                "cpu_s": round(time.process_time(), 2),
            })  # fmt: skip
        receiver.stop()


def send(port: int, contents: list[tuple[int, bytes]]) -> None:
    with Caller(Serving(port)) as caller:  # type: ignore[arg-type]
        for number, content in contents:
            assert caller.store(content, number) == (0, "")


def rate(port: int, first: int, count: int, side: int, associations: int) -> float:
    """Objects a second."""
    rng = np.random.default_rng(first)
    contents = [(n, film(n, side=side, value=int(rng.integers(1, 4000)))) for n in range(first, first + count)]
    started = time.perf_counter()
    with ThreadPoolExecutor(associations) as pool:
        list(pool.map(lambda part: send(port, contents[part::associations]), range(associations)))
    return count / (time.perf_counter() - started)


def tiny(port: int, number: int) -> None:
    if number % 3 < 2:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
            if number % 3:
                wire.sendall(os.urandom(200))
        return
    entity = AE("TINY")
    entity.add_requested_context(VERIFICATION)
    association = entity.associate("127.0.0.1", port, ae_title="CXRZERO")
    if association.is_established:
        association.send_c_echo()
        association.release()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--tiny", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        process = context.Process(target=serve, args=(folder, there))
        process.start()
        port = here.recv()

        def held() -> dict[str, float]:
            here.send(True)
            return dict(here.recv())

        rates = {str(n): round(rate(port, n * 100_000, options.objects, options.side, n), 1) for n in (1, 4)}
        time.sleep(2)
        before, started = held(), time.perf_counter()
        with ThreadPoolExecutor(4) as pool:
            for number, _ in enumerate(pool.map(lambda n: tiny(port, n), range(options.tiny))):
                if number % 1000 == 0:
                    print(f"{number} tiny associations, {time.perf_counter() - started:.0f} s", file=sys.stderr)
        seconds = time.perf_counter() - started
        time.sleep(5)
        after = held()
        here.send(False)
        process.join()
    result = {
        "machine": machine(), "versions": versions(), "object_mb": round(options.side**2 * 2 / 1e6, 2),
        "objects_per_s_by_associations": rates, "tiny_associations": options.tiny,
        "tiny_per_s": round(options.tiny / seconds, 1), "before": before, "after": after,
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
