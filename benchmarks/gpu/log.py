"""What is known so far: one JSON object on a line, on the disk before the next is measured."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


class Log:
    """Appends to a file, and prints.

    An entry says what it is by its first key: {"row": name, …} is measured, {"missing": name, "why": …} is not, and
    "machine", "note" and "end" are of the run.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def add(self, entry: Entry) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        print(shown(entry), flush=True)


def read(path: Path) -> list[Entry]:
    """The entries of a log; a last line that a kill cut off is none."""
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return entries


def shown(entry: Entry) -> str:
    """One line for people: numbers to four digits."""
    cells = []
    for key, value in entry.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        cells.append(text if key == "row" else f"{key} {text}")
    return "  ".join(cells)
