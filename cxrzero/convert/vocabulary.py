"""The vocabulary of a text tower whose weights were published without it: the user brings the file."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from cxrzero.convert.source import Source
from cxrzero.errors import ImportModelError, NoInputError

WORDPIECE, WHOLE = "vocab.txt", "tokenizer.json"
PAD, UNKNOWN, START, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"


def read_vocabulary(source: Source, tokens: int, *, lower_case: bool, origin: str) -> Tokenizer:
    """BERT's tokenizer from vocab.txt, or a whole tokenizer.json: what --tokenizer names, or lies beside the weights.

    Args:
        tokens: rows of the word embedding.
        lower_case: what the authors' own call of transformers does to a text before it is looked up.
        origin: the repository on Hugging Face that holds the file, for the message.

    Raises:
        NoInputError: what --tokenizer names is not there.
        ImportModelError: there is no file, it is none, or it belongs to another model.
    """
    path = _find(source, origin)
    try:
        tokenizer = _whole(path, lower_case) if path.suffix == ".json" else _wordpiece(path, lower_case)
    except ImportModelError:
        raise
    except Exception as error:  # tokenizers raises plain Exception for every malformed file
        raise ImportModelError(f"{path} is not a vocabulary: {error}") from error
    if tokenizer.get_vocab_size() != tokens:
        raise ImportModelError(
            f"{path} has {tokenizer.get_vocab_size():,} tokens and the text tower {tokens:,}: they do not belong "
            f"together. Needed is the file of {origin} on Hugging Face"
        )
    return tokenizer


def _find(source: Source, origin: str) -> Path:
    place = source.tokenizer or source.folder
    if not place.exists():
        raise NoInputError(f"{place}: no such file or folder; --tokenizer takes {WORDPIECE}, {WHOLE} or their folder")
    if place.is_file():
        return place
    for name in (WORDPIECE, WHOLE):
        if (place / name).is_file():
            return place / name
    raise ImportModelError(
        f"{place} has neither {WORDPIECE} nor {WHOLE}, without which the text tower reads no words; fetch {WORDPIECE} "
        f"of {origin} from Hugging Face, and put it there or name it with --tokenizer"
    )


def _whole(path: Path, lower_case: bool) -> Tokenizer:
    """As it is but for its case, which transformers sets from the options of the call as well."""
    tokenizer = Tokenizer.from_file(str(path))
    if isinstance(tokenizer.normalizer, normalizers.BertNormalizer):
        tokenizer.normalizer.lowercase = lower_case
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _wordpiece(path: Path, lower_case: bool) -> Tokenizer:
    """What transformers' BertTokenizer makes of the file: a token a line, numbered from 0."""
    with path.open(encoding="utf-8") as lines:  # str.splitlines would also break at signs that are tokens
        vocabulary = {line.rstrip("\n"): number for number, line in enumerate(lines)}
    missing = [token for token in (PAD, UNKNOWN, START, END) if token not in vocabulary]
    if missing:
        raise ImportModelError(f"{path} is not a vocabulary of BERT's: it has no {', '.join(missing)}")
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([token for token in (PAD, UNKNOWN, START, END, MASK) if token in vocabulary])
    ends = [(token, vocabulary[token]) for token in (START, END)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=ends)
    return tokenizer
