"""A Ray cluster of several nodes on this machine, whose nodes and workers can be killed.

`ray.cluster_utils.Cluster` runs in a process of its own, which is told what to do line by line: no test imports Ray,
and whatever becomes of a test, its cluster ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxrzero.cluster.ray.joined import LOOPBACK, PATIENT
from tests.support import REPO

# Generous: starting a node means starting three Pythons, and the machine may be at work.
READY_S = 300.0
TOKEN = "f" * 64
# Workers at the priority of everything else: a machine at work would not let them start.
ENVIRONMENT = {
    **LOOPBACK,
    **PATIENT,
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": TOKEN,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    # a dead node is known to be one within a second or two
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
}


class RayNodes:
    """A head without cores, and nodes with one each.

    Args:
        folder: of Ray's sockets and logs; its name has to be short.
        nodes: how many.
        environment: variables of all processes, beside those that there are.

    Attributes:
        address: of the head.
        environment: for a driver.
        nodes: id of each node → process of its raylet.
    """

    def __init__(self, folder: Path, nodes: int = 2, environment: Mapping[str, str] | None = None) -> None:
        self.environment = {**os.environ, **ENVIRONMENT, **(environment or {})}
        # There Ray notes the address of the latest cluster, by which `auto` finds one.
        (folder / "ray").mkdir()
        own = {**self.environment, "RAY_TMPDIR": str(folder)}
        with (folder / "cluster.log").open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.rays", str(folder)], cwd=REPO, env=own, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self.nodes: dict[str, int] = {}
        try:
            self.address: str = self._answer()
            for _ in range(nodes):
                self.add()
        except BaseException:
            self.close()
            raise

    def add(self, environment: Mapping[str, str] | None = None) -> str:
        """Add a node whose workers have these variables, too; its id."""
        node, raylet = self._ask(["add", dict(environment or {})])
        self.nodes[node] = raylet
        return str(node)

    def kill(self, node: str) -> None:
        """kill -9 of a node's raylet, with which its workers end."""
        self._ask(["kill", node])
        del self.nodes[node]

    def workers(self) -> list[int]:
        """Processes that carry out a task."""
        found = []
        for raylet in self.nodes.values():
            children = Path(f"/proc/{raylet}/task/{raylet}/children")
            for child in children.read_text(encoding="ascii").split() if children.exists() else []:
                try:
                    title = Path(f"/proc/{child}/cmdline").read_bytes()
                except OSError:
                    continue  # it has ended meanwhile
                if title.startswith(b"ray::Worker.carry_out"):
                    found.append(int(child))
        return found

    def kill_worker(self, longest_s: float = READY_S) -> None:
        """kill -9 of a worker in the middle of a task, as soon as there is one. Raises AssertionError."""
        end = time.monotonic() + longest_s
        while not (workers := self.workers()):
            assert time.monotonic() < end, "no worker is at work"
            time.sleep(0.02)
        os.kill(workers[0], signal.SIGKILL)
        while workers[0] in self.workers():
            time.sleep(0.02)

    def kill_all(self) -> None:
        """kill -9 of the whole cluster: what it has started ends with it."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill_all()
        self._process.stdout.close()

    def _ask(self, order: list[Any]) -> Any:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the cluster ended; see cluster.log"
        return json.loads(line)


def serve(folder: str) -> None:
    """Start a head, and do what is asked, line by line, until there is nothing to read."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Ray prints

    def say(answer: Any) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    from ray._private.node import Node
    from ray.cluster_utils import Cluster

    Node.start_api_server = lambda *_, **__: None  # as `own_cluster` does
    common = {"object_store_memory": 80_000_000, "temp_dir": folder}
    cluster = Cluster()
    cluster.add_node(num_cpus=0, include_dashboard=False, **common)
    say(cluster.address)
    nodes = {}
    for line in sys.stdin:
        order, what = json.loads(line)
        if order == "add":
            node = cluster.add_node(num_cpus=1, env_vars=what, **common)
            nodes[node.node_id] = node
            [raylet] = node.all_processes["raylet"]
            say([node.node_id, raylet.process.pid])
        else:
            cluster.remove_node(nodes.pop(what), allow_graceful=False)
            say(None)
    cluster.shutdown()


if __name__ == "__main__":
    serve(sys.argv[1])
