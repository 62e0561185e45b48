"""`cxrzero cache info` and `cxrzero cache clear`."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from cxrzero.cli.failures import reports_failures
from cxrzero.cli.helppage import Command, Group
from cxrzero.cli.terminal import ask, say, show
from cxrzero.display.counts import counted
from cxrzero.errors import ConfigError, RunError, UsageError

if TYPE_CHECKING:
    from cxrzero.cache.store import Store

UNITS_S = {"h": 3600, "d": 86400, "w": 7 * 86400}


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        cls=Group, no_args_is_help=True, help="Show and delete what is kept of images and prompts that were embedded."
    )
    group.command("info", cls=Command)(reports_failures(info))
    group.command("clear", cls=Command)(reports_failures(clear))
    app.add_typer(group, name="cache")


def info() -> None:
    """Show where the cache is, how large it is and what it holds.

    [bold]cxrzero cache info[/bold]
    """
    from cxrzero.cache.store import Store

    store = Store()
    show(f"{store.path}: {_megabytes(store)} of at most {store.max_bytes / 1e9:,.1f} GB")
    for usage in store.usage():
        entries = counted(usage.entries, "image file" if usage.kind == "image" else "prompt")
        first, last = _day(usage.oldest), _day(usage.newest)
        show(f"{usage.model}: {entries}, last used {first if first == last else f'from {first} to {last}'}")
    _report(store.notices, alive=store.alive)


def clear(
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Delete only what belongs to this model, as cache info names it.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Delete only what was not used for so long: 12h, 30d or 8w.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Delete without asking. Scripts need it: nobody can be asked there.")
    ] = False,
) -> None:
    """Delete kept embeddings; running predictions go on and embed what they miss.

    [bold]cxrzero cache clear --older-than 30d[/bold]
    """
    from cxrzero.cache.store import Store

    seconds = 0.0 if older_than is None else _seconds(older_than)
    if not yes and not (sys.stdin and sys.stdin.isatty()):
        raise UsageError("cache clear asks before it deletes, and there is no terminal to ask in; add --yes")
    store = Store()
    if store.alive and model is not None:
        _check_kept(store, model)
    chosen = store.count(model, seconds)
    if chosen and not yes and not ask(f"Delete {counted(chosen, 'entry')} from {store.path}?"):
        show("Nothing was deleted.")
        return
    show(f"Deleted {counted(store.clear(model, seconds), 'entry')}; {store.path} has {_megabytes(store)} now.")
    _report(store.notices, alive=store.alive)


def _check_kept(store: Store, model: str) -> None:
    """Say that nothing is kept of a model.

    Raises:
        UsageError: there is no model of that name either.
    """
    from cxrzero.registry.resolve import known_names

    kept = sorted({usage.model for usage in store.usage()})
    if model in kept:
        return
    what = f"nothing is kept of {model!r}, only of {', '.join(kept)}" if kept else "nothing is kept of any model"
    if model not in known_names():
        raise UsageError(f"--model {model}: {what}")
    say(f"Note: {what}")


def _seconds(age: str) -> float:
    match = re.fullmatch(r"([0-9]{1,6})([hdw])", age.strip())
    if not match:
        raise ConfigError(f"--older-than {age!r}: write a number of up to six digits and h, d or w, for example 30d")
    return float(int(match[1]) * UNITS_S[match[2]])


def _megabytes(store: Store) -> str:
    return f"{store.bytes_on_disk() / 1e6:,.1f} MB"


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))


def _report(notices: list[str], *, alive: bool) -> None:
    for notice in notices:
        say(f"Note: {notice}")
    if not alive:
        raise RunError("the embedding cache cannot be used")
