"""What of the Ray engine can be asked without a cluster."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from cxrzero.cluster import run
from cxrzero.cluster.engine import Ended, NodeError, Task
from cxrzero.cluster.ray import gateway, joined, open_ray
from cxrzero.cluster.ray.joined import Cluster, own_folder, refusal
from cxrzero.cluster.ray.needs import Needs, needs_of
from cxrzero.cluster.visible import check_visible
from cxrzero.errors import MissingExtraError, RunError, UsageError
from cxrzero.files import open_locked
from cxrzero.predict.options import PredictOptions
from tests.support import REPO

NODE = {"CPU": 16.0, "memory": 1e9}
GPU_NODE = {"CPU": 16.0, "GPU": 4.0, "accelerator_type:H100": 1.0}


@pytest.mark.parametrize(
    ("needs", "node", "places", "cpus"),
    [
        (Needs("cpu"), NODE, 16, 1),
        (Needs("cpu", 3), NODE, 5, 3),
        (Needs("cpu"), GPU_NODE, 16, 1),
        (Needs("cuda"), GPU_NODE, 4, 4),
        (Needs("cuda", 8), GPU_NODE, 2, 8),
        (Needs("cuda"), NODE, 0, 16),
        (Needs("cpu"), {"memory": 1e9}, 0, 1),
        (Needs("cuda"), {"GPU": 2.0}, 0, 1),
    ],
)
def test_places_on_a_node(needs: Needs, node: dict[str, float], places: int, cpus: int) -> None:
    assert (needs.places_on(node), needs.cpus_on(node)) == (places, cpus)


def test_auto_is_a_gpu_where_any_node_has_one() -> None:
    assert Needs("auto").settled([NODE, GPU_NODE]).device == "cuda"
    assert Needs("auto", 2).settled([NODE]) == Needs("cpu", 2)
    assert Needs("cpu").settled([GPU_NODE]).device == "cpu"


def test_a_certain_gpu_is_refused() -> None:
    with pytest.raises(UsageError, match="each task gets a GPU of its own; give --device cuda"):
        needs_of("cuda:1", None)


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"ray is not installed; run: pip install 'cxrzero\[ray\]'"):
        open_ray("", PredictOptions(("in",)), tmp_path)


@pytest.mark.parametrize(("engine", "module"), [("ray", "ray"), ("slurm", "submitit")])
def test_what_is_not_installed_is_said_before_a_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, engine: str, module: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("cxrzero.predict.plan.open_screener", None)  # to load one would be another error
    with pytest.raises(MissingExtraError, match=rf"{module} is not installed; run: pip install 'cxrzero\[{engine}\]'"):
        run.prepare(PredictOptions((str(REPO / "examples"),), engine=engine))


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:port", "ray://", "head:70000"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match="give auto, HOST:PORT or ray://HOST:PORT, or ray alone"):
        joined.head_of(address)


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = joined.head_of(f"ray://127.0.0.1:{port}")
    assert address == f"127.0.0.1:{port}"
    with pytest.raises(ConnectionRefusedError) as caught:
        joined.check_answers(address)
    assert str(refusal(address, caught.value)) == f"no Ray cluster can be joined at {address}: Connection refused"


VERSIONS = """Version mismatch: The cluster was started with:
    Ray: 2.53.0
    Python: 3.12.1
This process on node 10.0.0.2 was started with:
    Ray: 2.60.0
    Python: 3.11.7
"""


def test_other_versions_are_one_sentence() -> None:
    error = ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379")
    error.__cause__ = RuntimeError(VERSIONS)
    assert str(refusal("10.0.0.1:6379", error)) == (
        "the Ray cluster at 10.0.0.1:6379 has Ray 2.53.0 and Python 3.12.1, and here are Ray 2.60.0 and Python 3.11.7: "
        "Ray needs the same of both on all machines"
    )


def test_a_token_that_is_not_the_clusters() -> None:
    error = RuntimeError("Token authentication is enabled but the authentication token is invalid or incorrect.")
    assert "wants a token" in str(refusal("head:6379", error))


@pytest.mark.parametrize(
    ("address", "is_local"),
    [("127.0.0.1:6379", True), ("[::1]:6379", True), ("localhost:1", True), ("10.0.0.1:6379", False)],
)
def test_local(address: str, is_local: bool) -> None:
    assert Cluster(address, False).is_local is is_local


def test_folders_of_killed_runs_are_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joined, "LONGEST_PLACE", 1000)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    for name in ("left", "busy", "new"):
        (tmp_path / f"cxrzero-ray-{name}").mkdir()
    (tmp_path / "cxrzero-ray-left" / "lock").touch()
    with open_locked(tmp_path / "cxrzero-ray-busy" / "lock"):
        with own_folder() as folder:
            assert folder.stat().st_mode & 0o777 == 0o700
            there = {each.name for each in tmp_path.iterdir()}
        assert there == {"cxrzero-ray-busy", "cxrzero-ray-new", folder.name}  # the new one is about to be locked
    assert not folder.exists()


def task(paths: list[str], **options: object) -> Task:
    lines = "".join(f'{{"position": {at}, "path": "{path}"}}\n' for at, path in enumerate(paths)).encode()
    return Task(1, 1, 0, len(paths), len(paths), "", lines, "", options, os.getcwd(), "here")


def test_a_node_that_sees_no_film(tmp_path: Path) -> None:
    gone = [str(tmp_path / f"{number}.dcm") for number in range(30)]
    with pytest.raises(NodeError, match=f"sees none of the films of task 1 .such as {gone[0]}."):
        check_visible(task(gone))
    with pytest.raises(NodeError) as caught:
        check_visible(task(gone, pseudonymise=True))
    assert str(tmp_path) not in str(caught.value)


def test_a_node_that_sees_some(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").touch()
    check_visible(task([str(tmp_path / "gone.dcm")] * 9 + [str(tmp_path / "a.dcm")] * 9))
    check_visible(task([]))
    check_visible(task(["dicomweb://archive/rs?study=1"]))


def test_ray_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shows = "import os, cxrzero; print(os.environ['RAY_USAGE_STATS_ENABLED'])"
    done = subprocess.run(
        [sys.executable, "-c", shows], env=os.environ | {"RAY_USAGE_STATS_ENABLED": "1"}, cwd=REPO, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "0\n"
    assert done.stderr == "RAY_USAGE_STATS_ENABLED=1 is taken as 0: cxrzero tells nobody about its use\n"


def test_something_else_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxrzero.cluster.ray.engine.JOIN_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(RunError, match=f"no Ray cluster answers at {address} within 1 s, though something listens"):
            open_ray(address, PredictOptions(("in",), device="cpu"), tmp_path)


def test_no_ray_at_the_address(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--engine ray=head: give auto, HOST:PORT or ray://HOST:PORT, or ray alone"):
        open_ray("head", PredictOptions(("in",)), tmp_path)


def test_a_slice_and_a_result_that_fill_their_pipes_do_not_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(4 * 2**20)  # a socket holds some 200 KB

    class AtOnce:
        """A pool whose tasks end as soon as they begin."""

        places = 9

        def __init__(self, *_: object) -> None:
            self._numbers: list[int] = []

        def submit(self, task: Any, number: int) -> None:
            self._numbers.append(number)

        def look(self, timeout: float) -> list[Ended]:
            numbers, self._numbers = self._numbers, []
            return [Ended(number, files={"table": content}) for number in numbers]

        def progress(self) -> dict[int, int]:
            return {}

        def close(self) -> None:
            pass

    monkeypatch.setattr("cxrzero.cluster.ray.pool.Pool", AtOnce)
    ours, theirs = multiprocessing.Pipe()
    asked = gateway.Asked("", Needs("cpu"), tmp_path / "log", 1.0)

    def work() -> None:
        with pytest.raises(EOFError):
            gateway._work(theirs, asked)

    def order() -> None:
        for number in range(5):
            ours.send((number, content))

    threads = [threading.Thread(target=each, daemon=True) for each in (work, order)]
    for thread in threads:
        thread.start()
    threads[1].join(30)
    assert not threads[1].is_alive()
    ended: list[int] = []
    while len(ended) < 5:
        ended += [each.number for each in ours.recv().ended]
    assert sorted(ended) == list(range(5))
    ours.close()
    threads[0].join(30)
    assert not threads[0].is_alive()
    theirs.close()
