"""A command's parameters are made of its options type (`cxrzero.options`), and its options of what the user states."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

from cxrzero.cli.configfile import load_config
from cxrzero.cli.failures import reports_failures
from cxrzero.errors import UsageError
from cxrzero.options import ADVANCED, REQUIRED, Option, options_of

# What every command takes, and what some do.
Debug = Annotated[
    bool,
    typer.Option(
        "--debug", rich_help_panel=ADVANCED, help="Show tracebacks instead of messages; they may quote file headers."
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        metavar="TOML",
        rich_help_panel=ADVANCED,
        is_eager=True,
        callback=load_config,
        help="Take options from this file; the command line goes first.",
    ),
]
# Turns an option off that has a default.
NONE = "none"


def command(
    work: Callable[..., None], kind: type, *, config: bool = False, complete: bool = True
) -> Callable[..., None]:
    """What Typer registers for `work`.

    Args:
        work: takes the options, then what it declares itself as Typer parameters. Its docstring is the help.
        kind: the options type.
        config: whether options may come from a file.
        complete: make `kind` of what the user states; else `work` gets that as a dict, and nothing is required.
    """
    described = options_of(kind)
    own = list(inspect.signature(work, eval_str=True).parameters.values())[1:]

    def run(context: typer.Context, **typed: Any) -> None:
        stated = {each.name: _value(each, typed[each.name]) for each in shown if _is_stated(context, each.name)}
        work(kind(**stated) if complete else stated, **{each.name: typed[each.name] for each in own})

    shown = [each for each in described if not each.hidden]
    parameters = [
        inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        *(_parameter(each, required=complete and each.default is REQUIRED) for each in shown),
        *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own),
        *([_keyword("config", None, Config)] if config else []),
        _keyword("debug", False, Debug),
    ]
    run.__name__, run.__doc__ = work.__name__, work.__doc__
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return reports_failures(run)


def _keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _parameter(option: Option, required: bool) -> inspect.Parameter:
    kind = _typed(option)
    default = inspect.Parameter.empty if required else _default(option)
    if default is None:
        kind = kind | None
    facts: dict[str, Any] = {
        "help": option.help,
        "metavar": option.metavar,
        "rich_help_panel": option.panel,
        "min": option.minimum,
        "max": option.maximum,
    }
    if option.check:
        facts["callback"] = _checked(option.check)
    if option.is_argument:
        return _keyword(option.name, default, Annotated[kind, typer.Argument(**facts)])
    flags = [option.flags, *([option.short] if option.short else [])]
    return _keyword(option.name, default, Annotated[kind, typer.Option(*flags, **facts)])


def _checked(check: Callable[[str], Any]) -> Callable[[str | None], str | None]:
    def checked(text: str | None) -> str | None:
        try:
            if text is not None:  # an option without a default, which nobody gave
                check(text)
        except UsageError as error:
            raise typer.BadParameter(str(error)) from error
        return text

    return checked


def _typed(option: Option) -> Any:
    """What Typer reads for an option: never None, which is the absence of a value."""
    if option.parse:
        return str
    kind, can_be_none = option.type, False
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(each for each in get_args(kind) if each is not type(None))
        can_be_none = True
    if get_origin(kind) is tuple and get_args(kind)[-1] is ...:
        return list[get_args(kind)[0]]  # type: ignore[misc]
    if can_be_none and get_origin(kind) is Literal and option.default is not None:
        return Literal[(*get_args(kind), NONE)]
    return kind


def _default(option: Option) -> Any:
    """What Typer shows; the options type has it anyhow."""
    if option.turns_off:
        return False
    if option.default is REQUIRED or option.parse:
        return None
    if isinstance(option.default, tuple):
        return list(option.default) or None
    return option.default


def _is_stated(context: typer.Context, name: str) -> bool:
    """Whether the user gave an option, on the command line or in --config."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _value(option: Option, typed: Any) -> Any:
    if option.parse:
        return option.parse(typed)
    if option.turns_off:
        return not typed
    if isinstance(typed, list):
        return tuple(typed)
    return None if typed == NONE and NONE not in get_args(option.type) else typed
