"""`cxrzero cache info | merge | clear`."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxrzero.cli.failures import reports_failures
from cxrzero.cli.helppage import Command, Group
from cxrzero.cli.terminal import ask, say, show
from cxrzero.display.counts import counted
from cxrzero.errors import ConfigError, RunError, UsageError

if TYPE_CHECKING:
    from cxrzero.cache.merge import Merged
    from cxrzero.cache.store import Store, Usage

UNITS_S = {"h": 3600, "d": 86400, "w": 7 * 86400}


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        cls=Group,
        no_args_is_help=True,
        help="Show, join and delete what is kept of images and prompts that were embedded.",
    )
    group.command("info", cls=Command)(reports_failures(info))
    group.command("merge", cls=Command, no_args_is_help=True)(reports_failures(merge))
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
        first, last = _day(usage.oldest), _day(usage.newest)
        show(f"{_entries(usage)}, last used {first if first == last else f'from {first} to {last}'}")
    if nodes := store.beside():
        size = sum(node.stat().st_size for node in nodes) / 1e6
        folder = nodes[0].parent.parent
        show(f"{counted(len(nodes), 'cache')} of other machines ({size:,.1f} MB): cxrzero cache merge {folder}/*")
    _report(store.notices, alive=store.alive)


def merge(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="CACHE...",
            help="Give cache folders of other machines, or their embeddings.sqlite; none is changed.",
        ),
    ],
) -> None:
    """Add to this cache what other machines kept, so that nothing is embedded that one of them has embedded.

    Running predictions go on meanwhile. After an interruption, give the same command again. Merge only what you trust:
    embeddings become results, and nothing in them tells whose film they are of.

    [bold]cxrzero cache merge nodes/*[/bold]

    Exit codes: 0 all is there now, 2 a file is no cache (nothing was merged), 3 damaged entries or some that had no
    room are left out, 130 interrupted (what is merged is kept).
    """
    from cxrzero.cache import merge as job
    from cxrzero.cache.store import Store
    from cxrzero.cli.progress import Steps

    store = Store()
    if not store.alive:
        _report(store.notices, alive=False)
    done = []
    for file in job.find_caches(sources, store):
        with Steps("Merging") as steps:
            done.append(job.merge(file, store, lambda merged: steps(merged.done, merged.entries)))
        if not store.alive:
            break
        show(_line(done[-1]))
    show(f"{store.path} has {_megabytes(store)} of at most {store.max_bytes / 1e9:,.1f} GB now.")
    if any(each.no_room for each in done):
        say("Note: the cache is full; raise CXRZERO_CACHE_MAX_GB and give the same command again")
    _report(store.notices, alive=store.alive)
    if not all(each.is_whole for each in done):
        raise typer.Exit(3)


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


def _entries(usage: Usage) -> str:
    """How many entries of a kind there are, and of which model."""
    from cxrzero.cache.store import CONTENT, IMAGE

    if usage.kind == CONTENT:
        return counted(usage.entries, "file with a known content", "files with a known content")
    return f"{usage.model}: {counted(usage.entries, 'image file' if usage.kind == IMAGE else 'prompt')}"


def _line(merged: Merged) -> str:
    """What became of one file."""
    parts = [f"{merged.added:,} added", f"{merged.known:,} known before"]
    if merged.damaged:
        parts.append(f"{merged.damaged:,} damaged and left out")
    if merged.no_room:
        parts.append(f"{merged.no_room:,} left out for want of room")
    if merged.is_cut:
        parts.append("the file is damaged, and what comes after these is left out")
    return f"{merged.source} ({merged.bytes / 1e6:,.1f} MB): {', '.join(parts)}."


def _check_kept(store: Store, model: str) -> None:
    """Say that nothing is kept of a model.

    Raises:
        UsageError: there is no model of that name either.
    """
    from cxrzero.registry.resolve import known_names

    kept = sorted({usage.model for usage in store.usage() if usage.model})
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
