"""How a command ends when something is wrong: one clear line, the right exit code, no traceback without --debug."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec

import typer

from cxrzero.errors import CxrzeroError, UsageError

INTERRUPTED = 130  # 128 + SIGINT, what shells expect

P = ParamSpec("P")


def reports_failures(command: Callable[P, None]) -> Callable[P, None]:
    """Wrap a command: typed errors become a line on standard error and their exit code.

    An error that nobody expected is named by its type and place only, because its text could quote a file's header.
    The command's parameter `debug` lets everything through.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except CxrzeroError as error:
            if kwargs.get("debug"):
                raise
            typer.secho(f"Error: {error}", fg="red", err=True)
            if isinstance(error, UsageError):
                typer.echo("Nothing was run.", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of standard output went away (`| head`); keep Python from complaining about it at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except typer.Exit:
            raise
        except Exception as error:
            if kwargs.get("debug"):
                raise
            place = traceback.extract_tb(error.__traceback__)[-1]
            typer.secho(
                f"Error: unexpected {type(error).__name__} in {os.path.basename(place.filename)}:{place.lineno}. "
                "This is a defect of cxrzero; run again with --debug for the details.",
                fg="red",
                err=True,
            )
            raise typer.Exit(1) from None

    return wrapped
