"""A linter for prompts: what makes a question mean something else than its author thinks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from cxrzero.model.score import mean_direction
from cxrzero.prompts.ask import is_normal
from cxrzero.prompts.labels import LabelPrompts
from cxrzero.prompts.words import Pieces, denied_in, foreign_in, instead_of, several_in, unknown_in

Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]

# A label ranks images along mean⁺ − mean⁻. At a cosine of 0.98 two such directions are 11° apart, and their scores over
# embeddings spread alike in all directions correlate with 0.98: two names for one question.
NEARLY_EQUAL = 0.98
BLOCK = 512  # labels compared at once: 512 × 10,000 cosines are 20 MB

NEGATIONS = r"(?:no|not|without|never|neither|nor|absent|absence|negative for|free of|free from)"
# Two negations in one clause; a comma, "and" or "or" starts the next one ("no effusion and no edema" is sound).
DOUBLE = re.compile(rf"\b{NEGATIONS}\b(?:(?!\b(?:and|or|but)\b)[^,;.])*?\b{NEGATIONS}\b")
AFTER_NO = re.compile(
    r"\bno (?:(?P<verb>is|are|was|were|be|has|have|had|shows?|seen|there|it|they|in|of|at|with)"
    r"|(?P<article>a|an|the|this|that|these|those)"
    r"|(?P<quantity>one|two|three|some|several|many|multiple|both|all|each|every|few))\b"
)
ONLY_ADJECTIVE = re.compile(r"^no (?:enlarged|abnormal|normal|dilated|elevated|increased|decreased|thickened|widened)$")
GRAMMAR = {"verb": "is no noun", "article": "is an article, which cannot follow it", "quantity": "is a quantity"}

CODES = {
    "empty": "a side without prompts, or a prompt without a word",
    "double_negative": "two negations in one clause: the question means its opposite",
    "grammar": "what follows `no` is not a noun: no report says it so",
    "duplicate": "a prompt twice on one side, or two labels with the same prompts",
    "same_on_both_sides": "a prompt both for and against the label",
    "too_long": "more tokens than the model reads",
    "sentences": "another number of sentences than the model reads in one prompt",
    "negated": "a label that denies a finding",
    "several_labels": "one label that is a list of findings",
    "language": "another language than English",
    "unknown_word": "a word that neither the vocabulary of radiology nor the tokenizer has",
    "nearly_equal_labels": f"directions of two labels with a cosine of at least {NEARLY_EQUAL}",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One complaint; `code` is a key of CODES."""

    code: str
    label: str
    message: str


def lint(
    prompts: Sequence[LabelPrompts],
    count_tokens: Callable[[Sequence[str]], Sequence[int]] | None = None,
    context_length: int = 0,
    embed: Embed | None = None,
    pieces: Pieces | None = None,
    is_english: bool = True,
    pairs: bool = True,
    miscounted: Callable[[str], str | None] | None = None,
) -> list[Finding]:
    """Check prompts.

    Args:
        count_tokens, context_length: without them the length is not checked.
        embed: T sentences → (T, D) float32; without it embeddings are not compared, nor when a prompt is empty or
            too long.
        pieces: a word → what the tokenizer takes it apart into; what is one piece is a word.
        is_english: whether the model reads English; without it words are not judged.
        pairs: whether the model is asked negative sentences.
        miscounted: what to say of a prompt whose sentences are too few or too many; without it they are not counted.
    """
    words = [finding for prompt in prompts for finding in _words(prompt, pieces, is_english)]
    negated = {finding.label for finding in words if finding.code == "negated"}  # says it better than what follows
    wording = [finding for prompt in prompts for finding in _wording(prompt, pairs)]
    findings = [each for each in wording if each.code != "double_negative" or each.label not in negated] + words
    findings += _same_prompts(prompts)
    if count_tokens:
        findings += _too_long(prompts, count_tokens, context_length)
    if miscounted:
        findings += _miscounted(prompts, miscounted, pairs)
    if embed and not any(finding.code in ("empty", "too_long") for finding in findings):
        findings += _nearly_equal(prompts, embed)
    return findings


def _words(prompt: LabelPrompts, pieces: Pieces | None, is_english: bool) -> Iterator[Finding]:
    """What is odd about a label's own words, and about those of its sentences."""
    is_read = any(prompt.label in text for text in prompt.positive)  # else it only names the sentences
    if is_read and (denied := denied_in(prompt.label)) and not is_normal(prompt.label):
        yield Finding("negated", prompt.label, f"denies a finding; {instead_of(denied)}")
    if is_read and (several := several_in(prompt.label)):
        yield Finding(
            "several_labels",
            prompt.label,
            f"is asked as one finding; to ask for {len(several)}, put commas between them",
        )
    if is_english:
        texts = tuple(dict.fromkeys([prompt.label] * is_read + [*prompt.positive, *prompt.negative]))
        for code, said in (("language", foreign_in), ("unknown_word", partial(unknown_in, pieces=pieces))):
            if message := next(filter(None, map(said, texts)), None):
                yield Finding(code, prompt.label, message)
                return


def _wording(prompt: LabelPrompts, pairs: bool) -> Iterator[Finding]:
    sides = {"positive": prompt.positive} | ({"negative": prompt.negative} if pairs else {})
    for side, texts in sides.items():
        if not texts:
            yield Finding("empty", prompt.label, f"no {side} prompt")
        for text, count in Counter(map(_plain, texts)).items():
            if count > 1:
                yield Finding("duplicate", prompt.label, f"{count} {side} prompts are {text!r}")
        for text in texts:
            yield from _sentence(prompt.label, text)
    for text in sorted(set(map(_plain, prompt.positive)) & set(map(_plain, prompt.negative))):
        yield Finding("same_on_both_sides", prompt.label, f"{text!r} is asked for and against")


def _sentence(label: str, text: str) -> Iterator[Finding]:
    plain = _plain(text)
    if not re.search(r"[^\W\d_]", plain):
        yield Finding("empty", label, f"the prompt {text!r} has no word")
    if DOUBLE.search(plain):
        yield Finding("double_negative", label, f"{text!r} negates twice; state it positively")
    elif match := AFTER_NO.search(plain):
        yield Finding("grammar", label, f"{text!r}: the word after 'no' {GRAMMAR[str(match.lastgroup)]}")
    elif ONLY_ADJECTIVE.match(plain):
        yield Finding("grammar", label, f"{text!r}: an adjective alone after 'no'; name the thing")


def _same_prompts(prompts: Sequence[LabelPrompts]) -> Iterator[Finding]:
    first: dict[tuple[frozenset[str], frozenset[str]], str] = {}
    for prompt in prompts:
        key = (frozenset(map(_plain, prompt.positive)), frozenset(map(_plain, prompt.negative)))
        other = first.setdefault(key, prompt.label)
        if other != prompt.label:
            yield Finding("duplicate", prompt.label, f"has the same prompts as {other!r}")


def _too_long(
    prompts: Sequence[LabelPrompts], count_tokens: Callable[[Sequence[str]], Sequence[int]], context_length: int
) -> Iterator[Finding]:
    pairs = [(prompt.label, text) for prompt in prompts for text in (*prompt.positive, *prompt.negative)]
    for (label, text), tokens in zip(pairs, count_tokens([text for _, text in pairs]), strict=True):
        if tokens > context_length:
            yield Finding("too_long", label, f"{text[:60]!r}… has {tokens} tokens, the model reads {context_length}")


def _miscounted(
    prompts: Sequence[LabelPrompts], miscounted: Callable[[str], str | None], pairs: bool
) -> Iterator[Finding]:
    for prompt in prompts:
        for text in (*prompt.positive, *prompt.negative) if pairs else prompt.positive:
            if message := miscounted(text):
                yield Finding("sentences", prompt.label, message)


def _nearly_equal(prompts: Sequence[LabelPrompts], embed: Embed) -> Iterator[Finding]:
    """Find for each label the nearest of those before it, if it is too near."""
    sentences = list(dict.fromkeys(text for p in prompts for text in (*p.positive, *p.negative)))
    row = {text: index for index, text in enumerate(sentences)}
    embeds = embed(sentences)
    directions = np.stack(
        [
            mean_direction(embeds[[row[t] for t in p.positive]]) - mean_direction(embeds[[row[t] for t in p.negative]])
            for p in prompts
        ]
    )
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    directions = np.divide(directions, lengths, out=np.zeros_like(directions), where=lengths > 0)
    for start in range(0, len(prompts), BLOCK):
        cosines = directions[start : start + BLOCK] @ directions.T
        for offset, cosine in enumerate(cosines):
            place = start + offset
            if place and cosine[:place].max() >= NEARLY_EQUAL:
                nearest = int(cosine[:place].argmax())
                message = f"asks nearly the same as {prompts[nearest].label!r} (cosine {cosine[nearest]:.3f})"
                yield Finding("nearly_equal_labels", prompts[place].label, message)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
