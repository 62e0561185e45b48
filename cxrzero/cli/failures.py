"""How a command ends when something is wrong: one clear line, the right exit code, no traceback without --debug."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import traceback
from collections.abc import Callable
from typing import ParamSpec

import typer

from cxrzero.cli.terminal import say
from cxrzero.errors import CxrzeroError, ReaderGoneError
from cxrzero.outside.offline import offline

INTERRUPTED = 128 + signal.SIGINT  # what shells expect

P = ParamSpec("P")


def reports_failures(command: Callable[P, None], *, network: bool = False) -> Callable[P, None]:
    """Wrap a command: typed errors become a line on standard error and their exit code.

    No library reaches the Hugging Face Hub meanwhile, unless the command is what uses the `network`.

    An error that nobody expected is named by its type and place only, because its text could quote a file's header.
    The command's parameter `debug` lets everything through.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with contextlib.nullcontext() if network else offline:
                command(*args, **kwargs)
        except (typer.Exit, ReaderGoneError):
            raise
        except CxrzeroError as error:
            if kwargs.get("debug"):
                raise
            raise typer.Exit(fail(error)) from None
        except KeyboardInterrupt:
            say("Interrupted.")
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            if kwargs.get("debug"):
                raise
            place = traceback.extract_tb(error.__traceback__)[-1]
            say(
                f"Error: unexpected {type(error).__name__} in {os.path.basename(place.filename)}:{place.lineno}. "
                "This is a defect of cxrzero; run again with --debug for the details.",
                style="red",
            )
            raise typer.Exit(1) from None

    return wrapped


def fail(error: CxrzeroError) -> int:
    """Say what is wrong; returns the exit code."""
    first, *more = error.args
    say(f"Error: {first}", style="red")
    for line in more:
        say(line, style="red")
    return error.exit_code
