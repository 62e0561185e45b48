"""A TOML file and a frozen options type: keys are its fields, tables are fields that are such types themselves."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from cxrzero.errors import ConfigError, UsageError
from cxrzero.files import read_toml
from cxrzero.options import REQUIRED, Option, options_of

T = TypeVar("T")

# In messages: what a key takes.
WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text in quotation marks",
    Path: "a path in quotation marks",
    tuple: 'a list of texts, ["…"]',
}
COMMENT_WIDTH = 110


def read_table(kind: type[T], file: Path) -> T:
    """Read a file of that type.

    Raises:
        ConfigError: it cannot be read or is not TOML, a key is unknown or missing, or a value is not what its key
            takes. Messages name the key and never quote the value, which may hold a password.
    """
    table = read_toml(file)
    folder = Path(file).absolute().parent
    try:
        return _made(kind, table, folder, "")
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


def _made(kind: type[T], table: Mapping[str, Any], folder: Path, prefix: str) -> T:
    known = {each.name: each for each in options_of(kind)}
    for key in table:
        if key not in known:
            what = f"unknown key {prefix}{key}" if key.isprintable() else "a key is not printable"
            raise ConfigError(f"{what}; known{f' in [{prefix[:-1]}]' if prefix else ''}: {', '.join(known)}")
    values = {}
    for name, each in known.items():
        if name in table:
            values[name] = _value(each, table[name], folder, prefix + name)
        elif each.default is REQUIRED and not _made_by_default(kind, name):
            raise ConfigError(f"{prefix}{name} is missing: {each.help}")
        elif isinstance(each.default, Path):
            values[name] = folder / each.default
    return kind(**values)


def _made_by_default(kind: Any, name: str) -> bool:
    return kind.__dataclass_fields__[name].default_factory is not MISSING


def _value(option: Option, found: Any, folder: Path, key: str) -> Any:
    """What a field gets of what the file says."""
    kind: Any = _plain(option.type)
    if dataclasses.is_dataclass(kind):
        if not isinstance(found, dict):
            raise ConfigError(f"{key} must be a table, [{key}]")
        made: Any = _made(kind, found, folder, f"{key}.")  # type: ignore[arg-type]
        return made
    is_list = get_origin(kind) is tuple
    if is_list and isinstance(found, str):
        found = [found]
    if kind is float and type(found) is int:
        found = float(found)
    if get_origin(kind) is Literal:
        if found not in get_args(kind):
            raise ConfigError(f"{key} must be one of {', '.join(map(json.dumps, get_args(kind)))}")
        return found
    expected: Any = list if is_list else str if kind is Path else kind
    if type(found) is not expected or (is_list and not all(type(each) is str for each in found)):
        raise ConfigError(f"{key} must be {WORDS[tuple if is_list else kind]}{_range(option)}")
    if kind in (int, float) and not _is_in_range(option, found):
        raise ConfigError(f"{key} must be {WORDS[kind]}{_range(option)}")
    return _read(option, found, folder, key)


def _read(option: Option, found: Any, folder: Path, key: str) -> Any:
    """A value of the right type as its field wants it: empty texts mean "not given", paths are absolute."""
    can_be_none = type(None) in get_args(option.type)
    if found == "" and can_be_none:
        return None
    if _plain(option.type) is Path:
        if not found:
            raise ConfigError(f"{key} must not be empty")
        return folder / found
    try:
        if option.check:
            option.check(found)
        if option.parse:  # of the command line, where a list is one text
            return _parsed(option, found)
    except UsageError as error:
        raise ConfigError(f"{key}: {error}") from None
    return tuple(found) if isinstance(found, list) else found


def _parsed(option: Option, found: list[str]) -> Any:
    from cxrzero.prompts.labels import listed

    assert option.parse
    text = found[0] if len(found) == 1 else listed(found)
    return option.parse(text) if found else option.default


def _plain(kind: Any) -> Any:
    """The type without None."""
    if get_origin(kind) in (Union, types.UnionType):
        return next(each for each in get_args(kind) if each is not type(None))
    return kind


def _is_in_range(option: Option, number: float) -> bool:
    least = -float("inf") if option.minimum is None else option.minimum
    most = float("inf") if option.maximum is None else option.maximum
    return least <= number <= most and number not in (float("inf"), -float("inf"))


def _range(option: Option) -> str:
    if option.minimum is None:
        return ""
    if option.maximum is None:
        return f", {option.minimum:,g} or more"
    return f" from {option.minimum:,g} to {option.maximum:,g}"


def example_of(kind: type, about: str) -> str:
    """A file with every key, its meaning, and its default; what has none stands behind a "#"."""
    return "\n".join([*_comment(about), *_lines(kind, "")]) + "\n"


def _lines(kind: Any, prefix: str, off: str = "") -> Iterator[str]:
    """A table's own keys, then its tables, as TOML wants them."""
    tables = []
    for each in options_of(kind):
        of = _plain(each.type)
        if dataclasses.is_dataclass(of):
            tables.append((each, of))
            continue
        yield ""
        yield from _comment(each.help)
        yield f"{off or ('# ' if _has_no_default(each) else '')}{each.name} = {_example(each)}"
    for each, of in tables:
        is_off = off or ("# " if type(None) in get_args(each.type) else "")
        yield ""
        yield from _comment(each.help)
        yield f"{is_off}[{prefix}{each.name}]"
        yield from _lines(of, f"{prefix}{each.name}.", is_off)


def _has_no_default(option: Option) -> bool:
    return option.default is None or option.default is REQUIRED


def _example(option: Option) -> str:
    """The default in TOML, else the example that its declaration gives."""
    kind, value = _plain(option.type), option.default
    if _has_no_default(option) or (option.metavar and value in ("", 0)):
        value = option.metavar or ""
        if kind is int:
            return value if value.isdigit() else "1"
        if get_origin(kind) is Literal:
            value = get_args(kind)[0]
        if get_origin(kind) is tuple:
            return '["pneumonia", "pleural effusion"]'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(json.dumps(each, ensure_ascii=False) for each in value) + "]"
    return str(value) if isinstance(value, int | float) else json.dumps(str(value), ensure_ascii=False)


def _comment(text: str) -> Iterator[str]:
    from textwrap import wrap

    yield from (f"# {line}" for line in wrap(text, COMMENT_WIDTH))
