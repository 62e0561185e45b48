"""The tokenizer beside a user's text encoder: how long texts may be, what fills the rest, whether it fits at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers

from cxrzero.convert.own.asked import OwnEncoders
from cxrzero.convert.own.ends import TextGraph
from cxrzero.errors import ImportModelError, NoInputError
from cxrzero.model.tokenizer import Tokenizer

MAX_FILE = 2**28  # bytes; the largest vocabularies have 30 MB
MAX_CONTEXT = 8192
# What the padding token is called where the file does not say which one it is.
PADS = ("[PAD]", "<pad>", "<|pad|>", "<PAD>")
LONG = "There is a small left apical pneumothorax. The cardiac silhouette is normal in size. "
# Between the ids and the table of word vectors.
PASSED = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze")


@dataclass(frozen=True, slots=True)
class Words:
    """A tokenizer that belongs to a text encoder.

    Attributes:
        content: of tokenizer.json as the bundle has it.
        ends_with_pad: every text ends with the padding token (CLIP of Hugging Face), so that the first one is a token.
        largest: id of the vocabulary.
        rows: of the table of word vectors; None where the graph does not show it.
        stated: where context length and padding are from, for the user.
    """

    tokenizer: Tokenizer
    content: str
    ends_with_pad: bool
    largest: int
    rows: int | None
    stated: tuple[str, ...]

    def encode(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """(M, context length) ids, and where a token is and no padding."""
        ids, counts = self.tokenizer(texts), np.array(self.tokenizer.count(texts))
        return ids, np.arange(ids.shape[1]) < counts[:, None]

    def longest(self) -> str:
        """A text that fills the context as far as whole words do."""
        words = LONG.split()
        fits = [n for n in range(1, self.tokenizer.context_length + 1) if self._fits(words, n)]
        return " ".join(words[n % len(words)] for n in range(max(fits, default=1)))

    def _fits(self, words: list[str], count: int) -> bool:
        text = " ".join(words[n % len(words)] for n in range(count))
        return self.tokenizer.count([text])[0] <= self.tokenizer.context_length


def read_words(asked: OwnEncoders, text: TextGraph) -> Words:
    """Read the tokenizer, and settle what the graph leaves open.

    Raises:
        NoInputError: there is no such file.
        ImportModelError: it is no tokenizer, does not belong to the graph, or leaves open what an option states.
    """
    path = asked.tokenizer
    try:
        if path.stat().st_size > MAX_FILE:
            raise ImportModelError(f"{path} has more than {MAX_FILE:,} bytes: this is no tokenizer")
        whole = tokenizers.Tokenizer.from_buffer(path.read_bytes())
    except FileNotFoundError:
        raise NoInputError(f"{path}: no such file") from None
    except OSError as error:
        raise ImportModelError(f"{path} cannot be read: {error.strerror}") from error
    except ImportModelError:
        raise
    except Exception as error:  # tokenizers raises plain Exception for every malformed file
        raise ImportModelError(
            f"{path} is not a tokenizer ({error}); give the tokenizer.json that lies beside the text encoder's weights"
        ) from error
    vocabulary: dict[str, int] = whole.get_vocab(with_added_tokens=True)
    if not vocabulary:
        raise ImportModelError(f"{path} knows no words; give the tokenizer.json of the text encoder")
    largest, rows = max(vocabulary.values()), table_rows(text)
    if rows is not None and largest >= rows:
        raise ImportModelError(
            f"{path} has ids up to {largest:,}, the table of {text.graph.path} has {rows:,} rows: they do not belong "
            "together"
        )
    context, of_context = _context(asked, text, whole)
    pad, of_pad = _pad(asked, whole, vocabulary)
    if not 0 <= pad < (rows or largest + 1):
        raise ImportModelError(
            f"the padding id {pad} is none of the {rows or largest + 1:,} that the text encoder knows"
        )
    content = whole.to_str(pretty=True)
    tokenizer = Tokenizer(path, context, pad)
    lines = (f"context length {context}, {of_context}; padding id {pad}, {of_pad}", _of_table(rows, len(vocabulary)))
    return Words(tokenizer, content, _ends_with_pad(asked, whole, pad, text), largest, rows, tuple(filter(None, lines)))


def table_rows(text: TextGraph) -> int | None:
    """Rows of the table in which the ids are looked up; None where the graph does it in another way."""
    sizes = {each.name: tuple(each.dims) for each in text.graph.model.graph.initializer}
    ids, tables = {text.ids.name}, dict(sizes)
    for node in text.graph.model.graph.node:
        if node.op_type in PASSED and node.input[0] in ids:
            ids.update(node.output)
        elif node.op_type in ("Cast", "Identity", "DequantizeLinear") and node.input[0] in tables:
            tables[node.output[0]] = tables[node.input[0]]
        elif node.op_type == "Gather" and len(node.input) == 2 and node.input[1] in ids and tables.get(node.input[0]):
            return tables[node.input[0]][0]
    return None


def _context(asked: OwnEncoders, text: TextGraph, whole: Any) -> tuple[int, str]:
    stated = whole.truncation["max_length"] if whole.truncation else None
    choices = [
        (text.length, "the axis of the text encoder"),
        (asked.context_length, "as stated"),
        (stated, "where the tokenizer cuts texts off"),
    ]
    length, why = next(((n, w) for n, w in choices if n), (None, ""))
    if length is None:
        raise ImportModelError(
            f"how many tokens the text encoder reads is said by neither {text.graph.path} nor {asked.tokenizer}; state "
            "--context-length N (CLIP: 77, BERT: often 256 or 512)"
        )
    if asked.context_length not in (None, length):
        raise ImportModelError(f"{text.graph.path} takes {length} tokens, not --context-length {asked.context_length}")
    if not 2 <= length <= MAX_CONTEXT:
        raise ImportModelError(f"a context length of {length} is none of a text encoder; state --context-length N")
    return int(length), why


def _pad(asked: OwnEncoders, whole: Any, vocabulary: dict[str, int]) -> tuple[int, str]:
    padding = whole.padding
    if padding and padding.get("direction") == "left":
        raise ImportModelError(
            f"{asked.tokenizer} pads on the left, and a bundle pads on the right: the text encoder would read its "
            "texts in other places than it was trained to"
        )
    if asked.pad_id is not None:
        return asked.pad_id, "as stated"
    if padding:
        return int(padding["pad_id"]), f"as the tokenizer pads ({padding['pad_token']})"
    found = [name for name in PADS if name in vocabulary]
    if len(found) != 1:
        special = [f"{each.content} {number}" for number, each in sorted(whole.get_added_tokens_decoder().items())]
        raise ImportModelError(
            f"{asked.tokenizer} does not say which token fills the rest of a text; state --pad-id ID"
            + (f". Its special tokens: {', '.join(special[:12])}" if special else "")
        )
    return vocabulary[found[0]], f"the tokenizer's {found[0]}"


def _of_table(rows: int | None, tokens: int) -> str:
    if rows is None:
        return f"the tokenizer has {tokens:,} tokens; the graph does not show its table"
    odd = "; that is far more: make sure that they belong together" if rows > 1.25 * tokens + 64 else ""
    return f"the tokenizer has {tokens:,} tokens, the text encoder's table {rows:,} rows{odd}"


def _ends_with_pad(asked: OwnEncoders, whole: Any, pad: int, text: TextGraph) -> bool:
    """Whether the first padding token of every text is its last token.

    Raises:
        ImportModelError: the padding token stands elsewhere in a text, so that no mask can be derived from it.
    """
    whole.no_padding()
    whole.no_truncation()
    ids = [encoding.ids for encoding in whole.encode_batch(["pneumonia", "no pleural effusion", "edema"])]
    if not all(ids):
        raise ImportModelError(f"{asked.tokenizer} makes no tokens of ordinary words; give that of the text encoder")
    places = {tuple(at - len(row) for at, token in enumerate(row) if token == pad) for row in ids}
    if places == {()}:
        return False
    if places == {(-1,)}:
        return True
    if text.mask is None:
        return False
    raise ImportModelError(
        f"the padding id {pad} stands inside texts, too, so that {text.mask.name} cannot be derived from "
        "it; state another --pad-id, or export the text encoder without that input"
    )
