"""How commands speak of themselves: --help, where names stand as they are typed and only what takes a value shows what
kind of value, and what is said where they are typed wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup

from cxrzero.cli.failures import reports_failures
from cxrzero.cli.mistyped import WrongUsage, explain_value, explained, unknown_command
from cxrzero.files import STDOUT_NAME, cannot_write


class Command(TyperCommand):
    """A command whose help leaves out types that tell a reader nothing."""

    def get_params(self, ctx: Any) -> list[Any]:
        return [in_plain_words(each) for each in super().get_params(ctx)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with explained(ctx):
            return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _print(super().format_help, ctx, formatter)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Arguments by their own names, which say already what may be left out or repeated."""
        arguments = [each.metavar or each.name.upper() for each in self.params if isinstance(each, TyperArgument)]
        return ["[OPTIONS]", *arguments]


class Group(TyperGroup):
    """The same for a command that has commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        return [in_plain_words(each) for each in super().get_params(ctx)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with explained(ctx):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except WrongUsage as error:
            if args[0].startswith("-"):
                raise
            raise unknown_command(self, ctx, args[0]) from error

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _print(super().format_help, ctx, formatter)


@reports_failures
def _print(help_page: Callable[[Any, Any], None], ctx: Any, formatter: Any) -> None:
    """rich prints it, which ends by itself where a reader has gone."""
    try:
        help_page(ctx, formatter)
    except OSError as error:
        raise cannot_write(STDOUT_NAME, error) from error


def in_plain_words(parameter: Any) -> Any:
    """Take the type off a switch, which has no value, and off an argument, whose name says what it is.

    What is wrong with a value is said in plain words, too.
    """
    if "process_value" not in vars(parameter):  # else done already: this is asked for more than once
        explain_value(parameter)
    if getattr(parameter, "is_flag", False):
        parameter.metavar = ""
    elif isinstance(parameter, TyperArgument):
        setattr(parameter, "display_type_rich", lambda ctx: None)  # noqa: B010 (mypy refuses it as an assignment)
    return parameter
