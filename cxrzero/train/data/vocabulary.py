"""Learns the tokenizer of a run: byte-level BPE, so that every string has tokens and none is unknown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from cxrzero.clip.tokenizer import END_ID, PAD_ID, START_ID

PAD, START, END = "[PAD]", "[SOT]", "[EOT]"  # with the ids PAD_ID, START_ID, END_ID


def learn_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train a tokenizer that lower-cases, applies NFKC and frames every text as [SOT] … [EOT].

    Args:
        texts: what to learn from.
        vocab_size: upper limit; at least 259 (three special tokens and the 256 bytes).
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, START_ID), (END, END_ID)]
    )
    return tokenizer


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
