"""How --help looks: names stand as they are typed, and only what takes a value shows what kind of value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup

from cxrzero.cli.failures import reports_failures
from cxrzero.files import STDOUT_NAME, cannot_write


class Command(TyperCommand):
    """A command whose help leaves out types that tell a reader nothing."""

    def get_params(self, ctx: Any) -> list[Any]:
        return [plainly_shown(each) for each in super().get_params(ctx)]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _print(super().format_help, ctx, formatter)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Arguments by their own names, which say already what may be left out or repeated."""
        arguments = [each.metavar or each.name.upper() for each in self.params if isinstance(each, TyperArgument)]
        return ["[OPTIONS]", *arguments]


class Group(TyperGroup):
    """The same for a command that has commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        return [plainly_shown(each) for each in super().get_params(ctx)]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _print(super().format_help, ctx, formatter)


@reports_failures
def _print(help_page: Callable[[Any, Any], None], ctx: Any, formatter: Any) -> None:
    """rich prints it, which ends by itself where a reader has gone."""
    try:
        help_page(ctx, formatter)
    except OSError as error:
        raise cannot_write(STDOUT_NAME, error) from error


def plainly_shown(parameter: Any) -> Any:
    """Take the type off a switch, which has no value, and off an argument, whose name says what it is."""
    if getattr(parameter, "is_flag", False):
        parameter.metavar = ""
    elif isinstance(parameter, TyperArgument):
        setattr(parameter, "display_type_rich", lambda ctx: None)  # noqa: B010 (mypy refuses it as an assignment)
    return parameter
