"""The only place where the command line prints: `show` is the result, `say` is said beside it.

Names of files, values of headers and words of users are in what is printed. Whatever in them a terminal would act on is
made visible here, so that no caller can forget it; `cxrzero.cli.console` does the same for tables.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable

import typer

from cxrzero.display.visible import visible
from cxrzero.files import STDERR_NAME, STDOUT_NAME, cannot_write


def show(line: str = "") -> None:
    """Print one line of a command's result, on standard output.

    Raises:
        ReaderGoneError: nobody reads it any more.
        WriteError: it cannot be written (a full disk).
    """
    _show(visible(line))


def show_tabbed(cells: Iterable[str]) -> None:
    """Print one line of a table for programs, its cells between tabs; see `show`."""
    line = io.StringIO()
    csv.writer(line, delimiter="\t", lineterminator="").writerow(map(visible, cells))
    _show(line.getvalue())


def say(line: str = "", style: str = "") -> None:
    """Print one line on standard error, in a terminal with rich's `style`.

    Raises:
        ReaderGoneError: nobody reads it any more.
    """
    if sys.stderr is None:  # closed by who started us: nobody wants to know
        return
    if style and sys.stderr.isatty():
        from cxrzero.cli.console import Console

        Console(stderr=True).print(line, style=style)
        return
    try:
        print(visible(line), file=sys.stderr, flush=True)
    except BrokenPipeError as error:
        raise cannot_write(STDERR_NAME, error) from error
    except OSError:  # no way is left to say that it cannot be said
        pass


def ask(question: str) -> bool:
    """Ask on standard error; no is the default."""
    return typer.confirm(visible(question), default=False, err=True)


def _show(line: str) -> None:
    if sys.stdout is None:
        return
    try:
        print(line, flush=True)
    except OSError as error:
        raise cannot_write(STDOUT_NAME, error) from error
