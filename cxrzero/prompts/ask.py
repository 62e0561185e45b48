"""Which sentences are asked for which label: the user's file, the built-in bank, or templates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxrzero.errors import LabelError
from cxrzero.model.bundle import Bundle
from cxrzero.model.model_json import TOGETHER, Scoring
from cxrzero.prompts.bank import BUILT_IN, NORMAL, Bank, built_in_bank, key_of, load_bank
from cxrzero.prompts.labels import LabelPrompts, build_prompts, check_labels

BY_BOOK = "the model's book"


def resolve_prompts(
    bundle: Bundle, labels: Sequence[str] | None = None, prompts: str | None = None
) -> tuple[LabelPrompts, ...]:
    """Find the prompts of each label.

    An entry of the bank decides; a label without one is put into the file's templates, else it is asked in the model's
    own words, see `own_prompts`.

    Args:
        bundle: whose templates and default labels.
        labels: None asks the labels of the user's file, and without one the model's own.
        prompts: path of a prompts file, or "default" for the built-in bank.

    Raises:
        LabelError: labels that cannot be columns of one table, or none where the model names none.
        ConfigError: the prompts file is not usable.
    """
    bank = _bank(prompts)
    if labels is None:
        labels = bank.names if bank and prompts != BUILT_IN and bank.names else bundle.labels
        if not labels:
            raise LabelError(f"the model {bundle.name} names no labels of its own; say with --labels what to ask it")
    return tuple(_of_label(label, bundle, bank) for label in check_labels(labels))


def own_prompts(label: str, bundle: Bundle) -> LabelPrompts:
    """What a model is asked for a label where the user says nothing of it: by its book, else by its templates.

    "No Finding" and its synonyms are never put into templates, where they would become "no No Finding" (the reference's
    mistake, which turns the ranking round): without an entry of the book they are asked as the built-in bank states.
    """
    (by_templates,) = build_prompts([label], bundle.templates)
    key = NORMAL if is_normal(label) else key_of(label)
    prompt = next((prompt for name, prompt in bundle.book.items() if key_of(name) == key), None)
    if prompt is not None:
        return replace(by_templates, positive=(prompt,), source=BY_BOOK)
    found = built_in_bank().find(label) if key == NORMAL else None
    return by_templates if found is None else replace(found, is_from_model=True)


def as_asked(prompts: Iterable[LabelPrompts], scoring: Scoring) -> tuple[LabelPrompts, ...]:
    """Without the negative sentences where a model is not asked any."""
    return tuple(prompts) if scoring.asks_pairs else tuple(replace(prompt, negative=()) for prompt in prompts)


def entries_of(asked: Sequence[Sequence[LabelPrompts]], scorings: Iterable[Scoring]) -> list[dict[str, Any]]:
    """What is asked for each label, as the run record has it.

    Args:
        asked: of each model its prompts, the labels in the same order.
        scorings: of each model. Where one is asked all labels of a question together, these decide each label's number,
            and a digest of all sentences is part of each entry; of all but those that are asked along anyway.
    """
    scorings = tuple(scorings)
    together = any(scoring.together for scoring in scorings)
    anyway = {text for scoring in scorings for text in scoring.companions}
    sentences = sorted({text for prompts in asked for p in prompts for text in (*p.positive, *p.negative)} - anyway)
    digest = hashlib.sha256(json.dumps(sentences).encode()).hexdigest()
    entries = []
    for first, *others in zip(*asked, strict=True):
        entry = first.record() | ({TOGETHER: digest} if together else {})
        if others:
            entry["others"] = [{"positive": list(p.positive), "negative": list(p.negative)} for p in others]
        entries.append(entry)
    return entries


def is_normal(label: str) -> bool:
    """Whether a label says that there is no finding at all."""
    entry = built_in_bank().entries.get(key_of(label))
    return entry is not None and key_of(entry.name) == NORMAL


def _bank(prompts: str | None) -> Bank | None:
    if prompts is None:
        return None
    return built_in_bank() if prompts == BUILT_IN else load_bank(Path(prompts))


def _of_label(label: str, bundle: Bundle, bank: Bank | None) -> LabelPrompts:
    found = bank.find(label) if bank else None
    if found is not None:
        return found
    if bank and bank.templates and not is_normal(label):
        (prompt,) = build_prompts([label], bank.templates)
        return LabelPrompts(label, prompt.positive, prompt.negative, f"the templates of {bank.source}")
    return own_prompts(label, bundle)
