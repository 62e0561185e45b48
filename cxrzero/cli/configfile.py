"""`--config run.toml`: any option of a command from a file; what is typed on the command line wins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from cxrzero.errors import ConfigError
from cxrzero.files import read_toml


def load_config(context: typer.Context, path: Path | None) -> Path | None:
    """Eager callback of --config: make the file's values the defaults of the command's options.

    Keys are the options as they are typed, without their dashes (`batch-size = 8`, `_` may stand for `-`); labels and
    other lists may be TOML arrays.
    """
    if path is None:
        return None
    try:
        context.default_map = _read(path, _keys(context.command.params))
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="--config") from error
    return path


def _keys(parameters: Sequence[Any]) -> dict[str, Any]:
    """Parameters by key: an option's long name, and for an argument, which has none, that of its field."""
    arguments = {each.name.replace("_", "-"): each for each in parameters if each.param_type_name == "argument"}
    options = {max(each.opts, key=len).lstrip("-"): each for each in parameters if each.param_type_name == "option"}
    return {key: each for key, each in (arguments | options).items() if key not in ("config", "help")}


def _read(path: Path, known: dict[str, Any]) -> dict[str, Any]:
    table = read_toml(path)
    defaults = {}
    for key, value in table.items():
        parameter = known.get(key.replace("_", "-"))
        if parameter is None:
            raise ConfigError(f"{path}: unknown key {key!r}; known: {', '.join(sorted(known))}")
        if isinstance(value, dict):
            raise ConfigError(f"{path}: {key!r} must be a value, not a table")
        takes_several = parameter.nargs != 1 or getattr(parameter, "multiple", False)
        if isinstance(value, list) and not takes_several:
            value = _comma_list(value)
        defaults[parameter.name] = [value] if takes_several and isinstance(value, str) else value
    return defaults


def _comma_list(values: list[Any]) -> str:
    """Write a list as it would be typed; a value that holds what parts labels is quoted."""
    from cxrzero.prompts.labels import listed  # a label is read there again

    return listed([str(value) for value in values])
