"""The tokenizer beside published weights, in whichever of three forms it comes, as a `tokenizers` file.

tokenizer.json               as it is
vocab.json + merges.txt      CLIP's byte pairs
spiece.model                 SentencePiece with SigLIP's text cleaning
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from cxrzero.clip.tokenizer import byte_pair_tokenizer
from cxrzero.convert.cleaning import canonical
from cxrzero.errors import ImportModelError

# Where transformers states a tokenizer's options; the later file counts.
OPTIONS = ("special_tokens_map.json", "tokenizer_config.json")
SPACE = "\u2581"  # what SentencePiece writes for a space


def read_tokenizer(folder: Path) -> tuple[Tokenizer, str]:
    """The tokenizer of a folder, and from which files it was read.

    Raises:
        ImportModelError: there is none, or it is damaged.
    """
    for names, read in READERS.items():
        files = [folder / name for name in names]
        if all(file.is_file() for file in files):
            try:
                return read(*files), " and ".join(names)
            except Exception as error:  # tokenizers and protobuf raise of many kinds for malformed files
                raise ImportModelError(f"{files[0]} is not a tokenizer: {error}") from error
    choices = ", ".join(" with ".join(names) for names in READERS)
    raise ImportModelError(f"{folder} has no tokenizer ({choices}); fetch it from where the weights came from")


def pad_id(folder: Path, tokenizer: Tokenizer, otherwise: int) -> int:
    """The id of the padding token that the folder names; where it names none, `otherwise`.

    Raises:
        ImportModelError: it names a token that the tokenizer does not have.
    """
    token = _options(folder).get("pad_token")
    if isinstance(token, dict):
        token = token.get("content")
    if token is None:
        return otherwise
    found: int | None = tokenizer.token_to_id(token)
    if found is None:
        raise ImportModelError(f"{folder}: the padding token {token!r} is none of the tokenizer's")
    return found


def _options(folder: Path) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name in OPTIONS:
        path = folder / name
        if path.is_file():
            try:
                options |= json.loads(path.read_text("utf-8"))
            except (ValueError, TypeError) as error:
                raise ImportModelError(f"{path} cannot be read as JSON: {error}") from error
    return options


def _whole(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))


def _byte_pairs(vocabulary: Path, merges: Path) -> Tokenizer:
    """Build the tokenizer that transformers' CLIPTokenizer is."""
    lines = [line for line in merges.read_text("utf-8").splitlines() if line and not line.startswith("#version")]
    pairs = [(first, second) for first, second in map(str.split, lines)]
    return byte_pair_tokenizer(json.loads(vocabulary.read_text("utf-8")), pairs, "<|startoftext|>", "<|endoftext|>")


def _sentencepiece(path: Path) -> Tokenizer:
    """Build transformers' SiglipTokenizer: lower case, no punctuation, a dummy space in front, an end token behind.

    Raises:
        ImportModelError: it is not a unigram model, or has pieces of one's own, which SentencePiece treats apart.
    """
    from transformers.convert_slow_tokenizer import import_protobuf  # which needs protobuf, as onnx does

    proto = import_protobuf().ModelProto()
    proto.ParseFromString(path.read_bytes())
    kinds = type(proto.pieces[0])
    if proto.trainer_spec.model_type != type(proto.trainer_spec).UNIGRAM:
        raise ImportModelError("it is SentencePiece, but not its unigram model")
    if any(piece.type == kinds.USER_DEFINED for piece in proto.pieces):
        raise ImportModelError("it has user-defined pieces, which are not supported")
    vocabulary = [(piece.piece, piece.score) for piece in proto.pieces]
    tokenizer = Tokenizer(
        models.Unigram(vocabulary, proto.trainer_spec.unk_id, byte_fallback=proto.trainer_spec.byte_fallback)
    )
    steps = canonical(lower=bool(_options(path.parent).get("do_lower_case", True)))
    if proto.normalizer_spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always", split=False)
    end = "</s>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, [piece for piece, _ in vocabulary].index(end))]
    )
    return tokenizer


# The files of each form → how they are read; first the form that needs no rebuilding.
READERS: dict[tuple[str, ...], Callable[..., Tokenizer]] = {
    ("tokenizer.json",): _whole,
    ("vocab.json", "merges.txt"): _byte_pairs,
    ("spiece.model",): _sentencepiece,
}
