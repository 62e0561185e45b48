"""What was done again and why: a line for each in `events.jsonl` of the plan, over all drivers that worked on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cxrzero.files import cannot_write

FILE = "events.jsonl"
# Of a run that nodes are killed in all the time, the record names the last ones.
MOST_RECORDED = 200


class Events:
    """The tries that were not the first of their slice.

    Args:
        folder: of the plan.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._found = list(_read(self._path))

    def add(self, task: int, why: str, node: str) -> None:
        """Note a try. Raises WriteError."""
        self._found.append({"task": task, "node": node, "why": why})
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self._found[-1]) + "\n")
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def record(self) -> list[dict[str, object]]:
        """The last of them."""
        return self._found[-MOST_RECORDED:]

    def __len__(self) -> int:
        return len(self._found)


def _read(path: Path) -> Iterator[dict[str, object]]:
    with suppress(FileNotFoundError), path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            with suppress(ValueError):  # cut where a driver was killed
                yield json.loads(line)
