"""What `cxrzero predict` says before and after a run, on standard error."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cxrzero.predict import RunReport
from cxrzero.sources import WalkCounts, find_images
from cxrzero.tables import STDOUT

SHOWN_ROWS = 12
SHOWN_LABELS = 8
SHOWN_PATH = 36

console = Console(stderr=True, soft_wrap=True, highlight=False)


def print_plan(report: RunReport) -> None:
    """--dry-run: what would be read, asked and written."""
    counts = WalkCounts()
    first = list(itertools.islice(find_images(report.config.paths, counts), 5))
    for _ in find_images(report.config.paths, counts := WalkCounts()):
        pass
    bundle = report.screener.bundle
    console.print(f"Would read   {counts.found:,} files ({counts.ignored:,} other files ignored)")
    for ref in first:
        console.print(f"             {escape(ref.path)}")
    console.print(f"Would ask    {len(report.prompts)} labels, model {escape(bundle.name)}")
    for prompt in report.prompts:
        console.print(
            f"             {escape(' | '.join(prompt.positive))}  against  {escape(' | '.join(prompt.negative))}"
        )
    console.print(f"Would run    {_engine(report)}")
    console.print(f"Would write  {escape(report.config.out)}")


def print_start(report: RunReport) -> None:
    console.print(f"Model {escape(report.screener.bundle.name)}, {len(report.prompts)} labels, {_engine(report)}")


def print_end(report: RunReport) -> None:
    """The closing summary: counts, rate, where the time went, and the first rows."""
    stats, seconds = report.stats, report.wall_seconds
    if report.config.out != STDOUT:
        _print_rows(report)
    console.print(
        f"{stats.rows:,} rows: {stats.ok:,} ok, {stats.failed:,} failed, {stats.skipped:,} skipped; "
        f"{report.counts.ignored:,} other files ignored"
    )
    console.print(
        f"{seconds:.1f} s, {stats.rows / seconds:.1f} images/s (decode {stats.decode_seconds:.1f} s over "
        f"{report.screener.workers} threads, encode {stats.encode_seconds:.1f} s, write {report.write_seconds:.1f} s)"
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
    if not stats.ok:
        console.print("No image could be scored.", style="red")
    console.print("Research use only: not a medical device.", style="dim")


def _engine(report: RunReport) -> str:
    screener = report.screener
    return (
        f"{screener.encoder.backend} on {screener.encoder.device} ({screener.encoder.reason}), "
        f"batch size {screener.batch_size}, {screener.workers} decoding threads"
    )


def _print_rows(report: RunReport) -> None:
    with Path(report.config.out).open(encoding="utf-8", newline="") as file:
        rows = list(itertools.islice(csv.DictReader(file), SHOWN_ROWS))
    labels = [prompt.label for prompt in report.prompts]
    table = Table(box=None, pad_edge=False)
    table.add_column("path", no_wrap=True)
    for name in ("status", *labels[:SHOWN_LABELS]):
        table.add_column(escape(name), justify="left" if name == "status" else "right", overflow="fold")
    for row in rows:
        scores = [f"{float(row[label]):.3f}" if row[label] else "" for label in labels[:SHOWN_LABELS]]
        status = row["status"] if row["status"] == "ok" else f"{row['status']}: {row['error'].partition(':')[0]}"
        table.add_row(escape(_tail(row["path"])), escape(status), *scores)
    Console(stderr=True, highlight=False).print(table)
    more_rows, more_labels = report.stats.rows - len(rows), len(labels) - SHOWN_LABELS
    if more_rows > 0 or more_labels > 0:
        parts = [f"{more_rows:,} more rows"] * (more_rows > 0) + [f"{more_labels} more labels"] * (more_labels > 0)
        console.print(f"… {' and '.join(parts)} in the table", style="dim")


def _tail(path: str) -> str:
    """The end of a long path, which tells more than its beginning."""
    return path if len(path) <= SHOWN_PATH else "…" + path[1 - SHOWN_PATH :]
