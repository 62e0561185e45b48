"""`cxrzero listen`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import typer

from cxrzero.cli.helppage import Command
from cxrzero.cli.parameters import command
from cxrzero.cli.process import noting_signals, one_blas_thread
from cxrzero.cli.terminal import say, show, show_tabbed
from cxrzero.errors import UsageError
from cxrzero.node.options import ListenOptions

if TYPE_CHECKING:
    from cxrzero.node.config import NodeConfig

ALL = "all"


def register(app: typer.Typer) -> None:
    app.command("listen", cls=Command, no_args_is_help=True)(command(listen, ListenOptions))


def listen(options: ListenOptions) -> None:
    """Score films as they come: a DICOM node, a watched folder, or both.

    What arrives is scored, written to a database, reported as DICOM SR, and sent back to the archive. The file says
    from where, to where and what is asked.

    [bold]cxrzero listen --example > node.toml[/bold]
    [bold]cxrzero listen --config node.toml[/bold]

    Exit codes: 0 ended by SIGTERM or Ctrl-C with everything in hand finished, 1 it cannot run, 2 wrong usage.
    """
    if options.example:
        from cxrzero.node.config import example

        for line in example().splitlines():
            show(line)
        return
    if options.config is None:
        raise UsageError("name the node's file with --config; --example prints one")
    from cxrzero.node.config import read_config

    config = read_config(options.config)
    if options.status or options.failed or options.requeue:
        _look(options, config)
    else:
        _run(config)


def _run(config: NodeConfig) -> None:
    one_blas_thread()
    from cxrzero.node.listener import listen as run

    stop = threading.Event()
    with noting_signals(stop):
        run(config, stop, say)
    say("The node has stopped.")


def _look(options: ListenOptions, config: NodeConfig) -> None:
    """What --status, --failed and --requeue ask, of a node that runs or does not."""
    from dataclasses import fields

    from cxrzero.display.counts import counted
    from cxrzero.node.status import failed, requeue, status_of

    if options.requeue:
        unknown = set(options.requeue) - {ALL} - {letter.name for letter in failed(config.state)}
        if unknown:
            raise UsageError(f"--requeue {min(unknown)}: nothing has failed under this name; --failed lists the names")
        again = requeue(config.state, () if ALL in options.requeue else options.requeue)
        say(f"{counted(again, 'film or report', 'films and reports')} will be tried again.")
    if options.status:
        status = status_of(config.state)
        for each in fields(status):
            value = getattr(status, each.name)
            show(f"{each.name.replace('_', ' ')}: {'none' if value in (None, '') else value}")
    if options.failed:
        show_tabbed(("name", "error", "study_instance_uid", "sop_instance_uid", "attempts"))
        for letter in failed(config.state):
            show_tabbed((letter.name, letter.code, letter.study, letter.sop_instance, str(letter.attempts)))
