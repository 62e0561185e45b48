"""`--engine slurm`, on a Slurm of one node: the table of a single run, whatever happens to jobs and to the driver."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cxrzero.cluster.engine import LostError, NodeError, Task
from cxrzero.cluster.slurm import engine, queue
from cxrzero.cluster.slurm.job import JOBS
from cxrzero.errors import ConfigError, MissingExtraError, RunError, UsageError
from cxrzero.predict.options import PredictOptions
from cxrzero.predict.sbatch import TAKEN, Sbatch, parse_sbatch
from tests.support import REPO, needs, slurm

needs.modules("submitit")

WAIT_S = 180
# The command, but it asks Slurm more often than a site would like.
COMMAND = (
    "import sys; from cxrzero.cluster.slurm import engine; engine.ASK_S = 0.2; engine.LOOK_S = 0.1; "
    "from cxrzero.__main__ import main; sys.exit(main())"
)
TASKS = 6


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm.Slurm]:
    with slurm.serving(cpus=2) as one:
        yield one


@pytest.fixture
def films(png: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures, of which one cannot be read and two are alike in different slices; the test is in their parent."""
    for seed in range(11):
        png(f"archive/{seed:02}.png", seed=seed % 10)
    (tmp_path / "archive" / "05b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    return tmp_path


@pytest.fixture
def speaks(cluster: slurm.Slurm, monkeypatch: pytest.MonkeyPatch) -> slurm.Slurm:
    """What asks Slurm in this test, asks this one, which has no job of another test any more."""
    cluster.run("scancel", f"--partition={slurm.PARTITION}")
    end = time.monotonic() + WAIT_S
    while left := cluster.active():
        assert time.monotonic() < end, left
        time.sleep(0.1)
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    monkeypatch.setattr(engine, "ASK_S", 0.2)
    return cluster


def start(bundle: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COMMAND, "predict", "archive", "--model", str(bundle), "--labels", "a,b"]
    command += ["--no-cache", "--engine", f"slurm=partition={slurm.PARTITION},time=10", "--tasks", str(TASKS)]
    return subprocess.Popen([*command, "--out", "p.csv", *options], stderr=subprocess.PIPE, text=True)


def ends(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code, and what was said."""
    _, said = process.communicate(timeout=WAIT_S)
    return process.returncode, said


def alone(bundle: Path, *options: str) -> bytes:
    """The table of a single run."""
    command = [sys.executable, "-m", "cxrzero", "predict", "archive", "--model", str(bundle), "--labels", "a,b"]
    done = subprocess.run([*command, "--no-cache", "--out", "alone.csv", *options], capture_output=True, check=False)
    assert done.returncode == 3, done.stderr
    return Path("alone.csv").read_bytes()


def until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def running(cluster: slurm.Slurm, before: set[str]) -> list[str]:
    return [job for job, state in cluster.states().items() if state == "RUNNING" and job not in before]


def test_the_table_is_that_of_a_single_run_though_a_job_is_killed(
    speaks: slurm.Slurm, films: Path, tiny_bundle: Path
) -> None:
    before = set(speaks.states())
    process = start(tiny_bundle, "--by", "study")
    until(lambda: running(speaks, before))
    killed = running(speaks, before)[0]
    speaks.run("scancel", "--signal=KILL", "--full", killed)
    code, said = ends(process)
    assert code == 3, said
    assert Path("p.csv").read_bytes() == alone(tiny_bundle, "--by", "study")
    assert Path("p.studies.csv").read_bytes() == Path("alone.studies.csv").read_bytes()
    record = json.loads(Path("p.run.json").read_text(encoding="utf-8"))["engine"]
    assert (record["name"], record["tasks"], record["retries"]) == ("slurm", TASKS, 1)
    assert set(record["versions"]) == {"slurm", "submitit"}
    arrays = {job.partition("_")[0] for job in set(speaks.states()) - before}
    assert len(arrays) == 2
    assert {job for node in record["nodes"] for job in node["jobs"]} == arrays
    assert not Path("p.plan").exists()
    assert "task" in said
    assert "tried again" in said


def test_ctrl_c_cancels_the_jobs_and_the_command_goes_on(speaks: slurm.Slurm, films: Path, tiny_bundle: Path) -> None:
    before = set(speaks.states())
    process = start(tiny_bundle)
    until(lambda: running(speaks, before))
    process.send_signal(signal.SIGINT)
    code, said = ends(process)
    assert code == 130, said
    assert not speaks.active()
    assert not Path("p.csv").exists()
    kept = [file for file in Path("p.plan", JOBS).iterdir() if file.is_file()]
    assert any("log" in file.name for file in kept)
    assert not any(b"archive" in file.read_bytes() for file in kept)  # no path of a film, in logs or else
    code, said = ends(start(tiny_bundle))
    assert code == 3, said
    assert Path("p.csv").read_bytes() == alone(tiny_bundle)


def test_a_driver_that_is_killed_finds_its_jobs_again(speaks: slurm.Slurm, films: Path, tiny_bundle: Path) -> None:
    """They go on without it, and none is submitted twice."""
    before = set(speaks.states())
    process = start(tiny_bundle)
    until(lambda: running(speaks, before))
    process.kill()
    ends(process)
    assert speaks.active()
    code, said = ends(start(tiny_bundle))
    assert code == 3, said
    assert Path("p.csv").read_bytes() == alone(tiny_bundle)
    assert len(set(speaks.states()) - before) == TASKS


def task(plan: Path) -> Task:
    return Task(1, 1, 0, 1, 1, "", b"", "", {}, str(plan.parent), "")


def test_a_folder_that_the_node_does_not_see_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    with slurm.serving(hidden=tmp_path / "mine") as cluster:
        monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
        monkeypatch.setattr(engine, "ASK_S", 0.2)
        jobs = engine.SlurmEngine(tmp_path / "mine" / "p.plan", Sbatch())
        jobs.submit(task(tmp_path / "mine" / "p.plan"), 7)
        (ended,) = jobs.ended(WAIT_S)
        jobs.close()
    assert (ended.number, ended.node) == (7, cluster.node)
    assert isinstance(ended.error, LostError)
    assert "put --out where every node sees it" in str(ended.error)


def test_a_job_that_is_cancelled_is_over(speaks: slurm.Slurm, tmp_path: Path) -> None:
    """By the driver, before and after it is submitted, and by somebody else; none of them has begun."""
    others = speaks.run("sbatch", "--parsable", "--exclusive", "--output=/dev/null", "--wrap=sleep 100").strip()
    until(lambda: speaks.states()[others] == "RUNNING")
    jobs = engine.SlurmEngine(tmp_path / "p.plan", Sbatch())
    for number in (1, 2, 3):
        jobs.submit(task(tmp_path / "p.plan"), number)
    jobs.cancel(1)
    (first,) = jobs.ended(WAIT_S)
    assert not jobs.ended(1)
    jobs.cancel(2)
    speaks.run("scancel", *[job for job in speaks.active() if job.endswith("_1")])
    assert jobs.progress() == {}
    ended = [first]
    until(lambda: len(ended.extend(jobs.ended(1)) or ended) == 3)
    jobs.close()
    speaks.run("scancel", others)
    assert sorted(each.number for each in ended) == [1, 2, 3]
    assert all(isinstance(each.error, LostError) and "cancelled" in str(each.error) for each in ended)


def test_a_job_that_cannot_begin_is_named_with_its_log(speaks: slurm.Slurm, tmp_path: Path) -> None:
    """Its node has another environment: what submitit then writes is a traceback."""
    others = speaks.run("sbatch", "--parsable", "--exclusive", "--output=/dev/null", "--wrap=sleep 100").strip()
    jobs = engine.SlurmEngine(tmp_path / "p.plan", Sbatch())
    jobs.submit(task(tmp_path / "p.plan"), 1)
    assert not jobs.ended(0)
    (name,) = set(speaks.active()) - {others}
    trace = pickle.dumps(("error", "Traceback: No module named 'cxrzero'"))
    (tmp_path / "p.plan" / JOBS / f"{name}_0_result.pkl").write_bytes(trace)
    (ended,) = jobs.ended(WAIT_S)
    jobs.close()
    speaks.run("scancel", others)
    assert isinstance(ended.error, NodeError)
    assert f"job {name} could not begin" in str(ended.error)
    assert f"{name}_0_log.err" in str(ended.error)


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [("partition=nowhere", "sbatch: .*[Pp]artition"), ("time=2-00:00:00", "waits for what will not come")],
)
def test_what_slurm_will_not_do_ends_the_run(
    speaks: slurm.Slurm, tmp_path: Path, capfd: pytest.CaptureFixture[str], wishes: str, sentence: str
) -> None:
    jobs = engine.SlurmEngine(tmp_path / "p.plan", parse_sbatch(wishes))
    jobs.submit(task(tmp_path / "p.plan"), 1)
    with pytest.raises(queue.SlurmError, match=sentence):
        jobs.ended(WAIT_S)
    jobs.close()
    assert not speaks.active()
    assert not capfd.readouterr().err


def goes(patch: pytest.MonkeyPatch, cluster: slurm.Slurm, folder: Path) -> None:
    """From here on nobody is at the controller's port."""
    conf = Path(cluster.environment["SLURM_CONF"]).read_text(encoding="utf-8")
    away = conf.replace("SlurmctldPort=", "MessageTimeout=1\nSlurmctldPort=1\n# ")
    (folder / "away.conf").write_text(away, encoding="utf-8")
    patch.setenv("SLURM_CONF", str(folder / "away.conf"))


def test_slurm_that_is_away_for_a_while_is_waited_for(
    speaks: slurm.Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a submission nor a question that fails meanwhile ends the run, unless it is for too long."""
    others = speaks.run("sbatch", "--parsable", "--exclusive", "--output=/dev/null", "--wrap=sleep 100").strip()
    jobs = engine.SlurmEngine(tmp_path / "p.plan", Sbatch())
    jobs.submit(task(tmp_path / "p.plan"), 1)
    with monkeypatch.context() as away:
        goes(away, speaks, tmp_path)
        assert not jobs.ended(0)
    assert speaks.active() == [others]
    until(lambda: not jobs.ended(0) and len(speaks.active()) == 2)
    with monkeypatch.context() as away:
        goes(away, speaks, tmp_path)
        assert not jobs.ended(0.5)
        away.setattr(engine, "PATIENCE_S", 0.0)
        with pytest.raises(queue.SlurmError, match="controller"):
            jobs.ended(WAIT_S)
    jobs.close()
    assert speaks.active() == [others]
    speaks.run("scancel", others)


def test_slurm_that_is_not_here_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match="needs sbatch, which is not here"):
        engine.SlurmEngine(tmp_path / "p.plan", Sbatch())
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cxrzero\[slurm\]'"):
        engine.SlurmEngine(tmp_path / "p.plan", Sbatch())


def test_slurm_that_does_not_answer_is_said(
    tmp_path: Path, speaks: slurm.Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes(monkeypatch, speaks, tmp_path)
    with pytest.raises(queue.SlurmError, match="controller"):
        engine.SlurmEngine(tmp_path / "p.plan", Sbatch())
    monkeypatch.setattr(queue, "ANSWER_S", 0)
    with pytest.raises(queue.SlurmError, match="Slurm does not answer"):
        engine.SlurmEngine(tmp_path / "p.plan", Sbatch())


def test_a_percent_sign_in_the_path_is_refused(speaks: slurm.Slurm, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose another --out"):
        engine.SlurmEngine(tmp_path / "100%j" / "p.plan", Sbatch())


def test_the_folder_of_jobs_is_private_and_scripts_have_no_wish_of_submitit(
    speaks: slurm.Slurm, tmp_path: Path
) -> None:
    plan = tmp_path / "p.plan"
    jobs = engine.SlurmEngine(plan, parse_sbatch("nodelist=node1,time=10"))
    jobs.submit(task(plan), 1)
    jobs.ended(0)
    jobs.close()
    assert (plan / JOBS).stat().st_mode & 0o777 == 0o700
    (script,) = (file for file in (plan / JOBS).glob("*submission.sh") if not file.is_symlink())
    wishes = {line.removeprefix("#SBATCH ") for line in script.read_text().splitlines() if line.startswith("#SBATCH")}
    assert {"--no-requeue", "--nodelist=node1", "--time=10"} <= wishes
    assert not any(wish.startswith(("--wckey", "--nodes", "--mem")) for wish in wishes - {"--nodes=1"})


def test_a_job_has_as_many_cores_as_workers_unless_it_is_said(
    speaks: slurm.Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Sbatch] = []
    monkeypatch.setattr(engine, "SlurmEngine", lambda folder, wishes: given.append(wishes))
    for more in ("time=5", "cpus-per-task=2"):
        engine.open_slurm(more, PredictOptions(("archive",), workers=3), tmp_path)
    engine.open_slurm("", PredictOptions(("archive",)), tmp_path)
    assert [str(wishes) for wishes in given] == ["time=5,cpus-per-task=3", "cpus-per-task=2", ""]


def test_wishes_are_sbatchs_own_options() -> None:
    wishes = parse_sbatch("partition=gpu, nodelist=n[1-3],n7 ,gres=gpu:a100:1,time=1-00:00:00,jobs=50")
    assert dict(wishes.options) == {
        "partition": "gpu", "nodelist": "n[1-3],n7", "gres": "gpu:a100:1", "time": "1-00:00:00",
    }  # fmt: skip
    assert wishes.jobs == 50
    assert str(wishes) == "partition=gpu,nodelist=n[1-3],n7,gres=gpu:a100:1,time=1-00:00:00,jobs=50"
    assert parse_sbatch("") == Sbatch()
    page = (REPO / "docs" / "cluster.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in TAKEN)


@pytest.mark.parametrize(
    "text",
    ["partition", "partition=", "output=x", "wrap=id", "time=1\n#SBATCH --wrap=id", "mem=1,mem=2", "jobs=0", "jobs=x"],
)
def test_other_wishes_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--engine slurm"):
        parse_sbatch(text)
