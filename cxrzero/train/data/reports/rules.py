"""Which of a report's words are taken as true of its images.

    sentences   the impression as a whole, and each of its sentences alone (sampling them is an augmentation)
    section     the impression as a whole
    chexzero    as the paper's code: what follows the last "IMPRESSION:", up to a recommendation or notification

The first two fall back to the findings, then to the unnamed text, then to nothing: such a report is skipped and
counted. The paper's code trained such images on the words "NO IMPRESSION"; here `chexzero` skips them too, and reports
that say these words themselves, which is its one difference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cxrzero.choices import TextRule
from cxrzero.train.data.reports.asides import is_aside, without_advice
from cxrzero.train.data.reports.blanks import is_missing
from cxrzero.train.data.reports.marks import unmark
from cxrzero.train.data.reports.sections import Section, SectionName, split_sections
from cxrzero.train.data.reports.sentences import split_sentences

TEXT_RULES: Final[tuple[TextRule, ...]] = ("sentences", "section", "chexzero")
FALLBACK: Final[tuple[SectionName, ...]] = ("impression", "findings", "body")

# Whole sentences that mean nothing without the report around them.
_EMPTY_ALONE: Final = frozenset(
    (
        *("unchanged", "stable", "improved", "increased", "decreased", "worse", "none", "as above", "see above"),
        *("no change", "no significant change", "no interval change", "no significant interval change"),
        *("little change", "little interval change", "otherwise unchanged", "limited study", "see findings"),
    )
)
_REGION: Final = re.compile(
    r"(?:(?:left|right|both|bilateral|the|thoracic|lumbar|cervical|pa|ap|lateral|two|2)[ ,]+)*"
    r"(?:chest|abdomen|kub|pelvis|spine|ribs?|shoulders?|clavicles?|hips?|knees?|ankles?|foot|feet|hands?|femur|views?)"
    r"(?: (?:x-?rays?|radiographs?|films?|views?))?"
)
_BEGIN: Final = "IMPRESSION:"
_CUTS: Final = frozenset(
    ("RECOMMENDATION:", "RECOMMENDATIONS:", "RECOMMENDATION(S):", "NOTIFICATION:", "NOTIFICATIONS:", "NOTIFICATION(S):")
)


@dataclass(frozen=True, slots=True)
class ReportTexts:
    """What one report gives.

    Attributes:
        section: where it was found; None = nowhere, the report is skipped.
        whole: the section as one text, "" if skipped.
        sentences: texts that may stand for it alone; empty if there is one sentence only, or the rule takes none.
    """

    section: SectionName | None
    whole: str
    sentences: tuple[str, ...] = ()


def report_texts(report: str, rule: TextRule = "sentences") -> ReportTexts:
    """Apply a rule to one report.

    Args:
        report: the whole report, headers and line breaks as written.
        rule: see the module.
    """
    if rule == "chexzero":
        return _as_the_paper(report)
    sections = split_sections(report)
    for name in FALLBACK:
        for text in _candidates(sections, name):
            sentences = _readable(text)
            if sentences and not is_missing(_join(sentences)) and not all(map(is_missing, sentences)):
                alone = tuple(dict.fromkeys(s for s in sentences if _stands_alone(s)))
                several = rule == "sentences" and len(sentences) > 1
                return ReportTexts(name, _join(sentences), alone if several else ())
    return ReportTexts(None, "")


def _candidates(sections: list[Section], name: SectionName) -> list[str]:
    """The texts under a name, the one to take first: the last wins, because reports correct themselves below."""
    texts = [section.text for section in sections if section.name == name]
    return ["\n\n".join(texts)] if name == "body" else texts[::-1]


def _readable(text: str) -> list[str]:
    """Asides are looked for again once the marks are out: "A XXXX CT is recommended" is one."""
    told = [without_advice(sentence) for sentence in split_sentences(text) if not is_aside(sentence)]
    clear = [sentence for sentence in map(unmark, told) if any(letter.isalpha() for letter in sentence)]
    return [sentence for sentence in clear if not is_aside(sentence)]


def _stands_alone(sentence: str) -> bool:
    words = sentence.rstrip(".!:").casefold()
    return words not in _EMPTY_ALONE and not is_missing(words) and not _REGION.fullmatch(words)


def _join(sentences: list[str]) -> str:
    ended = [s if s[-1] in ".!?:" else f"{s}." for s in sentences[:-1]]
    return " ".join([*ended, sentences[-1]])


def _as_the_paper(report: str) -> ReportTexts:
    words = report.split()
    if _BEGIN not in words:
        return ReportTexts(None, "")
    words = words[len(words) - words[::-1].index(_BEGIN) :]
    cut = next((i for i, word in enumerate(words) if word in _CUTS), len(words))
    whole = " ".join(words[:cut])
    return ReportTexts(None, "") if not whole or is_missing(whole) else ReportTexts("impression", whole)
