"""CLIP's tokenizer, and the ids that a tokenizer learned here gives its special tokens."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

CLIP_VOCABULARY = 49408
PAD_ID, START_ID, END_ID = 0, 1, 2  # CLIP pads with 0 too


def clip_tokenizer() -> Tokenizer:
    """CLIP's byte-pair tokenizer, from open_clip's own merges, as a `tokenizers` file."""
    from open_clip.tokenizer import SimpleTokenizer

    source = SimpleTokenizer()
    return byte_pair_tokenizer(dict(source.encoder), list(source.bpe_ranks), "<start_of_text>", "<end_of_text>")


def byte_pair_tokenizer(vocabulary: dict[str, int], merges: list[tuple[str, str]], start: str, end: str) -> Tokenizer:
    """CLIP's scheme over any vocabulary: lower case, words of letters, single digits, rests; byte pairs within.

    Args:
        merges: pairs, the first joined first.
        start, end: names of the tokens around a text.
    """
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip(), normalizers.Lowercase()]
    )
    pattern = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    words = pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    ids = [(start, vocabulary[start]), (end, vocabulary[end])]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{start} $A {end}", special_tokens=ids)
    return tokenizer
