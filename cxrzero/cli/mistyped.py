"""What was typed wrong, said in one sentence: what an option takes, and what it was given.

Each version of Typer says the same mistakes in words of its own, one of them in pydantic's. So what an option takes is
read from the command's own declaration, not from a message.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from cxrzero.display.counts import counted, either, together

# What Typer raises where a command line is wrong; it has a click of its own, or uses the package, by its version.
WrongUsage: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError")


def name_of(parameter: Any) -> str:
    """A parameter as it is typed: `--workers`, `LABELS.csv`."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper()).removesuffix("...")
    return str(max(parameter.opts, key=len))


def explain_value(parameter: Any) -> Any:
    """Have a parameter say itself what is wrong with its value."""
    process: Callable[[Any, Any], Any] = parameter.process_value

    def explained(ctx: Any, value: Any) -> Any:
        try:
            return process(ctx, value)
        except typer.BadParameter as error:
            raise WrongUsage(_of_value(ctx, parameter, value, error), ctx=ctx) from error

    parameter.process_value = explained
    return parameter


@contextmanager
def explained(ctx: Any) -> Iterator[None]:
    """Say what is wrong with a command line whose parts do not fit the command."""
    try:
        yield
    except WrongUsage as error:
        if plain := _of_line(ctx, error):
            raise WrongUsage(plain, ctx=ctx) from error
        raise


def unknown_command(group: Any, ctx: Any, word: str) -> Exception:
    """The error for a word that is none of a group's commands."""
    known = group.list_commands(ctx)
    near = difflib.get_close_matches(word, known)
    advice = f"Did you mean {either(near)}?" if near else f"Its commands are {', '.join(known)}."
    error: Exception = WrongUsage(f"{ctx.command_path} has no command {word!r}. {advice}", ctx=ctx)
    return error


def _of_value(ctx: Any, parameter: Any, value: Any, error: Any) -> str:
    name = name_of(parameter)
    if type(error).__name__ == "MissingParameter":
        return f"{name} is missing. {parameter.help}"
    source = ctx.get_parameter_source(parameter.name)
    where = f"{ctx.params['config']}: " if source is not None and source.name == "DEFAULT_MAP" else ""
    takes = _takes(*_declared(ctx.command.callback, parameter.name))
    return f"{where}{name} takes {takes}, not {value!r}." if takes else f"{where}{name}: {error.message}"


def _of_line(ctx: Any, error: Any) -> str:
    """The message for an error of the parser; empty where it is said well already."""
    kind, command = type(error).__name__, ctx.command_path
    if kind == "NoSuchOption":
        near = f" Did you mean {either(sorted(error.possibilities))}?" if error.possibilities else ""
        return f"{command} has no option {error.option_name}.{near}"
    if kind == "BadOptionUsage":
        parameter = next(each for each in ctx.command.params if error.option_name in (*each.opts, *each.secondary_opts))
        if parameter.is_flag:
            return f"{error.option_name} takes no value: give it or leave it out."
        typed = f"{error.option_name} {parameter.metavar or 'VALUE'}"
        several = "a value" if parameter.nargs == 1 else counted(parameter.nargs, "value")
        return f"{error.option_name} needs {several}: {typed}."
    if extra := re.search(r"unexpected extra argument.*\((.*)\)", error.message):
        takes = together(_arguments(ctx))
        return f"{command} takes {f'no more than {takes}' if takes else 'no arguments'}: leave out {extra[1]!r}."
    return ""


def _arguments(ctx: Any) -> list[str]:
    return [name_of(each).strip("[]") for each in ctx.command.params if each.param_type_name == "argument"]


def _declared(callback: Any, name: str) -> tuple[Any, Any]:
    """The type that a command's function declares for a parameter, and Typer's facts on it (`min`, `max`)."""
    kind, *facts = get_args(get_type_hints(callback, include_extras=True)[name])
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(each for each in get_args(kind) if each is not type(None))
    return kind, facts[0]


def _takes(kind: Any, facts: Any) -> str:
    """The values of a type, in words; empty for one that takes any text."""
    if get_origin(kind) is Literal:
        return either(list(map(str, get_args(kind))))
    if kind is bool:
        return "true or false"
    if kind is str and "|" in (facts.metavar or ""):
        return either(facts.metavar.split("|"))
    numbers = {int: "a whole number", float: "a number"}
    return numbers[kind] + _range(facts.min, facts.max) if kind in numbers else ""


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {_number(low)} to {_number(high)}"
    if low is not None:
        return f" of at least {_number(low)}"
    return "" if high is None else f" of at most {_number(high)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else str(value)
