"""Notices of the library before something slow: on standard error, so that standard output stays the result."""

from __future__ import annotations

import typer


def say(notice: str) -> None:
    """Print one line."""
    typer.echo(notice, err=True)
