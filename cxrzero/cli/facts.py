"""Facts with their names, for people: in two columns in a terminal, a line each in a pipe."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable

from cxrzero.cli.terminal import show
from cxrzero.registry.facts import Fact


def show_facts(title: str, facts: Iterable[Fact]) -> None:
    """Print facts, part by part."""
    show(title)
    if sys.stdout is None or not sys.stdout.isatty():
        for fact in facts:
            show(f"  {fact.name}: {fact.value}" + (f"  [{fact.source}]" if fact.source else ""))
        return
    from rich.table import Table

    from cxrzero.cli.console import Console

    console = Console()
    for part, some in itertools.groupby(facts, key=lambda fact: fact.part):
        if part:
            show()
            show(part)
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)  # names of files are typed as they stand
        table.add_column()
        for fact in some:
            table.add_row(f"  {fact.name}", fact.value)
            if fact.source:
                table.add_row("", f"[{fact.source}]", style="dim")
        console.print_table(table)
