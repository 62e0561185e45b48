"""A vocabulary of word pieces that stands for one nobody may copy, and prompts that meet its long and short words."""

from __future__ import annotations

import string

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    "there",
    "is",
    "no",
    "pleural",
    "lung",
    "pneumo",
    "##thorax",
    "##nia",
    "effusion",
    "edema",
    "card",
    "##io",
    "##mega",
)
FINDINGS = (
    "atelectasis",
    "cardiomegaly",
    "consolidation",
    "pulmonary edema",
    "pleural effusion",
    "emphysema",
    "fibrosis",
    "fracture of a rib",
    "hernia",
    "infiltration",
    "lung mass",
    "lung nodule",
    "lung opacity",
    "pleural thickening",
    "pneumonia",
    "pneumothorax",
    "support devices",
    "tuberculosis",
    "granuloma",
    "tissue calcification",
)
PROMPTS = tuple(f"There is {finding}" for finding in FINDINGS)


def wordpieces(tokens: int) -> list[str]:
    """That many pieces in the order of their ids: BERT's special ones, words, letters, and unused ones to fill up."""
    letters = string.ascii_lowercase + string.digits
    pieces = [*SPECIAL, *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    return pieces + [f"[unused{number}]" for number in range(tokens - len(pieces))]
