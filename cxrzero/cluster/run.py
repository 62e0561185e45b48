"""`predict --engine`, a whole run: make a plan or go on with one, have it done, join what the tasks left."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cxrzero._version import __version__
from cxrzero.choices import Notify, parse_engine, silent
from cxrzero.cluster import asked
from cxrzero.cluster.driver import Driver, Patience, Standing
from cxrzero.cluster.engine import Engine
from cxrzero.cluster.installed import check_installed
from cxrzero.cluster.open import open_engine
from cxrzero.cluster.plan import JOINING, PLAN, PlanFolder, Sliced, read_plan
from cxrzero.cluster.slicing import cut, save, write_walk
from cxrzero.database import is_address
from cxrzero.display.counts import counted
from cxrzero.errors import UsageError
from cxrzero.files import write_whole
from cxrzero.places.kind import is_file
from cxrzero.predict import plan as predict_plan
from cxrzero.predict.join import join
from cxrzero.predict.manifest import default_out
from cxrzero.predict.merge import Part
from cxrzero.predict.options import PredictOptions
from cxrzero.predict.plan import Plan
from cxrzero.predict.run import Outcome, nothing_found, pseudonymiser_of
from cxrzero.sources import WalkCounts
from cxrzero.tables.table import STDOUT

# Films of a task: on a processor some minutes of work, on a GPU one or two. A task costs under a second of its own.
FILMS_ON_CPU, FILMS_ON_GPU = 5_000, 50_000
# Of few films each place for a task gets several tasks, so that all end at about the same time, but none of less.
TASKS_OF_A_PLACE, LEAST_FILMS = 4, 100

OnNews = Callable[[Standing], None]


def prepare(options: PredictOptions, notify: Notify = silent, *, look_only: bool = False) -> Plan:
    """As `cxrzero.predict.plan.prepare`, for a run on an engine.

    Raises:
        UsageError: what an engine cannot do is asked.
        MissingExtraError: it is not installed.
    """
    out = options.out or default_out(options)
    _check(options, out)
    folder = plan_path(out)
    is_begun = not is_address(out) and (folder / JOINING).exists() and (folder / PLAN).exists()
    if is_begun and _is_same(read_plan(folder), options):
        options = dataclasses.replace(options, overwrite=True)  # what is there, a run began that is gone on with
    return predict_plan.prepare(options, notify, look_only=look_only, elsewhere=is_elsewhere(options))


def is_elsewhere(options: PredictOptions) -> bool:
    """Whether other machines do the work."""
    assert options.engine is not None
    return parse_engine(options.engine)[0] != "local"


def run(
    plan: Plan,
    *,
    notify: Notify = silent,
    on_news: OnNews = lambda standing: None,
    patience: Patience | None = None,
    open_engine: Callable[[str, PredictOptions, Path], Engine] = open_engine,
) -> Outcome:
    """Have everything scored; write the table and its record.

    Args:
        plan: from `prepare`.
        notify: is told what is gone on with, and what is done again.
        on_news: is called about twice a second.

    Raises:
        NoInputError: nothing to read was found.
        RunError: a task cannot be done, or not all tasks compute alike; what is done stays in the plan's folder.
    """
    assert plan.options.engine is not None
    started = datetime.now(UTC)
    pseudonymiser, new_key = pseudonymiser_of(plan)
    folder = PlanFolder(plan_path(plan.out))
    with closing(folder):
        kept = _kept(folder, plan.options)
        with closing(open_engine(plan.options.engine, _for_engine(plan), folder.path)) as engine:
            sliced = kept or _sliced(folder, plan, engine)
            walk = bytes.fromhex(sliced.walk)
            keyed = pseudonymiser.content(walk) if pseudonymiser else sliced.walk
            driver = Driver(
                folder, sliced, engine, keyed, _asked_of_nodes(plan), patience=patience, notify=notify, on_news=on_news
            )
            if kept:
                notify(_goes_on(kept, driver.standing()))
            parts = driver.run()
            about = _about(engine, driver, parts)
        write_whole(folder.joining, "")
        with plan.upload or nullcontext() as upload:
            outcome = join(
                plan.at(upload.local) if upload else plan,
                parts,
                about,
                walk=WalkCounts(sliced.films, sliced.ignored, sliced.unopened),
                not_fetched=sliced.not_fetched,
                started=started,
                pseudonymiser=pseudonymiser,
                new_key=new_key,
            )
            if upload:
                upload.commit(overwrite=plan.options.overwrite)
        folder.delete()
    if plan.screener.store:
        plan.screener.store.close()
    return outcome


def plan_path(out: str) -> Path:
    """`<stem>.plan/` beside the table; for what is no file in the current folder."""
    path = Path(out)
    is_here = not is_address(out) and is_file(out)
    return path.with_name(path.stem + ".plan") if is_here else Path(path.stem + ".plan")


def tasks_for(films: int, room: int, device: str, wanted: int | None = None) -> int:
    """Into how many tasks films are cut.

    Args:
        room: tasks that can run at once.
        device: on which they run.
        wanted: by the user.
    """
    if wanted is not None:
        return min(wanted, films)
    most = FILMS_ON_GPU if device.startswith("cuda") else FILMS_ON_CPU
    return max(math.ceil(films / most), min(room * TASKS_OF_A_PLACE, math.ceil(films / LEAST_FILMS)))


def _check(options: PredictOptions, out: str) -> None:
    assert options.engine is not None
    check_installed(options.engine)
    if options.shard is not None:
        raise UsageError("--engine cuts the films into tasks itself; leave --shard out")
    if out == STDOUT:
        raise UsageError("--engine keeps its plan beside the table, so that it can go on; give --out a file")
    if options.key_map:
        raise UsageError(
            "--key-map is written where the films are read, and tasks keep no real UIDs under --pseudonymise: leave it "
            "out here; the same command without --engine writes it"
        )


def _is_same(plan: Sliced, options: PredictOptions) -> bool:
    return plan.asked == asked.digest(options) and plan.cxrzero == __version__


def _kept(folder: PlanFolder, options: PredictOptions) -> Sliced | None:
    """The plan to go on with, if there is one.

    Raises:
        UsageError: it is that of another command.
    """
    kept = folder.read()
    if kept and _is_same(kept, options):
        return kept
    if kept:
        raise UsageError(
            f"{folder.path} is the plan of another command, or of another version of cxrzero, that has not ended: give "
            "that command to go on, or delete the folder to give up what is done of it"
        )
    folder.clear()
    return None


def _sliced(folder: PlanFolder, plan: Plan, engine: Engine) -> Sliced:
    """Walk, once, and cut."""
    options, archives, objects = plan.options, plan.screener.archives, plan.screener.objects
    counts = WalkCounts()
    try:
        walked = write_walk(folder, plan.files(counts))
    finally:
        if archives:
            archives.close()
        if objects:
            objects.close()
    if not walked.films:
        raise nothing_found(plan, counts, pseudonymiser_of(plan)[0])
    # Jobs queue up, and how many will run at once nobody knows.
    room = 1 if engine.name == "slurm" else engine.room()
    tasks = tasks_for(walked.films, room, _for_engine(plan).device, options.tasks)
    sliced = Sliced(
        asked=asked.digest(options),
        options=asked.written(asked.task_options(options)),
        folder=os.getcwd(),
        host=socket.gethostname(),
        films=walked.films,
        walk=walked.digest.hex(),
        ignored=counts.ignored,
        unopened=counts.unopened,
        not_fetched=dict(sorted(archives.unfetched.items())) if archives else None,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        slices=cut(folder, walked, tasks),
    )
    save(folder, sliced)
    return sliced


def _for_engine(plan: Plan) -> PredictOptions:
    """The options, with the device that `auto` found where this machine does the work."""
    is_here = plan.options.device == "auto" and not is_elsewhere(plan.options)
    device = plan.screener.members[0].encoder.device if is_here else plan.options.device
    return dataclasses.replace(plan.options, device=device)


def _asked_of_nodes(plan: Plan) -> dict[str, Any]:
    """What every node's record must say; JSON has no tuples.

    The model in another precision than fp32, which this machine may not offer, is known to nodes alone.
    """
    of_question = plan.screener.decisive(plan.prompts)
    is_known = plan.options.precision == "fp32" or not is_elsewhere(plan.options)
    keys = of_question.keys() if is_known else {"preprocess", "scoring", "prompts"}
    found: dict[str, Any] = json.loads(json.dumps({key: of_question[key] for key in keys}))
    return {"cxrzero": __version__, **found}


def _goes_on(plan: Sliced, standing: Standing) -> str:
    return (
        f"Goes on with the plan of {plan.made}, of {counted(plan.films, 'film')}: {standing.tasks_done:,} of "
        f"{counted(standing.tasks, 'task')} done. Films that came since then are not in it."
    )


def _about(engine: Engine, driver: Driver, parts: Sequence[Part]) -> dict[str, Any]:
    """What the record says under `engine`."""
    nodes: dict[tuple[Any, ...], dict[str, Any]] = {}
    for part in parts:
        record = part.record
        node = record.get("node") or {}
        place = {"host": node.get("host"), "processor": node.get("processor"), "gpu": record.get("gpu")}
        found = nodes.setdefault(
            tuple(place.values()), {**place, "cpus": node.get("cpus"), "tasks": 0, "films": 0, "seconds": 0.0}
        )
        if "job" in node:
            found["jobs"] = sorted({*found.get("jobs", ()), node["job"]}, key=int)
        found["tasks"] += 1
        found["films"] += part.shard["files"]
        found["seconds"] = round(found["seconds"] + record["seconds"]["wall"], 3)
    return {
        "name": engine.name,
        "versions": dict(engine.versions),
        "tasks": len(parts),
        "retries": len(driver.events),
        "tried_again": driver.events.record(),
        "nodes": list(nodes.values()),
    }
