"""The command line as a whole: how it ends, whichever command was given."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import typer

from cxrzero.cli.failures import INTERRUPTED, fail
from cxrzero.cli.helppage import Group
from cxrzero.cli.process import TERMINATED, is_terminated, let_go
from cxrzero.cli.terminal import say
from cxrzero.display.visible import visible
from cxrzero.errors import ReaderGoneError
from cxrzero.files import STDOUT_NAME, cannot_write

# What click raises where a command line is wrong; Typer has a click of its own, or uses the package, by its version.
ClickError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


class Program(Group):
    """All commands. Ends by `typer`'s rules where its own apply, and where they do not:

    - what was typed wrong is quoted with what a terminal would act on made visible;
    - a reader who has gone (`| head`) ends it without a word, exit 141; standard output that cannot be written, exit 1,
      of the help, too;
    - Ctrl-C ends it wherever it is, exit 130, and SIGTERM, exit 143.
    """

    def main(self, *given: Any, standalone_mode: bool = True, **named: Any) -> Any:
        try:
            code = self._run(*given, **named) or _flush()
        except ReaderGoneError as error:
            let_go()
            code = error.exit_code
        except SystemExit as end:
            if not isinstance(end.__context__, BrokenPipeError):
                raise
            let_go()  # this is how rich ends then, which prints the help and what was typed wrong
            code = ReaderGoneError.exit_code
        if code == INTERRUPTED and is_terminated():
            code = TERMINATED
        if standalone_mode:
            sys.exit(code)
        return code

    def _run(self, *given: Any, **named: Any) -> int:
        """The exit code."""
        named["standalone_mode"] = False
        try:
            returned = super().main(*given, **named)
        except ClickError as error:
            from typer import rich_utils  # a tenth of a second that only mistakes and --help cost

            error.message = visible(error.message)
            with contextlib.suppress(OSError):  # no way is left to say what was typed wrong
                rich_utils.rich_format_error(error)
            return int(error.exit_code)
        except (KeyboardInterrupt, typer.Abort):  # the latter: Ctrl-C at a question, or its end
            say("Interrupted.")
            return INTERRUPTED
        return returned if isinstance(returned, int) else 0


def _flush() -> int:
    """What is still held back would fail at Python's end, where nobody can say so. Returns the exit code."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError as error:
        raise cannot_write(STDOUT_NAME, error) from error
    except OSError as error:
        code = fail(cannot_write(STDOUT_NAME, error))
        let_go()
        return code
    return 0
