"""A YAML file as plain text nodes that know their lines. Nothing in the file is ever turned into an object.

The file is composed into nodes with PyYAML's safe loader and not constructed, so no tag can run code. Aliases are
refused before they are expanded (a few lines of them can stand for gigabytes), and so are deep nesting and large files.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from cxrzero.errors import ConfigError

# 10,000 labels with ten prompts of 60 bytes are 6 MB; larger files are not prompts.
MAX_BYTES = 8 * 2**20
MAX_DEPTH = 8
TOP = "the file"
STRING_TAG = "tag:yaml.org,2002:str"

# libyaml reads ten thousand labels in under a second; the parser in Python is the same, only slower.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Node:
    """A place in the file; every complaint names the file, the line and the key.

    Attributes:
        where: its keys from the top on, joined by dots; empty at the top.
    """

    path: Path
    where: str
    value: yaml.Node

    def mapping(self, keys: Collection[str] | None = None) -> dict[str, Node]:
        """Read a mapping with text keys.

        Args:
            keys: all that are allowed; None allows any.

        Raises:
            ConfigError: not a mapping, a key that is no text, is unknown or is there twice.
        """
        if not isinstance(self.value, yaml.MappingNode):
            self.fail("must be a mapping (key: value)")
        found: dict[str, Node] = {}
        for key_node, value_node in self.value.value:
            key = Node(self.path, f"a key of {self.where or TOP}", key_node).text()
            where = f"{self.where}.{key}" if self.where else key
            if keys is not None and key not in keys:
                Node(self.path, where, key_node).fail(f"is not a known key; known: {', '.join(sorted(keys))}")
            if key in found:
                Node(self.path, where, key_node).fail("is there twice")
            found[key] = Node(self.path, where, value_node)
        return found

    def texts(self) -> tuple[str, ...]:
        """Read a list of texts, none of them empty."""
        if not isinstance(self.value, yaml.SequenceNode) or not self.value.value:
            self.fail("must be a list of texts that is not empty")
        return tuple(Node(self.path, self.where, item).text() for item in self.value.value)

    def text(self) -> str:
        if not isinstance(self.value, yaml.ScalarNode):
            self.fail("must be a text")
        if self.value.tag != STRING_TAG:  # YAML reads a bare no, 1 or null as another type
            self.fail(f"must be a text; put {self.value.value!r} in quotation marks")
        text = str(self.value.value).strip()
        if not text or not text.isprintable():
            self.fail("must be one line of text that is not empty")
        return text

    def fail(self, problem: str) -> NoReturn:
        raise ConfigError(f"{self.path}, line {self.value.start_mark.line + 1}: {self.where or TOP} {problem}")


def read_yaml(path: Path) -> Node:
    """Read a YAML file.

    Raises:
        ConfigError: it cannot be read, is too large, is not YAML, is empty, is nested too deeply or has aliases.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"the prompts file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the prompts file {path} is not UTF-8 text") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"the prompts file {path} is larger than {MAX_BYTES // 2**20} MiB; split it")
    try:
        _check_events(path, text)
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or type(error).__name__
        raise ConfigError(f"{path}{line}: not valid YAML: {problem}") from error
    if root is None:
        raise ConfigError(f"the prompts file {path} is empty")
    return Node(path, "", root)


def _check_events(path: Path, text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError(f"{path}, line {line}: aliases (*name) are not allowed; write the prompts out")
        if depth > MAX_DEPTH:
            raise ConfigError(f"{path}, line {line}: nested more than {MAX_DEPTH} deep; this is not a prompts file")
