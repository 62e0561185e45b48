"""From prompts to `input_ids`, with the bundle's own tokenizer.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tokenizers

from cxrzero.display.counts import counted
from cxrzero.errors import TokenizerError

SEPARATOR = "[SEP]"


class Tokenizer:
    """A Hugging Face `tokenizers` file, padded to the context length.

    Args:
        path: tokenizer.json; its normaliser does all text cleaning.
        context_length: tokens that the text encoder reads, special tokens included.
        pad_id: fills the rest.
        sentences: that a prompt must have, with SEPARATOR between them.

    Raises:
        TokenizerError: the file is not a tokenizer.
    """

    def __init__(self, path: Path, context_length: int, pad_id: int, sentences: int = 1) -> None:
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(path.read_bytes())  # a path may be no Unicode
        except Exception as error:  # tokenizers raises plain Exception for every malformed file
            raise TokenizerError(f"{path} is not a tokenizer: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.context_length = context_length
        self.pad_id = pad_id
        self.sentences = sentences

    def count(self, prompts: Sequence[str]) -> list[int]:
        """Tokens of each prompt, special ones included, whether or not they fit."""
        return [len(encoding.ids) for encoding in self._tokenizer.encode_batch(list(prompts))]

    def pieces(self, word: str) -> list[str]:
        """What a word is taken apart into; none where it has a letter that the tokenizer does not know."""
        encoding = self._tokenizer.encode(word, add_special_tokens=False)
        unknown = getattr(self._tokenizer.model, "unk_token", None)
        return [] if unknown in encoding.tokens else list(encoding.tokens)

    def __call__(self, prompts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Encode prompts.

        Returns:
            (len(prompts), context_length) int64.

        Raises:
            TokenizerError: a prompt does not fit. Nothing is cut off: a truncated question is another question. Or it
                has another number of sentences than the model reads.
        """
        if complaint := next(filter(None, map(self.miscounted, prompts)), None):
            raise TokenizerError(complaint)
        input_ids = np.full((len(prompts), self.context_length), self.pad_id, np.int64)
        for row, (prompt, encoding) in enumerate(
            zip(prompts, self._tokenizer.encode_batch(list(prompts)), strict=True)
        ):
            if len(encoding.ids) > self.context_length:
                raise TokenizerError(
                    f"the prompt {prompt[:60]!r}… has {len(encoding.ids)} tokens, the model reads "
                    f"{self.context_length}; shorten the label"
                )
            input_ids[row, : len(encoding.ids)] = encoding.ids
        return input_ids

    def miscounted(self, prompt: str) -> str | None:
        """What to say of a prompt that has another number of sentences than the model reads."""
        found = sum(1 for sentence in prompt.split(SEPARATOR) if sentence.strip())
        if self.sentences in (1, found):
            return None
        return (
            f"the prompt {prompt[:60]!r} has {counted(found, 'sentence')}, and this model is asked for a finding by "
            f'{self.sentences}, with "{SEPARATOR}" between them: give them in a --prompts file'
        )
