"""Rich's console for what is more than a line: tables, styles, bars. See `cxrzero.cli.terminal`."""

from __future__ import annotations

from typing import Any, NoReturn

import rich.console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from cxrzero.display.visible import visible
from cxrzero.errors import ReaderGoneError
from cxrzero.files import STDERR_NAME, STDOUT_NAME, cannot_write

# Characters.
LEAST_WIDTH, WIDEST = 10, 10_000


class Console(rich.console.Console):
    """Prints every string as it is meant, also in the cells of a table: `[red]` and `:skull:` are names, and what a
    terminal would act on is made visible. Lines are not broken; the terminal does that.

    Raises:
        ReaderGoneError: nobody reads it any more.
        WriteError: standard output cannot be written.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)

    @property
    def can_redraw(self) -> bool:
        """Whether a line can be drawn again in its place: not in a log, and not in a dumb terminal."""
        return self.file.isatty() and not self.is_dumb_terminal

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        try:
            super().print(*objects, **options)
        except OSError as error:
            if not self.stderr:  # else no way is left to say that it cannot be said
                raise cannot_write(STDOUT_NAME, error) from error

    def print_table(self, table: Table) -> None:
        """Print a table of which nothing is cut off: columns that break their lines get narrower, in the end to
        LEAST_WIDTH; where that is not enough, the terminal breaks the rows.
        """
        _, right, _, left = table.padding
        padding = 2 + (left + right) * len(table.columns)
        needed = padding + sum(map(self._least_width, table.columns))
        if needed > self.width:
            table.width = needed
        for column in table.columns:
            column.overflow = "fold"
        self.print(table, soft_wrap=False, crop=False)

    def _least_width(self, column: Column) -> int:
        room = self.options.update(width=WIDEST)
        width = max(Measurement.get(self, room, cell).maximum for cell in (column.header, *column.cells))
        return width if column.no_wrap else max(column.min_width or 0, min(width, LEAST_WIDTH))

    def on_broken_pipe(self) -> NoReturn:
        raise ReaderGoneError(f"nobody reads {STDERR_NAME if self.stderr else STDOUT_NAME} any more")
