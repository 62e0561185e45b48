"""The log of a run as tables in Markdown.

python -m benchmarks.gpu.table FILE
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.log import Entry, read

Cell = Callable[[Entry], str]


def number(key: str, form: str) -> Cell:
    """A number of an entry as it is written; nothing where it is not known."""
    return lambda entry: "" if entry.get(key) is None else format(entry[key], form)


def word(position: int) -> Cell:
    """A word of the row's name."""
    return lambda entry: str(entry["row"].split()[position])


ENCODE: dict[str, Cell] = {
    "model": word(1),
    "backend": word(2),
    "precision": word(3),
    "rows of a call": word(4),
    "images/s": number("images_per_second", ".0f"),
    "of the peak": number("share_of_peak", ".0%"),
    "max Δd / sd": number("max_abs_d_over_sd", ".5f"),
    "Spearman": number("spearman", ".4f"),
    "GPU MB": number("gpu_mb", "d"),
}
WHOLE: dict[str, Cell] = {
    "films": lambda entry: " ".join(entry["row"].split()[1:-2]),
    "model": word(-2),
    "precision": word(-1),
    "backend": lambda entry: str(entry["backend"]).split()[0],
    "images/s": number("images_per_second", ".0f"),
    "decoders alone": number("decoders_alone", ".0f"),
    "encoder alone": number("encoder_alone", ".0f"),
    "of the slower": number("share_of_bound", ".0%"),
    "start, s": number("start_seconds", ".1f"),
    "core ms": number("core_ms", ".1f"),
    "peak MB": number("peak_mb", ".0f"),
    "GPU MB": number("gpu_mb", "d"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    print(tables(read(parser.parse_args().log)), end="")


def tables(entries: Sequence[Entry]) -> str:
    """Everything that a log says."""
    rows = [entry for entry in entries if "row" in entry]
    parts = [
        *head(entries),
        *table(ENCODE, of_kind(rows, "encode")),
        *table(WHOLE, of_kind(rows, "whole")),
        *(line(entry) for entry in rows if entry["row"].split()[0] not in ("encode", "whole")),
        *(f"- not measured: {entry['missing']}: {entry['why']}" for entry in entries if "missing" in entry),
    ]
    return "\n".join(parts) + "\n"


def head(entries: Sequence[Entry]) -> Iterator[str]:
    for entry in entries:
        if "machine" in entry:
            facts = {key: value for key, value in entry.items() if key not in ("machine", "lacks") and value}
            yield "; ".join(f"{key} {words(value)}" for key, value in (entry["machine"] | facts).items())


def words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {words(each)}" for key, each in value.items() if each)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def of_kind(rows: Sequence[Entry], kind: str) -> list[Entry]:
    return [row for row in rows if row["row"].split()[0] == kind]


def table(columns: dict[str, Cell], rows: Sequence[Entry]) -> Iterator[str]:
    if rows:
        yield ""
        yield f"| {' | '.join(columns)} |"
        yield "|---" * len(columns) + "|"
        for entry in rows:
            yield f"| {' | '.join(cell(entry) for cell in columns.values())} |"
        yield ""


def line(entry: Entry) -> str:
    """A row that is in no table."""
    facts = [f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in entry.items()]
    return f"- {entry['row']}: {', '.join(facts[1:])}"


if __name__ == "__main__":
    main()
