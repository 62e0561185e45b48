"""`cxrzero cache info` and `cxrzero cache clear`."""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer

from cxrzero.cli.failures import reports_failures
from cxrzero.cli.helppage import Command, Group
from cxrzero.errors import ConfigError, RunError

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
    typer.echo(f"{store.path}: {store.bytes_on_disk() / 1e6:,.1f} MB of at most {store.max_bytes / 1e9:,.1f} GB")
    for usage in store.usage():
        unit = "image files" if usage.kind == "image" else "prompts"
        typer.echo(f"{usage.model}: {usage.entries:,} {unit}, last used {_day(usage.oldest)} to {_day(usage.newest)}")
    _report(store.notices, alive=store.alive)


def clear(
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Delete only what belongs to this model.")] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Delete only what was not used for so long: 12h, 30d or 8w.")
    ] = None,
) -> None:
    """Delete kept embeddings; running predictions go on and embed what they miss.

    [bold]cxrzero cache clear --older-than 30d[/bold]
    """
    from cxrzero.cache.store import Store

    seconds = _seconds(older_than) if older_than else 0.0
    store = Store()
    typer.echo(f"Deleted {store.clear(model, seconds):,} entries.")
    _report(store.notices, alive=store.alive)


def _seconds(age: str) -> float:
    match = re.fullmatch(r"(\d+)([hdw])", age.strip())
    if not match:
        raise ConfigError(f"--older-than {age}: write a number and h, d or w, for example 30d")
    return float(int(match[1]) * UNITS_S[match[2]])


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))


def _report(notices: list[str], *, alive: bool) -> None:
    for notice in notices:
        typer.echo(f"Note: {notice}", err=True)
    if not alive:
        raise RunError("the cache cannot be used")
