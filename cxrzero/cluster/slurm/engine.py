"""`--engine slurm=partition=cpu,time=60`, as the driver has it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

from cxrzero.cluster.engine import Ended, LostError, NodeError, Task
from cxrzero.cluster.plan import RESULTS
from cxrzero.cluster.results import part_folder
from cxrzero.cluster.slurm import queue
from cxrzero.cluster.slurm.job import JOBS, Said, carry, news_file
from cxrzero.cluster.slurm.queue import SlurmError
from cxrzero.errors import MissingExtraError, UsageError
from cxrzero.files import cannot_write, make_private
from cxrzero.predict.options import PredictOptions
from cxrzero.predict.sbatch import CPUS, Sbatch, parse_sbatch

LOOK_S = 0.5  # into the folder, for results
ASK_S = 5.0  # squeue, which sites want to be asked seldom
# What another machine wrote shows when the file system's caches have seen it; those of NFS take up to a minute.
LATE_S = 90.0
PATIENCE_S = 900.0  # where Slurm does not answer; its controller starts again within minutes

# How a job ended, in Slurm's words → what that means, and what to do.
MEANINGS = {
    "BOOT_FAIL": "was on a node that did not start",
    "CANCELLED": "was cancelled",
    "DEADLINE": "reached its deadline",
    "NODE_FAIL": "was on a node that failed",
    "OUT_OF_MEMORY": "needed more memory than it has: give more, --engine slurm=mem=SIZE",
    "PREEMPTED": "had to make room for others",
    "TIMEOUT": "reached its time limit: give more, --engine slurm=time=MINUTES, or cut smaller slices with --tasks",
}


def open_slurm(more: str, options: PredictOptions, folder: Path) -> SlurmEngine:
    """See `cxrzero.cluster.open.open_engine`; `more` is what each job is given (`cxrzero.predict.sbatch`)."""
    wishes = parse_sbatch(more)
    if options.workers and CPUS not in dict(wishes.options):
        wishes = replace(wishes, options=(*wishes.options, (CPUS, str(options.workers))))
    return SlurmEngine(folder, wishes)


class SlurmEngine:
    """The jobs of one run. See `cxrzero.cluster.engine.Engine`.

    Args:
        plan: folder of the plan, on a file system that all nodes share.
        wishes: what each job is given.

    Raises:
        MissingExtraError: submitit is not installed.
        UsageError: Slurm could not write into such a folder.
        RunError: Slurm's commands are not here, or it does not answer.
    """

    name = "slurm"

    def __init__(self, plan: Path, wishes: Sbatch) -> None:
        try:
            import submitit
        except ModuleNotFoundError:
            raise MissingExtraError("submitit", "slurm") from None
        queue.check_commands()
        self._plan = plan.absolute()
        self._folder, self._results = self._plan / JOBS, self._plan / RESULTS
        if "%" in str(self._folder):
            raise UsageError(f"{self._plan}: Slurm puts numbers in the place of % in a path; choose another --out")
        make_private(self._folder)
        make_private(self._results)
        self.versions = {"submitit": submitit.__version__, "slurm": queue.version()}
        # Everybody can see a job's name. This one tells nothing, and finds what an earlier driver of the plan left.
        self._job_name = f"cxrzero-{hashlib.sha256(os.fsencode(self._plan)).hexdigest()[:12]}"
        self._most = min(wishes.jobs, queue.most_of_an_array())
        self._executor = _executor(self._folder, self._job_name, wishes)
        self._waiting: dict[int, Task] = {}
        self._submitted: dict[int, Any] = {}
        self._cancelled: list[Ended] = []
        self._seen: Mapping[str, queue.Job] = {}
        self._films: Mapping[int, int] = {}
        self._asked = self._answered = time.monotonic()
        self._send_at = 0.0
        self._missed_since: dict[str, float] = {}
        self._left = self._jobs_left()

    def room(self) -> int:
        return self._most - len(self._waiting) - len(self._submitted)

    def submit(self, task: Task, number: int) -> None:
        if job := self._left.pop(task.number, None):
            self._submitted[number] = job  # it waited or ran while there was no driver
            return
        if not self._waiting and not self._submitted:
            self._answered = time.monotonic()  # after a walk of half an hour, its patience begins anew
        self._waiting[number] = task

    def ended(self, timeout: float) -> list[Ended]:
        self._send()
        end = time.monotonic() + timeout
        while not (ended := self._take_ended()) and (left := end - time.monotonic()) > 0:
            time.sleep(min(LOOK_S, left))
        return ended

    def progress(self) -> Mapping[int, int]:
        return self._films

    def cancel(self, number: int) -> None:
        if self._waiting.pop(number, None):
            self._cancelled.append(Ended(number, LostError("cancelled before it was submitted")))
        elif job := self._submitted.get(number):
            queue.cancel([job.job_id])
            self._seen = {**self._seen, job.job_id: queue.CANCELLED}

    def close(self) -> None:
        """Cancel by the jobs' name: then one is found, too, whose submission was interrupted."""
        self._waiting, self._submitted, self._left = {}, {}, {}
        end = time.monotonic() + LATE_S
        while active := [job for job, seen in queue.jobs_named(self._job_name).items() if not seen.is_over]:
            if time.monotonic() > end:
                raise SlurmError(f"{len(active):,} jobs do not end, among them {active[0]}; look at squeue")
            queue.cancel(active)
            time.sleep(LOOK_S)

    def _jobs_left(self) -> dict[int, Any]:
        """Jobs of an earlier driver that wait or run, by their slice; those of another plan in this place are ended."""
        import submitit

        active = [job for job, seen in queue.jobs_named(self._job_name).items() if not seen.is_over]
        jobs: list[submitit.Job[Said]] = [submitit.SlurmJob(self._folder, job) for job in active]
        queue.cancel(job.job_id for job in jobs if not job.paths.submitted_pickle.exists())
        return {job.submission().args[1]: job for job in jobs if job.paths.submitted_pickle.exists()}

    def _send(self) -> None:
        """Submit what waits as one array. Where Slurm cannot just now, it is tried again, for `PATIENCE_S`."""
        now = time.monotonic()
        if not self._waiting or now < self._send_at:
            return
        numbers = [task.number for task in self._waiting.values()]
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):  # submitit prints what sbatch says
                jobs = self._executor.map_array(carry, repeat(self._plan), numbers)
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        except RuntimeError as error:
            why = queue.last_line(said.getvalue() or str(error))
            if queue.may_pass(why) and now - self._answered < PATIENCE_S:
                self._send_at = now + ASK_S
                return
            raise SlurmError(f"sbatch: {why}") from None
        self._submitted.update(zip(self._waiting, jobs, strict=True))
        self._waiting, self._answered = {}, time.monotonic()

    def _take_ended(self) -> list[Ended]:
        ended, self._cancelled = self._cancelled, []
        self._ask()
        here = {*os.listdir(self._folder), *os.listdir(self._results)}
        for number, job in list(self._submitted.items()):
            if job.paths.result_pickle.name in here and (said := self._said(number, job, here)):
                ended.append(said)
            elif self._is_over(job.job_id):
                ended.append(self._lost(number, job, here))
            else:
                continue
            del self._submitted[number]
        return ended

    def _ask(self) -> None:
        """Look at the queue. While Slurm does not answer, what it said last is taken to hold, for `PATIENCE_S`."""
        if not self._submitted or time.monotonic() - self._asked < ASK_S:
            return
        self._asked = time.monotonic()
        try:
            seen = queue.jobs_named(self._job_name)
            # Slurm does not list a job of an array that was cancelled before it began.
            gone = (job for job, was in self._seen.items() if was.has_not_begun and job not in seen)
            self._seen = seen | dict.fromkeys(gone, queue.CANCELLED)
        except SlurmError:
            if self._asked - self._answered > PATIENCE_S:
                raise
        else:
            self._answered = self._asked
        running = {number: job.job_id for number, job in self._submitted.items() if self._runs(job.job_id)}
        self._films = {number: _films(news_file(self._plan, job)) for number, job in running.items()}

    def _runs(self, job: str) -> bool:
        return job in self._seen and self._seen[job].runs

    def _is_over(self, job: str) -> bool:
        """Whether no result will come. One that should be there may be late, as may be news of a new job."""
        seen, now = self._seen.get(job), time.monotonic()
        if seen and seen.will_never_start:
            raise SlurmError(f"job {job} waits for what will not come ({seen.reason}); look at --engine slurm=…")
        if seen and not seen.is_over:
            self._missed_since.pop(job, None)
            return False
        if seen and seen.state != "COMPLETED":
            return True
        return now - self._missed_since.setdefault(job, now) > LATE_S

    def _said(self, number: int, job: Any, here: set[str]) -> Ended | None:
        """What a job said; None where its result is not seen yet, which is then late, too."""
        try:
            said: Said = job.result()
        except RuntimeError:  # submitit hands on the traceback of a job that came to no word of ours
            why = (
                f"job {job.job_id} could not begin, though Python did: is cxrzero there? Its log is {job.paths.stderr}"
            )
            return Ended(number, NodeError(why))
        if not said.error and part_folder(self._results, said.slice).name not in here:
            return None
        if not said.error:
            for path in self._folder.glob(f"{job.job_id}[._]*"):
                path.unlink(missing_ok=True)
        return Ended(number, said.error, said.node)

    def _lost(self, number: int, job: Any, here: set[str]) -> Ended:
        seen = self._seen.get(job.job_id, queue.Job("", "", ""))
        who, log = f"job {job.job_id}" + (f" on {seen.node}" if seen.node else ""), job.paths.stderr
        if seen.state in MEANINGS:
            why = f"{who} {MEANINGS[seen.state]}"
        elif log.name not in here:
            why = f"{who} left nothing in {self._folder}: put --out where every node sees it under the same path"
        else:
            why = f"{who} ended without a result ({seen.state.lower() or 'forgotten by Slurm'}); its log is {log}"
        return Ended(number, LostError(why), seen.node)


def _films(news: Path) -> int:
    """How many films a job says that it has done; 0 where it has said nothing yet, or just writes."""
    try:
        return int(news.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return 0


def _executor(folder: Path, name: str, wishes: Sbatch) -> Any:
    """submitit's writer of batch scripts, with none of its own wishes, such as five minutes of time."""
    import submitit

    executor = submitit.SlurmExecutor(folder, max_num_timeout=0)
    executor.update_parameters(
        job_name=name,
        time=None,
        wckey=None,
        use_srun=False,  # srun would not hand on cpus-per-task, and there is nothing here that needs it
        array_parallelism=wishes.jobs,
        additional_parameters={"no-requeue": True, **dict(wishes.options)},
    )
    return executor
