"""Names of the same finding in public data sets: NIH's "Effusion" is CheXpert's "Pleural Effusion"."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path

import yaml

from cxrzero.display.letters import without_accents
from cxrzero.tables.names import fold


@functools.lru_cache(maxsize=100_000)
def finding_of(name: str) -> str | None:
    """The finding that a name is known to mean; None for a name that is in no list."""
    known = _names().get(_key(name))
    return known and known[0]


def same_finding(one: str, other: str) -> bool:
    """Whether two names are known to mean the same finding."""
    return finding_of(one) is not None and finding_of(one) == finding_of(other)


def synonyms_among(name: str, names: Sequence[str]) -> list[str]:
    """Return those of `names` that are other names of the same finding, in their order."""
    if finding_of(name) is None:
        return []
    return [other for other in names if fold(other) != fold(name) and same_finding(name, other)]


def sources_of(name: str) -> str:
    """The lists that have a known name, in words: "NIH", "CheXpert and VinDr"."""
    found = _names()[_key(name)][1]
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"


def other_names(name: str) -> tuple[str, ...]:
    """All other names of the same finding; none of a name that is in no list."""
    finding = finding_of(name)
    return tuple(other for other in _spelt().get(finding or "", ()) if fold(other) != fold(name))


def in_words(label: str, column: str) -> str:
    """What is said where a synonym is used: "pleural effusion ← Effusion (built-in synonym of NIH)"."""
    return f"{label} ← {column} (built-in synonym of {sources_of(column)})"


def _key(name: str) -> str:
    """Fold a name, and take accents off."""
    return fold(without_accents(name))


@functools.cache
def _table() -> dict[str, dict[str, list[str]]]:
    """Finding → list → the names that this list has for it."""
    table: dict[str, dict[str, list[str]]] = yaml.safe_load(
        Path(__file__).with_name("synonyms.yaml").read_text(encoding="utf-8")
    )
    return table


@functools.cache
def _spelt() -> dict[str, tuple[str, ...]]:
    """Finding → all its names, each once."""
    return {
        finding: tuple(dict.fromkeys([finding, *itertools.chain.from_iterable(lists.values())]))
        for finding, lists in _table().items()
    }


@functools.cache
def _names() -> dict[str, tuple[str, list[str]]]:
    """Key → (finding, the lists that have this name)."""
    known: dict[str, tuple[str, list[str]]] = {}
    for finding, lists in _table().items():
        for source, names in lists.items():
            for name in names:
                known.setdefault(_key(name), (finding, []))[1].append(source)
        known.setdefault(_key(finding), (finding, ["English"]))
    return known
