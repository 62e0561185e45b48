"""One prediction run: stream rows into the table, leave a record."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cxrzero.errors import NoInputError, RunError, exit_code
from cxrzero.files import write_json
from cxrzero.model.score import ProbabilityOnly, Scorer
from cxrzero.pipeline.items import Item, RunStats
from cxrzero.pipeline.live import Live, OnRow
from cxrzero.places.kind import shown
from cxrzero.predict.commandline import command_line
from cxrzero.predict.growing import GrowingTable, Growth
from cxrzero.predict.highest import Highest
from cxrzero.predict.inputs import Inputs, picture_line
from cxrzero.predict.kept import kept_rows
from cxrzero.predict.manifest import begun_manifest, build_manifest
from cxrzero.predict.output import Output
from cxrzero.predict.plan import Plan
from cxrzero.predict.shard import Slice
from cxrzero.predict.shardlog import ShardLog
from cxrzero.prediction import Prediction
from cxrzero.sources import ImageRef, WalkCounts, find_images
from cxrzero.tables.pseudonym import Pseudonymiser, load_key
from cxrzero.tables.studies import StudySummary

# A run that is over by then needs no time left, and is not slowed by a second walk.
COUNT_AFTER_S = 2.0


class FailFastError(RunError):
    """--fail-fast: an image could not be read."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did.

    Attributes:
        stats: rows by status, and the seconds of decoding and encoding.
        walk: what it ignored.
        started, ended: when, in UTC.
        seconds, write_seconds: wall time of the run, and what of it went into writing rows.
        inputs: what stands for all that was read (`cxrzero.predict.inputs`); None of --embeddings, which reads no film.
        command: the command line, for the record.
        table_sha256, studies_sha256: of the tables, as they were written; a database has none.
        highest: the highest films of each label, as they are written; highest_studies: of --by study, the same.
        first_failure: the first failed row.
        shard: of a sharded run, for its record.
        new_key: the key file, where --pseudonymise made one for this run.
        studies: of --by study, what was joined.
        growth: of a database, what was added.
        notices: of the caches of tasks, what there is to say (`cxrzero.cache.store.Store`).
    """

    stats: RunStats
    walk: WalkCounts
    started: datetime
    ended: datetime
    seconds: float
    write_seconds: float
    inputs: Mapping[str, Any] | None
    command: str
    table_sha256: str | None
    highest: Highest
    highest_studies: Highest | None = None
    studies_sha256: str | None = None
    first_failure: Prediction | None = None
    shard: Mapping[str, Any] | None = None
    new_key: Path | None = None
    studies: StudySummary | None = None
    growth: Growth | None = None
    notices: Sequence[str] = ()

    @property
    def is_empty_shard(self) -> bool:
        """Files were found, but none of them is this shard's: nothing went wrong."""
        return self.shard is not None and not self.stats.rows

    @property
    def exit_code(self) -> int:
        return 0 if self.is_empty_shard else exit_code(self.stats.ok, self.stats.failed)


def run(plan: Plan, on_row: OnRow | None = None, live: Live | None = None, part: Slice | None = None) -> Outcome:
    """Score everything; write the table and its record.

    Args:
        plan: from `cxrzero.predict.plan.prepare`.
        on_row: called after each row.
        live: filled while the run goes on, for a look at a run that was interrupted.
        part: read these films in place of those of the plan's paths; the plan's models stay open for other parts.

    Raises:
        NoInputError: nothing to read was found.
        FailFastError: an image failed and options.fail_fast is set.
        OutputError, DatabaseError: the table could not be written.
        RemoteError: the table could not be sent to its store; it is kept here.

    Whatever ends the run early, the rows that are done stay in `<out>.partial`, or in the database.
    """
    live = live or Live()
    with plan.screener.archives or nullcontext(), plan.screener.objects or nullcontext():
        if plan.upload is None:
            return _run(plan, on_row, live, part)
        with plan.upload as upload:
            outcome = _run(plan.at(upload.local), on_row, live, part)
            upload.commit(overwrite=plan.options.overwrite)
        return outcome


def _run(plan: Plan, on_row: OnRow | None, live: Live, part: Slice | None) -> Outcome:
    started, started_at = time.perf_counter(), datetime.now(UTC)
    pseudonymiser, new_key = pseudonymiser_of(plan, make_key=part is None)
    scorer = scorer_of(plan)
    archives, objects = plan.screener.archives, plan.screener.objects
    shard = part or plan.options.shard
    shardlog = ShardLog(plan.out, shard, pseudonymiser) if shard else None
    refs = find_images(plan.options.paths, live.walk, archives, objects)
    if shardlog:
        refs = shardlog.take(refs)
    files = refs if part or plan.kept else _some(refs, plan, live, pseudonymiser)
    command = command_line(plan.options, pseudonymiser)
    inputs = Inputs()
    picture = ""

    def on_item(item: Item) -> None:
        nonlocal picture
        picture = picture_line(item, pseudonymiser)
        inputs.add(picture)
        if shardlog:
            shardlog.note(item, picture)

    with ExitStack() as opened:
        growing = None
        if plan.is_growing:
            growing = opened.enter_context(GrowingTable(plan.out, begun_manifest(plan, command, started_at)))
        # The second walk is for the time left, which nobody looks at without `on_row`; no server lists twice for that.
        is_counted = on_row is not None and not (archives or objects or part or plan.kept)
        total = _counted_beside(plan, live) if is_counted else nullcontext()
        with total, Output(plan, pseudonymiser, shardlog, growing) as output:
            with closing(_rows(plan, files, scorer, live, on_item)) as rows:
                for row in rows:
                    shown = output.add(row, picture)
                    if on_row:
                        on_row(live)
                    if shown.status == "failed" and plan.options.fail_fast:
                        raise FailFastError(f"stopped at {shown['path']}: {shown.error} (--fail-fast)")
            output.commit()
        outcome = Outcome(
            live.stats,
            walk=live.walk,
            started=started_at,
            ended=datetime.now(UTC),
            seconds=time.perf_counter() - started,
            write_seconds=output.seconds,
            inputs=None if plan.kept else inputs.record(),
            command=command,
            table_sha256=output.table_sha256,
            studies_sha256=output.studies_sha256,
            highest=output.highest,
            highest_studies=output.highest_studies,
            first_failure=output.first_failure,
            shard=shardlog.record() if shardlog else None,
            new_key=new_key,
            studies=output.studies,
            growth=growing.growth() if growing else None,
        )
        if plan.record:
            write_json(plan.record, build_manifest(plan, outcome))
        if growing:
            growing.end(build_manifest(plan, outcome))
    if plan.screener.store and part is None:
        plan.screener.store.close()
    return outcome


def _rows(
    plan: Plan, files: Iterator[ImageRef], scorer: Scorer, live: Live, on_item: Callable[[Item], None]
) -> Generator[Prediction, None, None]:
    """The rows of films that are read, or whose embeddings are kept."""
    if plan.kept is None:
        return plan.screener.stream(files, scorer, plan.prompts, live.stats, on_item)
    live.total = plan.kept.n_rows
    labels = dict.fromkeys(prompt.label for prompt in plan.prompts)
    return kept_rows(plan.kept, scorer, labels, plan.screener.selection, live.stats)


def pseudonymiser_of(plan: Plan, *, make_key: bool = True) -> tuple[Pseudonymiser | None, Path | None]:
    """What replaces paths and UIDs in everything that is shown or written, and its key file where that is new."""
    if not plan.options.pseudonymise:
        return None, None
    path = plan.key_file
    key, is_new = load_key(path, make=make_key)
    return Pseudonymiser(key), path if is_new else None


def scorer_of(plan: Plan) -> Scorer:
    """What makes the columns of the table of embeddings."""
    scorer: Scorer = plan.screener.classifier(plan.prompts)
    if plan.calibration:
        scorer = plan.calibration(scorer)
    return scorer if plan.options.scores else ProbabilityOnly(scorer)


def _some(refs: Iterator[ImageRef], plan: Plan, live: Live, pseudonymiser: Pseudonymiser | None) -> Iterator[ImageRef]:
    """The files, of which there must be any in the whole walk.

    Raises:
        NoInputError: nothing to read was found.
    """
    first = next(refs, None)
    if first is None and not live.walk.found:
        raise nothing_found(plan, live.walk, pseudonymiser)
    return itertools.chain([first], refs) if first else refs


def nothing_found(plan: Plan, walk: WalkCounts, pseudonymiser: Pseudonymiser | None) -> NoInputError:
    """The error where the whole walk had no film."""
    ignored = f" ({walk.left_out()})" if walk.ignored else ""
    archives = plan.screener.archives
    if archives and archives.unfetched:
        ignored += f"; not fetched: {archives.left_out()}"
    elif archives and plan.options.query:
        ignored += "; the archive has no film that --query asks for, or does not understand it"
    given = map(pseudonymiser.argument if pseudonymiser else shown, plan.options.paths)
    return NoInputError(f"no image or DICOM file in {', '.join(given)}{ignored}")


@contextmanager
def _counted_beside(plan: Plan, live: Live) -> Iterator[None]:
    """Count the files in a second walk beside the first, so that time left can be told without holding a list."""

    def count() -> None:
        with suppress(NoInputError):  # a list went away meanwhile; the run itself says so, or does not need it any more
            live.total = sum(1 for _ in plan.files())

    timer = threading.Timer(COUNT_AFTER_S, count)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
