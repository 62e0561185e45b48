"""A bank of prompts: for each finding its names and the sentences for and against it.

templates:                      # optional; for labels without an entry, instead of the model's own
  positive: ["{}"]
  negative: ["no {}"]
labels:
  pleural effusion:             # "{}" in this entry's prompts stands for this name
    synonyms: [effusion]
    positive: ["{}", "blunted costophrenic angle"]
    negative: ["no {}", "sharp costophrenic angles"]
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cxrzero.model.model_json import Templates
from cxrzero.prompts.labels import LabelPrompts
from cxrzero.prompts.yamlfile import Node, read_yaml

BUILT_IN = "default"
BUILT_IN_SOURCE = "the built-in bank"
NORMAL = "no finding"


@dataclass(frozen=True, slots=True)
class Entry:
    """One finding; the prompts have the name in the place of "{}"."""

    name: str
    synonyms: tuple[str, ...]
    positive: tuple[str, ...]
    negative: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bank:
    """Entries by every name they have, compared as `key_of` does.

    Attributes:
        source: what the record says about prompts from here.
        templates: for labels without an entry; None leaves them to the model.
    """

    source: str
    entries: Mapping[str, Entry]
    templates: Templates | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The entries' names in the order of the file."""
        return tuple(dict.fromkeys(entry.name for entry in self.entries.values()))

    def find(self, label: str) -> LabelPrompts | None:
        entry = self.entries.get(key_of(label))
        return LabelPrompts(label, entry.positive, entry.negative, self.source) if entry else None


def key_of(label: str) -> str:
    """Names that differ in case, accents' encoding, punctuation or spaces are the same: "Pleural_Effusion"."""
    return " ".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", label).casefold()))


@functools.cache
def built_in_bank() -> Bank:
    """The bank that comes with the package."""
    return load_bank(Path(__file__).with_name("bank.yaml"), BUILT_IN_SOURCE)


def load_bank(path: Path, source: str | None = None) -> Bank:
    """Read a prompts file.

    Raises:
        ConfigError: what is wrong, with file, line and key: unknown or repeated keys, wrong types, a name that two
            entries share, a template without its place for the label.
    """
    file = read_yaml(path)
    root = file.mapping(("templates", "labels"))
    entries: dict[str, Entry] = {}
    if "labels" in root:
        for name, node in root["labels"].mapping().items():
            entry = _entry(name, node)
            for key in _keys(entry, node):
                if key in entries:
                    node.fail(f"and {entries[key].name!r} share the name {key!r}")
                entries[key] = entry
    templates = _templates(root["templates"]) if "templates" in root else None
    if not entries and templates is None:
        file.fail("has neither labels nor templates")
    return Bank(source or f"the prompts file {path.name}", entries, templates)


def _entry(name: str, node: Node) -> Entry:
    fields = node.mapping(("synonyms", "positive", "negative"))
    for side in ("positive", "negative"):
        if side not in fields:
            node.fail(f"has no {side!r} prompts; an entry needs both sides")
    sides = [tuple(text.replace("{}", name) for text in fields[side].texts()) for side in ("positive", "negative")]
    return Entry(name, fields["synonyms"].texts() if "synonyms" in fields else (), sides[0], sides[1])


def _keys(entry: Entry, node: Node) -> Iterator[str]:
    """The different keys of an entry's names."""
    keys = dict.fromkeys(key_of(name) for name in (entry.name, *entry.synonyms))
    if "" in keys:
        node.fail("has a name without a letter or digit")
    yield from keys


def _templates(node: Node) -> Templates:
    fields = node.mapping(("positive", "negative"))
    sides = []
    for side in ("positive", "negative"):
        if side not in fields:
            node.fail(f"has no {side!r} templates")
        texts = fields[side].texts()
        if side == "positive" and any("{}" not in text for text in texts):
            fields[side].fail("must have {} in each template, the place of the label")
        sides.append(texts)
    return Templates(sides[0], sides[1])
