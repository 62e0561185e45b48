"""Which predicted label is which reference label."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cxrzero.errors import ConfigError, LabelError
from cxrzero.tables.labels import LabelRules
from cxrzero.tables.names import fold, some_of
from cxrzero.tables.synonyms import finding_of, in_words, synonyms_among

CLOSE = 0.75  # difflib's ratio from which a name may be the same word, spelt otherwise


@dataclass(frozen=True, slots=True)
class LabelMatch:
    """Which predicted label is which reference label.

    Attributes:
        names: predicted label → names in the label table.
        only_predicted: predicted labels without reference, each with the nearest reference name or "".
        only_reference: reference names that nothing was predicted for; after `of_findings` those that are findings.
        synonyms: predicted label → in words, which built-in synonym found its reference.
        unused: reference names that a label's own name was preferred to, each with the label.
    """

    names: dict[str, tuple[str, ...]]
    only_predicted: dict[str, str]
    only_reference: tuple[str, ...]
    synonyms: dict[str, str] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)

    def of_findings(self, predicted: Sequence[str], reference: Sequence[str]) -> LabelMatch:
        """Leave out names on one side only that are no findings; `predicted` and `reference` are those that are."""
        return replace(
            self,
            only_predicted={label: near for label, near in self.only_predicted.items() if label in predicted},
            only_reference=tuple(name for name in self.only_reference if name in reference),
        )


def match_labels(predicted: Sequence[str], reference: Sequence[str], rules: LabelRules) -> LabelMatch:
    """Find each predicted label among the reference names: by its own name, else by a built-in synonym.

    A reference name that belongs to one label by its own name is no other's synonym.

    Raises:
        LabelError: a name fits two, the explicit map names something that does not exist, or nothing fits at all.
    """
    mapping = {label: tuple(sources) for label, sources in (rules.mapping or {}).items()}
    _check_mapping(mapping, predicted, reference)
    names = dict(mapping)
    for label in predicted:
        found = [name for name in reference if fold(name) == fold(label)]
        if label not in mapping and found:
            names[label] = (_only(label, found),)
    taken = {name for sources in names.values() for name in sources}
    by_synonym = {
        label: (_only(label, found),)
        for label in predicted
        if label not in names and (found := [name for name in synonyms_among(label, reference) if name not in taken])
    }
    rivals = [label for label, found in by_synonym.items() if list(by_synonym.values()).count(found) > 1]
    synonyms = {label: found for label, found in by_synonym.items() if label not in rivals}
    names = {label: (names | synonyms)[label] for label in predicted if label in names or label in synonyms}
    _check_not_twice(names)
    if not names:
        raise LabelError(
            f"no predicted label ({some_of(predicted)}) is in the label table ({some_of(reference)}); "
            "name pairs with --map 'predicted label=reference label', or a column of lists with --list-column"
        )
    used = {name for sources in names.values() for name in sources}
    return LabelMatch(
        names,
        {label: nearest(label, reference, used) for label in predicted if label not in names},
        tuple(name for name in reference if name not in used),
        {label: in_words(label, name) for label, (name,) in synonyms.items()},
        {
            name: label
            for label in names
            if label not in mapping and label not in synonyms
            for name in synonyms_among(label, reference)
            if name not in used
        },
    )


def nearest(label: str, reference: Sequence[str], used: Iterable[str] = ()) -> str:
    """The reference name that `--map` may be meant for, "" where none is like it.

    A synonym, even one that is used already; else a similar word. Names that are known to mean another finding are not
    proposed, however alike they look: pneumonia and pneumothorax.
    """
    if known := synonyms_among(label, reference):
        return known[0]
    free = [name for name in reference if name not in used and None in (finding_of(label), finding_of(name))]
    folded = {fold(name): name for name in reversed(free)}
    alike = difflib.get_close_matches(fold(label), folded, n=1, cutoff=CLOSE)
    return folded[alike[0]] if alike else ""


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


def _only(label: str, found: Sequence[str]) -> str:
    if len(set(found)) < len(found):
        raise LabelError(f"the label table has more than one column named {found[0]!r}; rename or remove one")
    if len(found) > 1:
        raise LabelError(
            f"label {label!r} fits {' and '.join(map(repr, found))}; say which with "
            f'--map "{label}={found[0]}", or --map "{label}={"|".join(found)}" for any of them'
        )
    return found[0]


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
