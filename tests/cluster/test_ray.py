"""A Ray cluster of three nodes: workers, nodes and drivers are killed; the table is that of one run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from PIL import Image

from cxrzero._version import __version__
from cxrzero.cluster import run as job
from cxrzero.cluster.driver import Standing
from cxrzero.cluster.ray.engine import RayEngine
from cxrzero.cluster.ray.gateway import Asked
from cxrzero.cluster.ray.needs import Needs
from cxrzero.errors import RunError
from cxrzero.predict.options import PredictOptions
from tests.cluster.conftest import FILMS, Whole, record, same
from tests.support import REPO, needs
from tests.support.pictures import picture
from tests.support.rays import ENVIRONMENT, RayNodes

needs.modules("ray")
if sys.platform != "linux":
    pytest.skip("processes are found in /proc", allow_module_level=True)

LONGEST_S = 40.0
LARGE = 24

Driver = subprocess.Popen[str]


@pytest.fixture(scope="module")
def short_folder() -> Iterator[Path]:
    """Of a name that is short enough for sockets below it."""
    with tempfile.TemporaryDirectory(prefix="rays-", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def cluster(short_folder: Path) -> Iterator[RayNodes]:
    nodes = RayNodes(short_folder)
    yield nodes
    nodes.close()


@pytest.fixture
def large_films(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some films that take their time."""
    film = tmp_path_factory.mktemp("large") / "film.png"
    Image.fromarray(picture(1, (1400, 1200))).save(film, compress_level=1)
    for number in range(LARGE):
        shutil.copy(film, films / f"large-{number:02}.png")
    return films


@pytest.fixture
def environment(cluster: RayNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a driver needs to join the cluster."""
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, cluster.environment[name])


@pytest.fixture
def begin(environment: None, cluster: RayNodes, tiny_bundle: Path) -> Iterator[Callable[..., Driver]]:
    """Starts drivers; those that still run in the end are killed."""
    begun: list[Driver] = []

    def begin(engine: str = "", tasks: int = 8) -> Driver:
        begun.append(
            subprocess.Popen(
                [
                    sys.executable, "-m", "cxrzero", "predict", "in", "--out", "many.csv", "--model", str(tiny_bundle),
                    "--engine", engine or f"ray={cluster.address}", "--tasks", str(tasks),
                ],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        return begun[-1]

    yield begin
    for each in begun:
        kill(each)


def kill(driver: Driver) -> None:
    driver.kill()
    driver.communicate()


def said_by(driver: Driver, code: int = 3) -> str:
    """Standard error of a driver that ends by itself."""
    printed, said = driver.communicate(timeout=LONGEST_S)
    assert driver.returncode == code, said
    assert "(raylet)" not in printed + said
    return said


def whys() -> str:
    """Why tasks were tried again so far."""
    file = Path("many.plan/events.jsonl")
    return file.read_text(encoding="utf-8") if file.exists() else ""


def wait_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + LONGEST_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_cluster_writes_the_table_of_one_run(cluster: RayNodes, begin: Callable[..., Driver], whole: Whole) -> None:
    whole()
    said = said_by(begin())
    assert same("many.csv", "whole.csv")
    engine = record("many")["engine"]
    assert (engine["name"], engine["tasks"], engine["retries"]) == ("ray", 8, 0)
    assert engine["versions"].keys() == {"ray", "python"}
    assert sum(node["films"] for node in engine["nodes"]) == FILMS
    assert {node["cpus"] for node in engine["nodes"]} == {1}
    assert "is not of this machine" not in said
    assert not Path("many.plan").exists()


def test_a_worker_a_node_and_the_driver_are_killed(
    cluster: RayNodes, begin: Callable[..., Driver], whole: Whole, large_films: Path
) -> None:
    whole()
    driver = begin()
    cluster.kill_worker()
    wait_for(lambda: "its worker was killed, or crashed" in whys())
    wait_for(cluster.workers)
    cluster.kill(next(iter(cluster.nodes)))
    wait_for(lambda: list(Path("many.plan/results").glob("part-*")))
    kill(driver)
    cluster.add()
    assert "Goes on with the plan of" in said_by(begin())
    assert same("many.csv", "whole.csv")
    engine = record("many")["engine"]
    assert engine["retries"] == len(engine["tried_again"])
    assert 1 <= engine["retries"] <= 2  # the node may have been between two tasks


def test_a_node_with_another_cxrzero_is_left_out(
    cluster: RayNodes, begin: Callable[..., Driver], whole: Whole, tmp_path: Path
) -> None:
    whole()
    older = tmp_path / "older"
    older.mkdir()
    changed = "import cxrzero._version\ncxrzero._version.__version__ = '0.0.1'\n"
    (older / "sitecustomize.py").write_text(changed, encoding="ascii")
    node = cluster.add({"PYTHONPATH": os.pathsep.join([str(older), str(REPO)])})
    said = said_by(begin())
    cluster.kill(node)
    assert f"(node {node[:8]}) has cxrzero 0.0.1, and the driver has {__version__}; install the same. That node" in said
    assert same("many.csv", "whole.csv")
    assert record("many")["engine"]["retries"] == 0


def test_films_that_no_node_sees_become_no_failed_rows(
    cluster: RayNodes, begin: Callable[..., Driver], whole: Whole, large_films: Path
) -> None:
    whole()
    driver = begin(tasks=2)
    wait_for(Path("many.plan/plan.json").exists)
    kill(driver)
    large_films.rename("elsewhere")
    large_films.mkdir()
    said = said_by(begin(tasks=2), code=1)
    assert "sees none of the films of task" in said
    assert "no other node can be used" in said
    large_films.rmdir()
    Path("elsewhere").rename(large_films)
    said_by(begin(tasks=2))
    assert same("many.csv", "whole.csv")


def test_a_cluster_of_our_own_is_ours_alone_and_leaves_nothing(
    begin: Callable[..., Driver], whole: Whole, large_films: Path, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole()
    monkeypatch.setenv("TMPDIR", str(short_folder))
    monkeypatch.setenv("HOME", os.path.abspath("home"))
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    driver = begin("ray")
    wait_for(lambda: list(Path("many.plan/results").glob("part-*")))
    processes = descendants(driver.pid)
    assert {address for each in processes for address in listens_on(each)} == {"127.0.0.1"}
    assert not Path("home").exists()  # Ray would keep a token in ~/.ray
    kill(driver)
    wait_for(lambda: not any(map(is_alive, processes)))
    assert not list(short_folder.glob("cxrzero-ray-*"))
    said_by(begin("ray"))
    assert same("many.csv", "whole.csv")
    assert not list(short_folder.glob("cxrzero-ray-*"))


def test_a_cluster_without_nodes_is_waited_for(
    cluster: RayNodes, environment: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for node in list(cluster.nodes):
        cluster.kill(node)

    def wait() -> None:
        with closing(RayEngine(Asked(cluster.address, Needs("cpu"), tmp_path / "ray.log", no_nodes_s=3.0))) as engine:
            wait_for(lambda: engine.ended(0.2))

    with pytest.raises(RunError) as caught:
        wait()
    lacks = "no node of the Ray cluster offers 1 core (1 node there)"
    assert str(caught.value) == f"{lacks}, for 3 s now; the same command goes on from what is done"
    assert caplog.messages == [f"{lacks}: waiting 3 s for one that can"]


def test_a_cluster_that_is_gone(
    cluster: RayNodes,
    environment: None,
    options: Callable[..., PredictOptions],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "2")
    cluster.add()

    def open_engine(spec: str, options: PredictOptions, folder: Path) -> RayEngine:
        return RayEngine(Asked(cluster.address, Needs("cpu"), folder / "ray.log", no_nodes_s=2.0), again_s=0.5)

    def pull_the_plug(standing: Standing) -> None:
        if cluster.nodes:
            cluster.nodes.clear()
            cluster.kill_all()

    with pytest.raises(RunError, match="the same command goes on from what is done") as caught:
        job.run(job.prepare(options(out="many.csv", engine="ray")), open_engine=open_engine, on_news=pull_the_plug)
    assert f"no Ray cluster can be joined at {cluster.address}: Connection refused" in str(caught.value)
    assert any("the connection to the Ray cluster was lost" in each for each in caplog.messages)
    assert Path("many.plan/plan.json").exists()


def descendants(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    return [each for child in map(int, children) for each in (child, *descendants(child))]


def is_alive(process: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return False


def listens_on(process: int) -> set[str]:
    """Addresses of a process's TCP sockets that listen."""
    sockets = set()
    for each in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):
            sockets.add(os.readlink(each).removeprefix("socket:[").rstrip("]"))
    found = set()
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/{process}/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:  # LISTEN
                words = bytes.fromhex(fields[1].partition(":")[0])
                packed = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
                found.add(socket.inet_ntop(family, packed).removeprefix("::ffff:"))
    return found
