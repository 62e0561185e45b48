"""What a bundle says of the run that made it, with nothing in it that a user typed but numbers and words of a list.

A path may name a patient, and so may a file, a run folder or a column of somebody's table. They stay in run.json, which
is not passed on.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxrzero.cards.card import card_names
from cxrzero.clip.architecture import Arch, is_named
from cxrzero.convert.lineage import OPEN_CLIP
from cxrzero.options import Option, options_of
from cxrzero.prompts.bank import key_of
from cxrzero.prompts.mentions import listed_names
from cxrzero.train.options import TrainOptions
from cxrzero.train.recipes import RECIPES


def command_of(options: TrainOptions) -> str:
    """The command line with the options' placeholders for paths: "cxrzero train SOURCE --out DIR --epochs 3"."""
    recipe = RECIPES[options.recipe]
    parts = ["cxrzero", "train"]
    for each in options_of(TrainOptions):
        value = getattr(options, each.name)
        if each.is_argument:
            parts.append(str(each.metavar))
        elif not each.hidden and value != recipe.get(each.name, each.default):
            parts += _typed(each, value)
    return " ".join(parts)


def _typed(option: Option, value: Any) -> list[str]:
    flag = option.flags.split("/")[0]
    if isinstance(value, bool):
        return [flag if value else option.flags.split("/")[-1]]
    return [flag, _shown(option, value)]


def _shown(option: Option, value: Any) -> str:
    if isinstance(value, Path):
        return str(option.metavar)
    if option.name == "arch" and not is_named(value):
        return "FILE"
    if option.name == "lineage" and value not in (*card_names(), OPEN_CLIP.name):
        return str(option.metavar)
    if option.name == "alike":
        return next(map(shlex.quote, listed_labels({value: None})), str(option.metavar))
    return str(value)  # a number, or a word of a closed list


def arch_name(arch: Arch) -> str:
    """The name of a built-in architecture or of open_clip's; else what its file says that it is."""
    return str(arch["name"] if is_named(arch["name"]) else arch["architecture"])


def name_of(arch: Arch, facts: Mapping[str, Any]) -> str:
    """A model's name where no card gives one: not the run folder's, which may be anybody's.

    Args:
        facts: of the run; another seed or recipe gives another name.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    family = arch["name"] if is_named(arch["name"]) else "model"
    return f"{family}-{digest[:8]}"


def listed_labels(labels: Mapping[str, Any]) -> dict[str, Any]:
    """Findings that the built-in bank lists, by its names; a table's own headings stay with the table."""
    names = listed_names()
    return {names[key_of(label)][1]: value for label, value in labels.items() if key_of(label) in names}


def public_validation(found: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured, as in metrics.jsonl, without a user's own labels."""
    labels = listed_labels(found.get("labels", {}))
    rest = {name: value for name, value in found.items() if name != "labels"}
    unlisted = len(found.get("labels", {})) - len(labels)
    return rest | ({"labels": labels} if labels else {}) | ({"unlisted_labels": unlisted} if unlisted else {})
