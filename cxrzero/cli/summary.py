"""What `cxrzero predict` says before and after a run, on standard error."""

from __future__ import annotations

import itertools

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cxrzero.predict.manifest import each_once
from cxrzero.predict.run import RunReport, find_files
from cxrzero.prediction import Prediction
from cxrzero.sources import WalkCounts
from cxrzero.tables.table import STDOUT

SHOWN_PATH = 28
COLUMN_GAP = 2

console = Console(stderr=True, soft_wrap=True, highlight=False)


def print_plan(report: RunReport) -> None:
    """--dry-run: what would be read, asked and written."""
    counts = WalkCounts()
    files = find_files(report.config, counts)
    first = list(itertools.islice(files, 5))
    total = len(first) + sum(1 for _ in files)
    shard = f" in shard {report.config.shard} of {counts.found:,}" if report.config.shard else ""
    console.print(f"Would read   {total:,} files{shard} ({counts.ignored:,} other files ignored)")
    for ref in first:
        console.print(f"             {escape(ref.path)}")
    console.print(f"Would ask    {len(report.prompts)} labels, {_models(report)}")
    for prompt in report.prompts:
        console.print(
            f"             {escape(' | '.join(prompt.positive))}  against  {escape(' | '.join(prompt.negative))}"
        )
    if any(member.own(report.prompts) != report.prompts for member in report.screener.members):
        console.print("             these are the first model's; each other one is asked by its own templates")
    if report.calibration:
        console.print(
            f"Would decide by {escape(str(report.config.calibration))}, fitted for this model and these prompts"
        )
        _print_gaps(report)
    console.print(f"Would run    {_engine(report)}")
    console.print(f"Would write  {escape(report.config.out)}")


def print_start(report: RunReport) -> None:
    console.print(f"{_models(report)[0].upper()}{_models(report)[1:]}, {len(report.prompts)} labels, {_engine(report)}")
    _print_gaps(report)


def _print_gaps(report: RunReport) -> None:
    for gap in report.calibration.gaps() if report.calibration else ():
        console.print(f"Note: {escape(gap)}", style="yellow")


def print_end(report: RunReport) -> None:
    """The closing summary: counts, rate, where the time went, and the first rows."""
    stats, seconds = report.stats, report.wall_seconds
    if report.config.out != STDOUT:
        _print_rows(report)
    console.print(
        f"{stats.rows:,} rows: {stats.ok:,} ok, {stats.failed:,} failed, {stats.skipped:,} skipped; "
        f"{report.counts.ignored:,} other files ignored"
    )
    console.print(f"Embeddings: cached {stats.cached:,}, embedded {stats.embedded:,}")
    for notice in report.screener.store.notices if report.screener.store else ():
        console.print(f"Note: {escape(notice)}", style="yellow")
    console.print(
        f"{seconds:.1f} s, {stats.rows / seconds:.1f} images/s (decode {stats.decode_seconds:.1f} s over "
        f"{report.screener.workers} {report.screener.decode_in}, encode {stats.encode_seconds:.1f} s, "
        f"write {report.write_seconds:.1f} s)"
    )
    if report.first_failure is not None:
        failure = report.first_failure
        console.print(f"First failure: {escape(str(failure['path']))}: {escape(failure.error)}", style="yellow")
    if report.config.out != STDOUT:
        written = [report.config.out, *([str(report.studies)] if report.studies else []), str(report.manifest)]
        console.print(f"Wrote {escape(', '.join(written))}")
    if report.new_key:
        console.print(
            f"Made a pseudonym key: {escape(str(report.new_key))}. Whoever has it can test guesses; without it tables "
            "made later cannot be joined with this one.",
            style="yellow",
        )
    if report.is_empty_shard:
        console.print(
            f"Shard {report.config.shard} has no file: its table is empty, and merging needs it all the same."
        )
    elif not stats.ok:
        console.print("No image could be scored.", style="red")
    console.print("Research use only: not a medical device.", style="dim")


def _models(report: RunReport) -> str:
    names = [member.bundle.name for member in report.screener.members]
    return escape(f"model {names[0]}" if len(names) == 1 else f"ensemble of {len(names)} models ({', '.join(names)})")


def _engine(report: RunReport) -> str:
    screener = report.screener
    encoders = [member.encoder for member in screener.members]
    backend, device, reason = (
        each_once(getattr(e, name) for e in encoders) for name in ("backend", "device", "reason")
    )
    return (
        f"{backend} on {device} in {screener.precision} ({reason}), "
        f"batch size {screener.batch_size}, {screener.workers} decoding {screener.decode_in}"
    )


def _print_rows(report: RunReport) -> None:
    rows = report.first_rows
    labels = [prompt.label for prompt in report.prompts]
    statuses = {id(row): row.status if row.status == "ok" else _reason(row) for row in rows}
    screen = Console(stderr=True, highlight=False)
    shown = _fitting(labels, screen.width - SHOWN_PATH - max(map(len, ("status", *statuses.values()))) - 2 * COLUMN_GAP)
    table = Table(box=None, pad_edge=False, padding=(0, COLUMN_GAP, 0, 0))
    table.add_column("path", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for label in shown:
        table.add_column(escape(label), justify="right", min_width=_column_width(label))
    for row in rows:
        scores = [f"{row.scores[label]:.3f}" if row.scores else "" for label in shown]
        table.add_row(escape(_tail(str(row["path"]))), escape(statuses[id(row)]), *scores)
    screen.print(table)
    more_rows, more_labels = report.stats.rows - len(rows), len(labels) - len(shown)
    if more_rows > 0 or more_labels > 0:
        parts = [f"{more_rows:,} more rows"] * (more_rows > 0) + [f"{more_labels} more labels"] * (more_labels > 0)
        console.print(f"… {' and '.join(parts)} in the table", style="dim")


def _reason(row: Prediction) -> str:
    return f"{row.status}: {row.code}"


def _fitting(labels: list[str], width: int) -> list[str]:
    """As many labels as have room beside each other; at least one."""
    ends = itertools.accumulate(_column_width(label) + COLUMN_GAP for label in labels)
    return labels[: max(1, sum(end <= width for end in ends))]


def _column_width(label: str) -> int:
    """A heading breaks between words only; a score takes five characters."""
    return max(5, *map(len, label.split()))


def _tail(path: str) -> str:
    """The end of a long path, which tells more than its beginning."""
    return path if len(path) <= SHOWN_PATH else "…" + path[1 - SHOWN_PATH :]
