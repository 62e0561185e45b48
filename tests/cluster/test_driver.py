"""Whatever happens to nodes, tasks and drivers: the table is the same, and little is done twice."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cxrzero.cluster import run as job
from cxrzero.cluster import task as task_module
from cxrzero.cluster.driver import Patience, Standing
from cxrzero.cluster.engine import Ended, Engine, LostError, Task
from cxrzero.cluster.inprocess import InProcess
from cxrzero.cluster.plan import task_of
from cxrzero.cluster.task import run_slice, slice_as_bytes
from cxrzero.errors import (
    BundleError,
    CxrzeroError,
    MissingExtraError,
    NoInputError,
    OutputExistsError,
    RunError,
    UsageError,
)
from cxrzero.pipeline.embedder import embed
from cxrzero.predict.join import join
from cxrzero.predict.options import PredictOptions
from cxrzero.predict.run import FailFastError
from tests.cluster.conftest import FILMS, ROWS, Whole, in_tasks, record, same

Options = Callable[..., PredictOptions]
TASKS = 4


@pytest.fixture
def asked(options: Options) -> Options:
    return lambda **more: options(**{"out": "many.csv", "engine": "local", "tasks": TASKS, **more})


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many embeddings each call of the encoder made."""
    made: list[int] = []
    real = embed

    def counting(*arguments: Any) -> int:
        made.append(real(*arguments))
        return made[-1]

    monkeypatch.setattr("cxrzero.pipeline.run.embed", counting)
    return made


class Kill(BaseException):
    """The driver is killed: nothing of ours runs any more."""


def killing(after: int, error: BaseException, of: int = 3, times: int = 1) -> Callable[..., None]:
    """A node that is lost over task `of` once so many rows are done, so many times."""
    left = [times]

    def carry(task: Task, results: Path, notify: Callable[[int], None]) -> None:
        def on_films(films: int) -> None:
            if task.number == of and left[0] and films >= after:
                left[0] -= 1
                raise error
            notify(films)

        run_slice(task, results, on_films)

    return carry


@pytest.fixture(autouse=True)
def all_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_module, "SECONDS_BETWEEN_NEWS", 0.0)


def test_a_lost_task_is_done_again_and_only_its_last_batch_embedded_twice(
    asked: Options, whole: Whole, embedded: list[int]
) -> None:
    whole()
    embedded.clear()
    notes: list[str] = []
    in_tasks(asked(batch_size=2), killing(3, LostError("the node died")), notify=notes.append)
    assert same("many.csv", "whole.csv")
    assert ROWS - 1 <= sum(embedded) <= ROWS - 1 + 2
    assert notes == ["Note: task 3 is tried again (on this process): the node died"]
    engine = record("many")["engine"]
    assert engine["retries"] == 1
    assert engine["tried_again"] == [{"task": 3, "node": "this process", "why": "the node died"}]


def test_without_the_cache_no_more_than_the_lost_task_is_embedded_twice(
    asked: Options, whole: Whole, embedded: list[int]
) -> None:
    whole()
    embedded.clear()
    in_tasks(asked(batch_size=2, cache=False), killing(3, LostError("the node died")))
    assert same("many.csv", "whole.csv")
    rows_of_a_task = 4 + 3  # one of its films has four frames
    assert ROWS - 1 < sum(embedded) <= ROWS - 1 + rows_of_a_task


def test_a_driver_that_is_killed_goes_on_where_it_was(asked: Options, whole: Whole, embedded: list[int]) -> None:
    whole()
    embedded.clear()
    with pytest.raises(Kill):
        in_tasks(asked(cache=False), killing(0, Kill(), of=3))
    assert not Path("many.csv").exists()
    assert sorted(os.listdir("many.plan/results")) == ["part-0001", "part-0002"]
    before = sum(embedded)
    notes: list[str] = []
    standings: list[Standing] = []
    in_tasks(asked(cache=False), notify=notes.append, on_news=standings.append)
    assert same("many.csv", "whole.csv")
    assert sum(embedded) <= ROWS - 1 + 7
    assert sum(embedded) - before < ROWS - 1
    assert "16 films: 2 of 4 tasks done" in notes[0]
    assert standings[-1] == Standing(FILMS, FILMS, 8, TASKS, 0, TASKS, 0)
    assert not Path("many.plan").exists()


def test_a_driver_killed_while_it_joins_goes_on(
    asked: Options, whole: Whole, monkeypatch: pytest.MonkeyPatch, embedded: list[int]
) -> None:
    whole()
    real = join

    def killed(*arguments: Any, **more: Any) -> None:
        real(*arguments, **more)
        raise Kill

    monkeypatch.setattr("cxrzero.cluster.run.join", killed)
    with pytest.raises(Kill):
        in_tasks(asked())
    assert Path("many.csv").exists()
    monkeypatch.setattr("cxrzero.cluster.run.join", real)
    embedded.clear()
    in_tasks(asked())  # without --overwrite: the table is its own
    assert same("many.csv", "whole.csv")
    assert embedded == []
    with pytest.raises(OutputExistsError):
        in_tasks(asked())


def test_a_film_that_came_since_is_not_in_a_run_that_goes_on(asked: Options, whole: Whole, films: Path) -> None:
    whole()
    with pytest.raises(Kill):
        in_tasks(asked(), killing(0, Kill()))
    shutil.copy(films / "0.png", films / "00.png")
    in_tasks(asked())
    assert same("many.csv", "whole.csv")


def test_another_command_does_not_touch_a_plan(asked: Options) -> None:
    with pytest.raises(Kill):
        in_tasks(asked(), killing(0, Kill()))
    kept = sorted(os.listdir("many.plan/results"))
    for other in ({"labels": ("edema",)}, {"skip": ("lateral",)}, {"paths": ("in/sub",)}, {"by": "study"}):
        with pytest.raises(UsageError, match=r"many\.plan is the plan of another command"):
            in_tasks(asked(**other) if "paths" not in other else PredictOptions(**{**_values(asked()), **other}))
    assert sorted(os.listdir("many.plan/results")) == kept
    in_tasks(asked(batch_size=3, workers=1, tasks=2))  # what decides nothing may change
    assert not Path("many.plan").exists()


def _values(options: PredictOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in options.__dataclass_fields__}


# What a record says of its numbers is compared with table and log.
DAMAGE = [
    (file, damage)
    for file in ("table.jsonl", "table.shard", "table.run.json")
    for damage in ("cut", "changed", "gone", "of another")
    if (file, damage) != ("table.run.json", "changed")
]


@pytest.mark.parametrize(("file", "damage"), DAMAGE)
def test_a_result_that_is_not_as_it_was_written_is_made_again(
    asked: Options, whole: Whole, file: str, damage: str
) -> None:
    whole()
    with pytest.raises(Kill):
        in_tasks(asked(), killing(0, Kill(), of=4))
    path = Path("many.plan/results/part-0002") / file
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "of another":
        path.write_bytes(Path("many.plan/results/part-0003", file).read_bytes())
    else:
        middle = len(content) // 2
        changed = bytes([content[middle] ^ 1])
        path.write_bytes(content[:middle] + (b"" if damage == "cut" else changed + content[middle + 1 :]))
    notes: list[str] = []
    in_tasks(asked(), notify=notes.append)
    assert "task 2 is tried again: its result cannot be used" in notes[0]
    assert same("many.csv", "whole.csv")


def test_a_damaged_slice_ends_the_run_before_anything_is_written(asked: Options) -> None:
    with pytest.raises(Kill):
        in_tasks(asked(), killing(0, Kill()))
    slice_file = Path("many.plan/slice-0004.jsonl")
    slice_file.write_bytes(slice_file.read_bytes().replace(b"sub", b"sup"))
    with pytest.raises(RunError, match="slice 4 is damaged"):
        in_tasks(asked())
    assert not Path("many.csv").exists()


def test_a_task_that_never_succeeds_ends_the_run_within_bounds(asked: Options) -> None:
    tries: Counter[int] = Counter()

    def carry(task: Task, *more: Any) -> None:
        tries[task.number] += 1
        if task.number == 2:
            raise LostError("its process ended")
        run_slice(task, *more)

    said = r"task 2 of 4 \(films 5 to 8, see .*slice-0002\.jsonl\) was tried 5 times, last on this process: .*3 tasks"
    with pytest.raises(RunError, match=said):
        in_tasks(asked(), carry, patience=Patience(losses=5))
    assert tries == {1: 1, 2: 5, 3: 1, 4: 1}


@pytest.mark.parametrize("error", [BundleError("no model"), UsageError("no"), FailFastError("stopped")])
def test_what_another_try_would_not_change_is_not_tried_again(asked: Options, error: CxrzeroError) -> None:
    tries = []

    def carry(task: Task, *more: Any) -> None:
        tries.append(task.number)
        raise error

    with pytest.raises(type(error)):
        in_tasks(asked(), carry)
    assert tries == [1]


def test_fail_fast_ends_the_run_over_the_first_failure(asked: Options) -> None:
    with pytest.raises(FailFastError, match=r"broken\.png: empty_file"):
        in_tasks(asked(fail_fast=True))


class Slow(InProcess):
    """Of its tasks the second does not come to an end before it is cancelled, unless it is started again."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.stuck: list[int] = []
        self.cancelled: list[int] = []

    def submit(self, task: Task, number: int) -> None:
        if task.number == 2 and not self.stuck:
            self.stuck.append(number)
        else:
            super().submit(task, number)

    def progress(self) -> dict[int, int]:
        return {**super().progress(), **dict.fromkeys(self.stuck, 1)}

    def cancel(self, number: int) -> None:
        self.cancelled.append(number)
        super().cancel(number)


@contextmanager
def slow(asked: PredictOptions, **how: Any) -> Iterator[tuple[Slow, list[str]]]:
    engines: list[Slow] = []
    notes: list[str] = []

    def open_engine(spec: str, options: PredictOptions, folder: Path) -> Engine:
        engines.append(Slow(folder / "results"))
        return engines[0]

    job.run(job.prepare(asked), open_engine=open_engine, notify=notes.append, **how)
    yield engines[0], notes


def test_a_straggler_is_started_a_second_time_and_the_first_that_ends_counts(asked: Options, whole: Whole) -> None:
    whole()
    with slow(asked(), patience=Patience(straggler_s=0.0, straggler_times=0.0)) as (engine, notes):
        assert same("many.csv", "whole.csv")
        assert engine.cancelled == engine.stuck
        assert notes == ["Note: task 2 is tried again: it takes long, and is done a second time beside"]


def test_an_engine_without_room_ends_the_run(asked: Options) -> None:
    with pytest.raises(RunError, match="has had no room for a task for 0 s; 0 tasks are done"):
        in_tasks(asked(), room=0, patience=Patience(no_room_s=0.0))


def test_results_that_are_sent_become_files(asked: Options, whole: Whole) -> None:
    class Sending(InProcess):
        def ended(self, timeout: float) -> list[Ended]:
            if not self._waiting:
                return []
            number, task = self._waiting.popleft()
            files = slice_as_bytes(task)
            if task.number == 2 and number == 2:
                del files["table.shard"]
            return [Ended(number, files=files, node="far away")]

    whole()
    notes: list[str] = []
    job.run(
        job.prepare(asked()),
        open_engine=lambda spec, options, folder: Sending(folder / "results"),
        notify=notes.append,
    )
    assert notes == ["Note: task 2 is tried again (on far away): what came back for slice 2 is no result of a task"]
    assert same("many.csv", "whole.csv")


@pytest.mark.parametrize(
    ("key", "value", "words"), [("device", "cuda", "device"), ("versions", {"numpy": "1"}, "versions: ")]
)
def test_nodes_that_compute_otherwise_are_refused(asked: Options, key: str, value: object, words: str) -> None:
    def carry(task: Task, results: Path, *more: Any) -> None:
        run_slice(task, results, *more)
        if task.number == 3:
            path = results / "part-0003/table.run.json"
            path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {key: value}), encoding="utf-8")

    with pytest.raises(RunError, match=f"they differ in {words}"):
        in_tasks(asked(), carry)
    assert not Path("many.csv").exists()


@pytest.mark.parametrize(("key", "value"), [("models", []), ("prompts", []), ("cxrzero", "0.0.1")])
def test_a_node_with_another_model_than_the_driver_is_found_out(asked: Options, key: str, value: object) -> None:
    def carry(task: Task, results: Path, *more: Any) -> None:
        run_slice(task, results, *more)
        path = results / f"part-{task.number:04d}/table.run.json"
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {key: value}), encoding="utf-8")

    with pytest.raises(RunError, match=f"has something else than this machine under {key}: put the same model"):
        in_tasks(asked(), carry)


def test_nothing_to_read_leaves_nothing(asked: Options, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoInputError, match="no image or DICOM file in empty"):
        in_tasks(PredictOptions(**{**_values(asked()), "paths": ("empty",)}))
    assert not Path("many.plan").exists()


def test_a_driver_needs_no_device_of_the_nodes(options: Options) -> None:
    asked = options(out="many.csv", engine="slurm", device="cuda:3", precision="fp16", backend="torch")
    plan = job.prepare(asked)
    assert plan.options == asked
    assert [member.encoder.device for member in plan.screener.members] == ["cpu"]
    assert plan.form.labels == ("pneumonia", "edema")
    with pytest.raises(CxrzeroError):
        job.prepare(options(out="many.csv", engine="local", device="cuda:77"))


def test_nothing_of_a_patient_and_no_key_is_in_a_plan(asked: Options, films: Path) -> None:
    named = {"pseudonymise": True, "pseudonym_key": Path("key")}
    with pytest.raises(Kill):
        in_tasks(asked(**named), killing(0, Kill(), of=4))
    files = {path: path.read_bytes() for path in Path("many.plan").rglob("*") if path.is_file()}
    assert len(files) > 3 * 3
    for path, content in files.items():
        assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0
        for secret in (b"SECRET^PATIENT", b"MRN-31337", Path("key").read_bytes()):
            assert secret not in content, path
        if not path.name.startswith("slice-"):  # which have to name the films
            assert b"in/" not in content, path
            assert b'"2.25.2"' not in content, path


def test_a_result_that_is_there_is_not_made_again(asked: Options, embedded: list[int]) -> None:
    with pytest.raises(Kill):
        in_tasks(asked(), killing(0, Kill()))
    embedded.clear()
    run_slice(task_of(Path("many.plan"), 1), Path("many.plan/results"))
    assert embedded == []


def test_an_engine_that_cannot_be_had_leaves_nothing(asked: Options) -> None:
    def open_engine(*arguments: Any) -> Engine:
        raise MissingExtraError("submitit", "slurm")

    with pytest.raises(MissingExtraError, match=r"pip install 'cxrzero\[slurm\]'"):
        job.run(job.prepare(asked()), open_engine=open_engine)
    assert not Path("many.plan").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"out": "-"}, "give --out a file"),
        ({"key_map": Path("map.csv"), "pseudonymise": True}, "--key-map"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(asked: Options, more: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        job.prepare(asked(**more))
