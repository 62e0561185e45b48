"""One prediction run: stream rows into the table, leave a record."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrzero.errors import NoInputError, RunError, exit_code
from cxrzero.files import write_json
from cxrzero.model.score import ProbabilityOnly, Scorer
from cxrzero.pipeline.items import RunStats
from cxrzero.pipeline.live import Live, OnRow
from cxrzero.predict.manifest import build_manifest
from cxrzero.predict.output import Output
from cxrzero.predict.plan import Plan
from cxrzero.predict.shardlog import ShardLog
from cxrzero.prediction import Prediction
from cxrzero.sources import find_images
from cxrzero.tables.pseudonym import Pseudonymiser, default_key_file, load_key
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
        ignored: other files that the walk found.
        seconds, write_seconds: wall time of the run, and what of it went into writing rows.
        first_rows: the first rows as they are written.
        first_failure: the first failed row.
        shard: of a sharded run, for its record.
        new_key: the key file, where --pseudonymise made one for this run.
        studies: of --by study, what was joined.
    """

    stats: RunStats
    ignored: int
    seconds: float
    write_seconds: float
    first_rows: tuple[Prediction, ...]
    first_failure: Prediction | None = None
    shard: Mapping[str, Any] | None = None
    new_key: Path | None = None
    studies: StudySummary | None = None

    @property
    def is_empty_shard(self) -> bool:
        """Files were found, but none of them is this shard's: nothing went wrong."""
        return self.shard is not None and not self.stats.rows

    @property
    def exit_code(self) -> int:
        return 0 if self.is_empty_shard else exit_code(self.stats.ok, self.stats.failed)


def run(plan: Plan, on_row: OnRow | None = None, live: Live | None = None) -> Outcome:
    """Score everything; write the table and its record.

    Args:
        plan: from `cxrzero.predict.plan.prepare`.
        on_row: called after each row.
        live: filled while the run goes on, for a look at a run that was interrupted.

    Raises:
        NoInputError: nothing to read was found.
        FailFastError: an image failed and options.fail_fast is set.
        OutputError: the table could not be written.

    Whatever ends the run early, the rows that are done stay in `<out>.partial`.
    """
    started = time.perf_counter()
    live = live or Live()
    pseudonymiser, new_key = _pseudonymiser(plan)
    scorer = _scorer(plan)
    refs = find_images(plan.options.paths, live.walk)
    shardlog = ShardLog(plan.out, plan.options.shard, pseudonymiser) if plan.options.shard else None
    if shardlog:
        refs = shardlog.take(refs)
    first = next(refs, None)
    if first is None and not live.walk.found:
        ignored = f" ({live.walk.ignored:,} other files)" if live.walk.ignored else ""
        raise NoInputError(f"no image or DICOM file in {', '.join(plan.options.paths)}{ignored}")
    if on_row:  # else nobody looks at the time left
        _count_beside(plan, live)
    files = itertools.chain([first], refs) if first else refs
    with Output(plan, pseudonymiser, shardlog) as output:
        on_item = shardlog.note if shardlog else None
        with closing(plan.screener.stream(files, scorer, plan.prompts, live.stats, on_item)) as rows:
            for row in rows:
                shown = output.add(row)
                if on_row:
                    on_row(live)
                if shown.status == "failed" and plan.options.fail_fast:
                    raise FailFastError(f"stopped at {shown['path']}: {shown.error} (--fail-fast)")
        output.commit()
    outcome = Outcome(
        live.stats,
        live.walk.ignored,
        time.perf_counter() - started,
        output.seconds,
        tuple(output.first_rows),
        output.first_failure,
        shardlog.record() if shardlog else None,
        new_key,
        output.studies,
    )
    if plan.record:
        write_json(plan.record, build_manifest(plan, outcome))
    if plan.screener.store:
        plan.screener.store.close()
    return outcome


def _pseudonymiser(plan: Plan) -> tuple[Pseudonymiser | None, Path | None]:
    """What replaces paths and UIDs in everything that is shown or written, and its key file where that is new."""
    if not plan.options.pseudonymise:
        return None, None
    path = plan.options.pseudonym_key or default_key_file()
    key, is_new = load_key(path)
    return Pseudonymiser(key), path if is_new else None


def _scorer(plan: Plan) -> Scorer:
    scorer: Scorer = plan.screener.classifier(plan.prompts)
    if plan.calibration:
        scorer = plan.calibration(scorer)
    return scorer if plan.options.scores else ProbabilityOnly(scorer)


def _count_beside(plan: Plan, live: Live) -> None:
    """Count the files in a second walk beside the first, so that time left can be told without holding a list."""

    def count() -> None:
        live.total = sum(1 for _ in plan.files())

    timer = threading.Timer(COUNT_AFTER_S, count)
    timer.daemon = True
    timer.start()
