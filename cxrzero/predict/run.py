"""One prediction run from start to end: check everything, stream rows into the table, leave a record."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cxrzero.choices import Notify, silent
from cxrzero.errors import LabelError, NoInputError, RunError, UsageError
from cxrzero.files import check_file, write_json
from cxrzero.images.radiograph import DecodeOptions
from cxrzero.model.score import ProbabilityOnly, Scorer
from cxrzero.pipeline.items import RunStats
from cxrzero.pipeline.selection import Selection, parse_skip
from cxrzero.predict.config import PredictConfig
from cxrzero.predict.manifest import build_manifest, manifest_path
from cxrzero.predict.shardlog import ShardLog
from cxrzero.prediction import Prediction
from cxrzero.prompts import LabelPrompts
from cxrzero.screener import Screener
from cxrzero.sources import ImageRef, WalkCounts, check_paths, find_images
from cxrzero.tables.pseudonym import Pseudonymiser, default_key_file, load_key
from cxrzero.tables.rows import RowForm, row_form
from cxrzero.tables.studies import STUDY_COLUMNS, Studies
from cxrzero.tables.table import STDOUT, Table, check_output

if TYPE_CHECKING:
    from cxrzero.calibration.applied import AppliedCalibration

# Columns beside the probabilities (cxrzero.tables.rows.KINDS) of --calibration and of --scores.
CALIBRATION_KINDS = ("calibrated", "decision")
COSINE_KINDS = ("cos_pos", "cos_neg")
# A run that is over by then needs no time left, and is not slowed by a second walk.
COUNT_AFTER_S = 2.0
# Rows that the report keeps for a look at the result.
FIRST_ROWS = 12


class FailFastError(RunError):
    """--fail-fast: an image could not be read."""


@dataclass(slots=True)
class RunReport:
    """What a run is asked, is doing and did; the command line shows it.

    Attributes:
        calibration: of --calibration, checked against model and prompts.
        total: files to read; None until the walk that runs beside the encoder has counted them.
        first_rows: the first rows as they are written, FIRST_ROWS at most.
        first_failure: the first failed row.
        write_seconds: wall time spent writing rows.
        manifest: path of the run's record; None when the table goes to standard output.
        studies: path of the study-level table, if one was asked for.
        pseudonymiser: replaces paths and UIDs in everything that is shown or written.
        new_key: the key file, where --pseudonymise made one for this run.
        shardlog: of a sharded run, once it runs.
    """

    config: PredictConfig
    screener: Screener
    prompts: tuple[LabelPrompts, ...]
    layout: RowForm
    calibration: AppliedCalibration | None = None
    stats: RunStats = field(default_factory=RunStats)
    counts: WalkCounts = field(default_factory=WalkCounts)
    total: int | None = None
    wall_seconds: float = 0.0
    write_seconds: float = 0.0
    first_rows: list[Prediction] = field(default_factory=list)
    first_failure: Prediction | None = None
    manifest: Path | None = None
    studies: Path | None = None
    pseudonymiser: Pseudonymiser | None = None
    new_key: Path | None = None
    shardlog: ShardLog | None = None

    @property
    def is_empty_shard(self) -> bool:
        """Files were found, but none of them is this shard's: nothing went wrong."""
        return self.config.shard is not None and not self.stats.rows

    @property
    def exit_code(self) -> int:
        """0 all rows ok or skipped · 1 no row could be scored · 3 some rows failed (the contract)."""
        if self.is_empty_shard:
            return 0
        if not self.stats.ok:
            return 1
        return 3 if self.stats.failed else 0


def prepare(config: PredictConfig, notify: Notify = silent) -> RunReport:
    """Check all that can be checked before an image is read, and load the model.

    Args:
        notify: is told of notices before the run, such as the import of a checkpoint.

    Raises:
        UsageError: paths, labels or output are not usable.
        RunError: the model or the device is not, or the output cannot be written.
    """
    check_paths(config.paths)
    _check_shard(config)
    if config.pseudonym_key and not config.pseudonymise:
        raise UsageError("--pseudonym-key without --pseudonymise would write real paths and UIDs; give both")
    check_output(config.out, config.format, overwrite=config.overwrite)
    if config.out != STDOUT:
        check_file(manifest_path(config.out), overwrite=config.overwrite)
    studies = studies_path(config.out) if config.by == "study" else None
    if studies:
        check_output(str(studies), overwrite=config.overwrite)
    selection = Selection(parse_skip(config.skip), config.only)
    screener = Screener(
        config.model,
        device=config.device,
        backend=config.backend,
        precision=config.precision,
        batch_size=config.batch_size,
        workers=config.workers,
        decode_in=config.decode_in,
        decode_options=DecodeOptions(invert=config.invert),
        selection=selection,
        cache=config.cache,
        fast_decode=config.fast_decode,
        notify=notify,
    )
    prompts = screener.prompts(config.labels, config.prompts)
    taken = sorted({prompt.label for prompt in prompts} & set(STUDY_COLUMNS)) if studies else []
    if taken:
        raise LabelError(f"the label {taken[0]!r} has the name of a column of the study table; choose other words")
    kinds = (
        [*CALIBRATION_KINDS] * bool(config.calibration)
        + ["sd"] * screener.is_ensemble
        + [*COSINE_KINDS] * config.scores
    )
    layout = row_form([prompt.label for prompt in prompts], long=config.long, kinds=kinds)
    calibration = screener.calibration(config.calibration, prompts) if config.calibration else None
    return RunReport(config, screener, prompts, layout, calibration, studies=studies)


def _check_shard(config: PredictConfig) -> None:
    """Refuse what needs to see the other shards' files, or would write over their tables."""
    if config.shard is None:
        return
    if config.by == "study":
        raise UsageError("--by study needs all files of a study, and --shard may part them; leave one out")
    if "duplicate" in parse_skip(config.skip):
        raise UsageError("--skip duplicate needs to see all files, and --shard sees a part; leave one out")
    if config.long or config.format not in (None, "csv"):
        raise UsageError("--shard writes wide CSV tables, which cxrzero merge joins; leave out --long and --format")
    if config.out == PredictConfig(()).out or Path(config.out).suffix.lower() != ".csv":
        example = f"part-{config.shard.index}-of-{config.shard.count}.csv"
        raise UsageError(f"--shard needs a table of its own that ends in .csv; give for example --out {example}")


def find_files(config: PredictConfig, counts: WalkCounts | None = None) -> Iterator[ImageRef]:
    """The files that a run reads: all that are found, or those of its shard."""
    refs = find_images(config.paths, counts)
    return refs if config.shard is None else (ref for ref in refs if ref.path in config.shard)


def studies_path(out: str) -> Path:
    """`<stem>.studies.csv` beside the table.

    Raises:
        UsageError: the table goes to standard output.
    """
    if out == STDOUT:
        raise UsageError("--by study writes a second table, so --out must name a file")
    path = Path(out)
    return path.with_name(path.stem + ".studies.csv")


def run(report: RunReport, on_row: Callable[[RunReport], None] | None = None) -> None:
    """Score everything; write the table and its record.

    Args:
        report: from `prepare`; filled while the run goes on.
        on_row: called after each row.

    Raises:
        NoInputError: nothing to read was found.
        FailFastError: an image failed and config.fail_fast is set.
        OutputError: the table could not be written.

    Whatever ends the run early, the rows that are done stay in `<out>.partial`.
    """
    config = report.config
    started = time.perf_counter()
    if config.pseudonymise:
        path = config.pseudonym_key or default_key_file()
        key, is_new = load_key(path)
        report.pseudonymiser, report.new_key = Pseudonymiser(key), path if is_new else None
    scorer: Scorer = report.screener.classifier(report.prompts)
    if report.calibration:
        scorer = report.calibration(scorer)
    if not config.scores:
        scorer = ProbabilityOnly(scorer)
    refs = find_images(config.paths, report.counts)
    if config.shard:
        report.shardlog = ShardLog(config.out, config.shard, report.pseudonymiser)
        refs = report.shardlog.take(refs)
    first = next(refs, None)
    if first is None and not report.counts.found:
        ignored = f" ({report.counts.ignored:,} other files)" if report.counts.ignored else ""
        raise NoInputError(f"no image or DICOM file in {', '.join(config.paths)}{ignored}")
    if on_row:  # else nobody looks at the time left
        _count_beside(report)
    labels = [prompt.label for prompt in report.prompts]
    studies = Studies(labels, config.study_aggregate) if report.studies else None
    shardlog = report.shardlog
    table = Table(config.out, report.layout.columns, config.format, overwrite=config.overwrite)
    with shardlog or nullcontext(), table:
        files = itertools.chain([first], refs) if first else refs
        on_item = shardlog.note if shardlog else None
        rows = report.screener.stream(files, scorer, report.prompts, report.stats, on_item)
        with closing(rows):
            for row in rows:
                write_started = time.perf_counter()
                shown = report.pseudonymiser(row) if report.pseudonymiser else row
                for cells in report.layout.rows(shown):
                    table.write(cells)
                if studies:
                    studies.add(shown)
                report.write_seconds += time.perf_counter() - write_started
                if on_row:
                    on_row(report)
                if len(report.first_rows) < FIRST_ROWS:
                    report.first_rows.append(shown)
                _note_failure(report, shown)
        if studies:
            _write_studies(report, studies)
        if shardlog:
            shardlog.commit()
        table.commit()
    report.wall_seconds = time.perf_counter() - started
    if config.out != STDOUT:
        report.manifest = manifest_path(config.out)
        write_json(report.manifest, build_manifest(report))
    if report.screener.store:
        report.screener.store.close()


def _write_studies(report: RunReport, studies: Studies) -> None:
    with Table(str(report.studies), studies.columns, "csv", overwrite=report.config.overwrite) as table:
        for row in studies.rows():
            table.write(list(row.values()))
        table.commit()


def _note_failure(report: RunReport, row: Prediction) -> None:
    if row.status != "failed":
        return
    if report.first_failure is None:
        report.first_failure = row
    if report.config.fail_fast:
        raise FailFastError(f"stopped at {row['path']}: {row.error} (--fail-fast)")


def _count_beside(report: RunReport) -> None:
    """Count the files in a second walk beside the first, so that time left can be told without holding a list."""

    def count() -> None:
        report.total = sum(1 for _ in find_files(report.config))

    timer = threading.Timer(COUNT_AFTER_S, count)
    timer.daemon = True
    timer.start()
