"""Learns the tokenizer of a run: byte-level BPE, so that every string has tokens and none is unknown."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from cxrzero.clip.tokenizer import END_ID, PAD_ID, START_ID

GAP = "\0"  # stands for what is not learned from
_PIECE = re.compile(r"[^\W\d_]+|\d+|[^\x01-\x7f]")
PAD, START, END = "[PAD]", "[SOT]", "[EOT]"  # with the ids PAD_ID, START_ID, END_ID


def learn_tokenizer(texts: Iterable[str], vocab_size: int, words: Collection[str]) -> Tokenizer:
    """Train a tokenizer that lower-cases, applies NFKC and frames every text as [SOT] … [EOT].

    Args:
        texts: what to learn from.
        vocab_size: upper limit; at least 259 (three special tokens and the 256 bytes).
        words: that may be learned, in small letters; what else a text has, and every number, is no part of the
            vocabulary and is encoded in smaller pieces.
    """
    tokenizer = Tokenizer(models.BPE())
    clean = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    # The spaces that `add_prefix_space` adds are written here: it would add some behind what is left out, too.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(GAP, "removed"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((f" {_without(clean.normalize_str(text), words)}" for text in texts), trainer)
    tokenizer.normalizer = clean
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, START_ID), (END, END_ID)]
    )
    return tokenizer


def _without(text: str, words: Collection[str]) -> str:
    """The text with a GAP for every word that is not one of `words`, every number, and every sign beyond ASCII."""
    return _PIECE.sub(lambda piece: piece[0] if piece[0] in words else GAP, text)


def encode(
    tokenizer: Tokenizer, texts: Sequence[str], context_length: int, pad_id: int = PAD_ID
) -> npt.NDArray[np.int64]:
    """Token ids of training texts; longer ones are cut but keep their end token, as in CLIP's training.

    Returns:
        (T, context_length) int64, padded with `pad_id`.
    """
    ids = np.full((len(texts), context_length), pad_id, np.int64)
    for row, encoding in zip(ids, tokenizer.encode_batch(list(texts)), strict=True):
        kept = encoding.ids[:context_length]
        row[: len(kept)] = kept
        row[len(kept) - 1] = encoding.ids[-1]
    return ids


def private_tokens(tokenizer: Tokenizer, names: Collection[str]) -> int:
    """Tokens that `learn_tokenizer` would not learn today: with two digits or more, or a probable name.

    Args:
        names: in small letters.
    """
    decoded = (tokenizer.decode([token], skip_special_tokens=True).strip() for token in tokenizer.get_vocab().values())
    return sum(sum(map(str.isdigit, text)) > 1 or text in names for text in decoded)
