"""A published model in memory, with everything that a bundle has to state about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from cxrzero.cards.card import Card
from cxrzero.clip.architecture import Arch
from cxrzero.convert.towers import AttentionTowers, Towers


@dataclass(frozen=True)
class LoadedModel:
    """What every kind of source becomes.

    Attributes:
        model: the module itself (open_clip's or transformers'), float32, in evaluation mode; None where training
            cannot go on from it.
        embed_dim: D of the space that both towers share; None for `AttentionTowers`.
        image_size: (height, width) in pixels.
        preprocess: the bundle's steps.
        scoring: {"rule", "scale", "bias"} as in model.json; for `AttentionTowers` the rule is "scorer", and "pairs"
            and "labels" are stated, where its authors have some with "companions".
        tokenizer: its normaliser does all text cleaning.
        activation: "QuickGELU", "GELU" or what the configuration calls it.
        card: what the registry knows of it.
        arch: a configuration that `clip.architecture.build_model` can build it from again; None where there is none.
        lineage: whose preprocessing and scoring rule these are.
        stated: what was recognised and how, a line each, for the user.
        book: label → the prompt that its authors ask for it; other labels are put into templates.
        sentences: of a prompt, with "[SEP]" between them.
        files: that the weights were read from, where their names do not tell that they are a model's.
    """

    model: Any
    towers: Towers | AttentionTowers
    architecture: str
    embed_dim: int | None
    image_size: tuple[int, int]
    preprocess: list[dict[str, Any]]
    scoring: dict[str, Any]
    tokenizer: Tokenizer
    context_length: int
    pad_id: int
    activation: str
    lineage: str
    card: Card | None
    arch: Arch | None
    stated: tuple[str, ...]
    book: Mapping[str, str] = field(default_factory=dict)
    sentences: int = 1
    files: tuple[Path, ...] = ()


def square(size: Any) -> tuple[int, int]:
    """(height, width) of a configuration's image size, one number or two."""
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) else (int(size), int(size))
