"""What is done next, until all rows are measured or the time is over. Standard library only.

While one process measures, the next loads its libraries and waits, and others make models and films. A row is in the
log as soon as its process tells it; a process that fails, or takes longer than it may, ends alone.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu import plan
from benchmarks.gpu.child import PATIENCE, ROOT, Child, parsed
from benchmarks.gpu.log import Log
from benchmarks.gpu.plan import Job, Scale
from benchmarks.gpu.worker import done
from benchmarks.wheels import WheelsError, install, join_each

RESERVE = 6.0  # seconds kept for ending
TICK = 0.2
MAKERS = 3  # programs that make films and models at once; the first models should not wait for the last
AHEAD = 10  # jobs of which one may come before its turn, while others wait for their model
WAIT_FOR_PROBE = 90.0
MOST_ERRORS = 4000  # characters


class Runner:
    """One run.

    Args:
        deadline: by time.monotonic.
        lacks: what the machine lacks, with the reason.
    """

    def __init__(
        self, scale: Scale, work: Path, log: Log, deadline: float, environment: dict[str, str], lacks: dict[str, str]
    ) -> None:
        self._scale, self._work, self._log, self._deadline = scale, work, log, deadline
        self._environment, self._lacks = environment, lacks
        self._to_make: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []  # see plan.makers
        self._makers: dict[str, Child] = {}  # by mark
        self._broken: dict[str, str] = {}  # mark → why it will not come
        self._ahead: dict[Job, Child] = {}

    def run(self, jobs: list[Job]) -> None:
        waiting = list(jobs)
        try:
            able = [job for job in jobs if not self._lacks.keys() & {*job.needs}]
            self._plan_making({mark for job in able for mark in job.marks})
            while waiting:
                self._make()
                job = self._choose(waiting)
                if job is None:
                    time.sleep(TICK)
                    continue
                waiting.remove(job)
                if why := self._obstacle(job):
                    self._miss(job.rows, why)
                else:
                    self._measure(job, waiting)
        except KeyboardInterrupt:
            for job in waiting:
                self._miss(job.rows, "the run was ended from outside")
        finally:
            for child in {*self._makers.values(), *self._ahead.values()}:
                child.end()

    def _plan_making(self, wanted: set[str]) -> None:
        """What jobs need of films and models, and which of it cannot be made here."""
        for program, arguments, marks in plan.makers(self._scale):
            if all(done(self._work, mark).exists() for mark in marks):  # by an earlier run with this folder
                continue
            if program == "models" and "models" in self._lacks:
                self._broken |= dict.fromkeys(marks, f"no model could be made: {self._lacks['models']}")
            elif wanted if program == "films" else wanted & {*marks}:
                self._to_make.append((program, arguments, marks))
        if "dicom" in self._lacks:
            self._broken |= dict.fromkeys(("explicit", "jpeg2000"), self._lacks["dicom"])

    def _make(self) -> None:
        """Start as many programs as may run at once."""
        while self._to_make and sum(not child.is_over for child in {*self._makers.values()}) < MAKERS:
            program, arguments, marks = self._to_make.pop(0)
            child = self._start(program, arguments, " ".join((program, *arguments)))
            self._makers |= dict.fromkeys(marks, child)

    def _choose(self, waiting: Sequence[Job]) -> Job | None:
        """The first whose films and models are there, or that cannot be measured; None while the first AHEAD wait."""
        for job in waiting[:AHEAD]:
            if self._obstacle(job) or all(done(self._work, mark).exists() for mark in job.marks):
                return job
        return None

    def _obstacle(self, job: Job) -> str | None:
        for need in job.needs:
            if need in self._lacks:
                return self._lacks[need]
        for mark in job.marks:
            if mark in self._broken:
                return self._broken[mark]
            maker = self._makers.get(mark)
            if maker is not None and maker.is_over and not done(self._work, mark).exists():
                self._broken[mark] = f"{mark} could not be made: {maker.end() or 'its program ended early'}"
                return self._broken[mark]
        if (left := self._left) < job.least:
            return f"no time is left: {max(0.0, left):.0f} s, at least {job.least:.0f} s are needed"
        return None

    @property
    def _left(self) -> float:
        return self._deadline - RESERVE - time.monotonic()

    def _measure(self, job: Job, waiting: Sequence[Job]) -> None:
        """Let one process tell its rows; the next one loads meanwhile."""
        until = time.monotonic() + min(job.limit, self._left)
        self._pause(job.quiet)
        child = self._ahead.pop(job, None) or self._start(job.program, job.arguments, job.name)
        told: set[str] = set()
        why = ""
        try:
            if job.keeps is not None:
                self._take_down(job, job.keeps, child, until, told)
            else:
                self._listen(child, until, told, None if job.quiet else self._next(waiting))
        except TimeoutError:
            why = f"took longer than {job.limit:.0f} s" if self._left > TICK else "the time was over"
        finally:
            failed = child.end(0.0 if why else PATIENCE)
            self._pause(False)
            missing = [name for name in job.rows if name not in told]
            if missing:
                self._miss(missing, why or failed or "its program ended without telling")
            elif why or failed:
                self._log.add({"note": f"{job.name}: {why or failed}"})

    def _listen(self, child: Child, until: float, told: set[str], following: Job | None) -> None:
        for line in child.lines(until):
            entry = parsed(line)
            if "ready" in entry:
                child.go()
                if following is not None and following not in self._ahead:
                    self._ahead[following] = self._start(following.program, following.arguments, following.name)
            elif "row" in entry:
                told.add(entry["row"])
                if "error" in entry:
                    self._log.add({"missing": entry["row"], "why": entry["error"]})
                else:
                    self._log.add(entry)

    def _take_down(self, job: Job, keeps: str, child: Child, until: float, told: set[str]) -> None:
        """What a program says that knows nothing of rows."""
        for line in child.lines(until):
            if re.search(keeps, line):
                self._log.add({"row": job.rows[0], "says": line.strip()})
                told.add(job.rows[0])

    def _next(self, waiting: Sequence[Job]) -> Job | None:
        job = self._choose(waiting)
        return None if job is None or job.quiet or job.keeps is not None or self._obstacle(job) else job

    def _pause(self, is_paused: bool) -> None:
        for child in {*self._makers.values(), *self._ahead.values()}:
            child.pause(is_paused)

    def _start(self, program: str, arguments: Sequence[str], name: str) -> Child:
        command = ["-m", f"benchmarks.gpu.{program}", "--work", str(self._work), "--device", self._scale.device]
        seconds = self._scale.whole_seconds if program == "whole" else self._scale.seconds
        command += ["--seconds", str(seconds), *arguments]
        if program == "-m" or program.endswith(".py"):  # not one of this folder
            command = [program, *arguments]
        errors = self._work / "errors" / re.sub(r"[^\w.]+", "-", name)
        errors.parent.mkdir(exist_ok=True)
        return Child(command, self._environment, errors)

    def _miss(self, rows: Sequence[str], why: str) -> None:
        for name in rows:
            self._log.add({"missing": name, "why": why})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, help="folder of wheels, whole or in parts, to install and measure with")
    parser.add_argument("--seconds", type=float, default=400.0, help="after which it has ended")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of gpu.jsonl, gpu.md, errors.txt")
    parser.add_argument("--only", help="a regular expression of the rows to measure")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu rehearses with tiny sizes")
    parser.add_argument("--work", type=Path, help="keeps films and models, and what programs said last")
    args = parser.parse_args()
    deadline = time.monotonic() + args.seconds
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    scale = plan.FULL if args.device == "cuda" else plan.REHEARSAL
    work = args.work or Path(tempfile.mkdtemp(prefix="gpu"))
    work.mkdir(parents=True, exist_ok=True)
    log = Log(args.out / "gpu.jsonl")
    jobs = wanted(plan.jobs(scale), args.only)
    try:
        environment = prepared(args.wheels, work, log)
        lacks = probed(scale, work, log, environment)
        Runner(scale, work.resolve(), log, deadline, environment, lacks).run(jobs)
        summarise(args.out, log, jobs, args.seconds - (deadline - time.monotonic()))
    finally:
        keep_errors(work / "errors", args.out / "errors.txt")
        if args.work is None:
            shutil.rmtree(work, ignore_errors=True)


def wanted(jobs: list[Job], only: str | None) -> list[Job]:
    """Jobs of which a row is asked for."""
    return [job for job in jobs if only is None or any(re.search(only, name) for name in job.rows)]


def prepared(wheels: Path | None, work: Path, log: Log) -> dict[str, str]:
    """The environment of all programs, with the wheels before everything else."""
    site = work / "site"
    site.mkdir(exist_ok=True)
    if wheels is not None:
        started = time.monotonic()
        for name, why in join_each(wheels).items():  # the others are installed all the same
            log.add({"missing": name, "why": why})
        try:
            names = [wheel.name for wheel in install(wheels, site, join_first=False)]
            log.add({"note": "wheels installed", "names": names, "seconds": time.monotonic() - started})
        except WheelsError as error:
            log.add({"missing": "wheels", "why": str(error)})
    before = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(site.resolve()), str(ROOT), *([before] if before else [])])
    own = {"CXRZERO_CACHE_DIR": str(work / "cache"), "CXRZERO_MODELS_DIR": str(work / "models")}
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **own}


def probed(scale: Scale, work: Path, log: Log, environment: dict[str, str]) -> dict[str, str]:
    """What the machine lacks; the machine itself goes into the log."""
    errors = work / "errors" / "probe"
    errors.parent.mkdir(exist_ok=True)
    site = str((work / "site").resolve())
    child = Child(["-m", "benchmarks.gpu.probe", "--device", scale.device, "--site", site], environment, errors)
    try:
        found = [
            entry for line in child.lines(time.monotonic() + WAIT_FOR_PROBE) if "machine" in (entry := parsed(line))
        ]
    except TimeoutError:
        found = []
    failed = child.end(PATIENCE)
    if not found:
        raise SystemExit(f"the machine could not be looked at: {failed or 'it took too long'}")
    log.add(found[0])
    lacks: dict[str, str] = found[0]["lacks"]
    return lacks


def summarise(out: Path, log: Log, jobs: Sequence[Job], seconds: float) -> None:
    """Name what is missing, and write the tables."""
    from benchmarks.gpu import table
    from benchmarks.gpu.log import read

    entries = read(out / "gpu.jsonl")
    rows = [entry["row"] for entry in entries if "row" in entry]
    missing = {name: "not told" for job in jobs for name in job.rows if name not in rows}
    missing |= {entry["missing"]: entry["why"] for entry in entries if "missing" in entry}
    (out / "gpu.md").write_text(table.tables(entries), encoding="utf-8")
    log.add({"end": f"{len(rows)} rows measured, {len(missing)} missing", "seconds": seconds, "missing_rows": missing})


def keep_errors(folder: Path, out: Path) -> None:
    """The end of what each program wrote on standard error, for whoever asks why; it may name the machine's folders."""
    said = {path.name: path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.glob("*"))}
    parts = [f"== {name}\n{text[-MOST_ERRORS:]}\n" for name, text in said.items() if text.strip()]
    out.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
