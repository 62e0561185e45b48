"""`--config run.toml`: any option of a command from a file; what is typed on the command line wins."""

from __future__ import annotations

import csv
import io
import tomllib
from pathlib import Path
from typing import Any

import typer

from cxrzero.errors import ConfigError


def load_config(context: typer.Context, path: Path | None) -> Path | None:
    """Eager callback of --config: make the file's values the defaults of the command's options.

    Keys are option names with - or _ (`batch-size = 8`); labels and other lists may be TOML arrays.
    """
    if path is None:
        return None
    try:
        context.default_map = _read(path, {str(p.name): p for p in context.command.params})
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="--config") from error
    return path


def _read(path: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    known = {name: parameter for name, parameter in parameters.items() if name not in ("config", "help")}
    defaults = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known:
            names = ", ".join(sorted(n.replace("_", "-") for n in known))
            raise ConfigError(f"{path}: unknown key {key!r}; known: {names}")
        if isinstance(value, dict):
            raise ConfigError(f"{path}: {key!r} must be a value, not a table")
        if isinstance(value, list) and known[name].nargs == 1 and not known[name].multiple:
            value = _comma_list(value)
        defaults[name] = [value] if known[name].multiple and isinstance(value, str) else value
    return defaults


def _comma_list(values: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()
