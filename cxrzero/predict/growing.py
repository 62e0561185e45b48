"""`predict --out DATABASE`: rows go into a database of results, a few hundred in a transaction."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from cxrzero.database import open_database
from cxrzero.errors import DatabaseError
from cxrzero.prediction import Prediction

# Rows of one transaction: many cost little each, and what an interruption takes away is scored again from the cache.
MOST_ROWS = 500
MOST_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Growth:
    """What a run added to a database.

    Attributes:
        run: its number there.
        new: how many of its rows the database did not have.
    """

    run: int
    new: int


class GrowingTable:
    """A run in a database.

    Args:
        out: the address of the database.
        begun: what is known of its record.

    Raises:
        DatabaseError: the database cannot be used, or the connection was lost for good; what was committed stays.
    """

    def __init__(self, out: str, begun: dict[str, Any]) -> None:
        self._database = open_database(out)
        try:
            self._run = self._database.begin_run(begun)
        except BaseException:
            self._database.close()
            raise
        self._new = self._written = 0
        self._rows: list[Prediction] = []
        self._pictures: list[str] = []
        self._since = time.monotonic()

    def write(self, row: Prediction, picture: str) -> None:
        """Take a row, as the table shows it; `picture` as in `cxrzero.predict.inputs`."""
        self._rows.append(row)
        self._pictures.append(picture)
        if len(self._rows) >= MOST_ROWS or time.monotonic() - self._since >= MOST_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Commit what is held back."""
        rows, pictures = self._rows, self._pictures
        self._rows, self._pictures = [], []
        self._new += self._database.add(self._run, rows, start=self._written, pictures=pictures)
        self._written += len(rows)
        self._since = time.monotonic()

    def growth(self) -> Growth:
        """What the run added."""
        return Growth(self._run, self._new)

    def end(self, record: dict[str, Any]) -> None:
        """Note the end of the run, with its whole record."""
        self._database.end_run(self._run, record)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A run that ends early keeps what is done, unless the database is why it ends.
        try:
            if not isinstance(error, DatabaseError):
                self.flush()
        finally:
            self._database.close()
