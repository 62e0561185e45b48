"""Which predicted label is which reference label."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cxrzero.errors import ConfigError, LabelError
from cxrzero.tables.labels import LabelRules
from cxrzero.tables.names import fold, some_of


@dataclass(frozen=True, slots=True)
class LabelMatch:
    """Which predicted label is which reference label.

    Attributes:
        names: predicted label → names in the label table.
        only_predicted: predicted labels without reference, each with the nearest reference name or "".
        only_reference: reference names that nothing was predicted for.
    """

    names: dict[str, tuple[str, ...]]
    only_predicted: dict[str, str]
    only_reference: tuple[str, ...]


def match_labels(predicted: Sequence[str], reference: Sequence[str], rules: LabelRules) -> LabelMatch:
    """Find each predicted label among the reference names.

    Raises:
        LabelError: a name fits two, the explicit map names something that does not exist, or nothing fits at all.
    """
    folded: dict[str, list[str]] = {}
    for name in reference:
        folded.setdefault(fold(name), []).append(name)
    mapping = {label: tuple(sources) for label, sources in (rules.mapping or {}).items()}
    _check_mapping(mapping, predicted, reference)
    names: dict[str, tuple[str, ...]] = {}
    missing: dict[str, str] = {}
    for label in predicted:
        found = folded.get(fold(label), [])
        if label in mapping:
            names[label] = mapping[label]
        elif len(found) == 1:
            names[label] = (found[0],)
        elif found:
            raise LabelError(f"label {label!r} fits {' and '.join(map(repr, found))}; say which with --map")
        else:
            nearest = difflib.get_close_matches(fold(label), folded, n=1)
            missing[label] = folded[nearest[0]][0] if nearest else ""
    _check_not_twice(names)
    if not names:
        raise LabelError(
            f"no predicted label ({some_of(predicted)}) is in the label table ({some_of(reference)}); "
            "name pairs with --map 'predicted label=reference label'"
        )
    used = {name for sources in names.values() for name in sources}
    return LabelMatch(names, missing, tuple(name for name in reference if name not in used))


def fitting_rules(rules: LabelRules, predicted: Sequence[str], reference: Sequence[str]) -> LabelRules:
    """The rules with only those explicit maps that fit these tables, under these tables' names."""
    column = {fold(name): name for name in predicted}
    mapping = {
        column[fold(label)]: sources
        for label, sources in (rules.mapping or {}).items()
        if fold(label) in column and all(name in reference for name in sources)
    }
    return replace(rules, mapping=mapping)


def parse_mapping(items: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read `--map "predicted=reference|another"` items.

    Raises:
        ConfigError: an item has no "=" or an empty side.
    """
    mapping = {}
    for item in items:
        label, equals, sources = item.partition("=")
        names = tuple(name.strip() for name in sources.split("|") if name.strip())
        if not equals or not label.strip() or not names:
            raise ConfigError(f"--map {item!r}: write 'predicted label=reference label', several joined by |")
        mapping[label.strip()] = names
    return mapping


def _check_mapping(mapping: Mapping[str, Sequence[str]], predicted: Sequence[str], reference: Sequence[str]) -> None:
    for label, sources in mapping.items():
        if label not in predicted:
            raise LabelError(f"--map: {label!r} is not a predicted label; these are: {some_of(predicted)}")
        absent = [name for name in sources if name not in reference]
        if absent:
            raise LabelError(f"--map: the label table has no {absent[0]!r}; it has: {some_of(reference)}")


def _check_not_twice(names: Mapping[str, Sequence[str]]) -> None:
    seen: dict[str, str] = {}
    for label in names:
        if fold(label) in seen:
            raise LabelError(f"predicted labels {seen[fold(label)]!r} and {label!r} are the same name; rename one")
        seen[fold(label)] = label
