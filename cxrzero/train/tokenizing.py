"""Which tokenizer a run has: learned from its own texts, or taken over, and then looked at before it is passed on."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

from cxrzero.clip.architecture import learns_tokenizer
from cxrzero.display.counts import counted
from cxrzero.errors import UsageError
from cxrzero.train.data.pairs import Pairs
from cxrzero.train.data.reports.identifiers import marked_names
from cxrzero.train.data.vocabulary import learn_tokenizer, private_tokens
from cxrzero.train.data.words import LearnableWords, learnable_words
from cxrzero.train.model.start import Start
from cxrzero.train.options import TrainOptions


def learned_tokenizer(options: TrainOptions, pairs: Pairs, vocab_size: int) -> tuple[Tokenizer, LearnableWords]:
    """The tokenizer that a run learns from its own texts, and from which words.

    Raises:
        UsageError: --tokenizer-texts cannot be read.
    """
    more = []
    if options.tokenizer_texts is not None:
        try:
            more = options.tokenizer_texts.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{options.tokenizer_texts} cannot be read as UTF-8 text: {error}") from error
    words = learnable_words(pairs, more)
    return learn_tokenizer([*pairs.texts, *more], vocab_size, words.words), words


def inherited_warning(start: Start, texts: Sequence[str]) -> str | None:
    """What is to be said of a vocabulary that an earlier run learned, by whatever rule it had."""
    if start.tokenizer is None or not learns_tokenizer(start.arch):
        return None
    count = private_tokens(start.tokenizer, {name for text in texts for name in marked_names(text)})
    if not count:
        return None
    return (
        f"The vocabulary of --init, which goes into this bundle, has {counted(count, 'piece')} with a number or a "
        "probable name. An earlier version learned it. For a bundle that you can pass on, train from scratch."
    )
