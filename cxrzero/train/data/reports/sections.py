"""The sections of a report, by the headers that radiologists and report systems write.

A header is one of the names below with a colon: anywhere in capitals ("... 4 weeks. IMPRESSION: No ..."), at the
start of a line or after a full stop in other spellings; or, in capitals, alone on a line. What stands before the first
header, and what follows the one paragraph of an indication, technique or comparison, is the section "body".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

SectionName = Literal["impression", "findings", "body", "preliminary", "addendum", "closing", "context"]

# Spellings as regular expressions; a space stands for any number of spaces.
_REC = r"recommendation(?:s|\(s\))?"
_NAMES: Final[dict[SectionName, tuple[str, ...]]] = {
    "preliminary": (
        r"wet read(?:ing)?(?: version(?: ?# ?\d+)?)?",
        r"preliminary (?:report|read(?:ing)?|impression|findings|interpretation)",
        r"provisional (?:findings(?: ?/? ?impression)?|impression|report)",
        r"pfi",
    ),
    "impression": (
        r"(?:final |overall |radiographic |chest |addendum )?(?:im)?pressions?",
        rf"impressions?(?: ?/ ?| and | & )(?:{_REC}|plan|conclusions?)",
        rf"conclusions?(?:(?: ?/ ?| and | & )(?:{_REC}|impressions?))?",
        r"findings?(?: ?/ ?| and | & )(?:impressions?|conclusions?)",
        r"opinion",
        r"final diagnosis",
    ),
    "findings": (
        r"findings?",
        r"(?:chest|radiographic|radiological|imaging|x-ray) findings?",
        r"(?:report|description|observations?|interpretation)",
    ),
    "closing": (
        _REC,
        rf"{_REC}(?: ?/ ?| and | & )(?:notification|communication)(?:s|\(s\))?",
        r"(?:critical (?:result|finding)s? )?(?:notification|communication)(?:s|\(s\))?",
        r"critical (?:results?|findings?|values?)",
        r"follow(?:-| ?)up",
        r"(?:dictated|transcribed|reviewed|interpreted|electronically signed|signed|reported|approved|verified) by",
        r"(?:electronic )?signature",
        r"attestation",
        r"attending(?: radiologist| physician)?",
        r"radiologist",
    ),
    "addendum": (r"addend(?:um|a)(?: ?# ?\d+)?",),
    "body": (r"final report",),
    "context": (
        r"(?:type of )?exam(?:ination)?s?(?: type| date| performed)?",
        r"(?:procedure|study|modality|views?|protocol)",
        r"(?:clinical |relevant |brief |patient )?(?:history|indications?|information|details|question|background)",
        r"indications?(?: ?/ ?| and | & )history",
        r"reasons? for (?:the |this )?(?:exam(?:ination)?|study|request|visit)",
        r"(?:admitting |clinical )?diagnosis",
        r"(?:techniques?|technical (?:factors|details))",
        r"(?:comparisons?|comparison(?:s| studies| study| films?| exams?)|prior (?:studies|study|exams?))",
        r"(?:date|time)(?: of (?:exam(?:ination)?|study|service))?",
        r"(?:referring|ordering) (?:physician|provider|doctor)",
        r"(?:accession|patient)(?: number| name| id)?",
        r"(?:medical condition|underlying medical condition|contrast|medications?)",
    ),
}


def _spaces(names: str) -> str:
    return re.sub(r" (\??)", lambda space: r"[ \t]*" if space[1] else r"[ \t]+", names)


_SPELLINGS: Final = "|".join(f"(?P<{section}>{_spaces('|'.join(names))})" for section, names in _NAMES.items())
_NOTE: Final = r"(?:[ \t]*\([^()\n]{0,40}\))?[ \t*_]*"
_HEADER: Final = re.compile(
    rf"(?<![A-Za-z0-9/&-])(?:{_SPELLINGS}){_NOTE}(?P<end>:|$|-(?=\s))", re.IGNORECASE | re.MULTILINE
)
# A line such as "PA AND LATERAL CHEST, 5:30 A.M.:" opens the findings where no header of that name does.
_VIEW: Final = re.compile(
    r"^[ \t]*(?=[^\n]{0,60}\b(?:CHEST|RADIOGRAPHS?|X-?RAYS?|VIEWS?|FRONTAL|LATERAL|PA|AP)\b)"
    r"[A-Z0-9][A-Z0-9 ,/&().:\-]{0,60}?:(?=\s)",
    re.MULTILINE,
)
_MARGIN: Final = " \t*_#>"
_PARAGRAPH: Final = re.compile(r"\n[ \t_]*\n\s*")
# At least three words, one of them in small letters, and a full stop: prose, not the title of an examination.
_PROSE: Final = re.compile(r"\w+\W+\w+\W+\w+[\s\S]*\.")


@dataclass(frozen=True, slots=True)
class Section:
    """One section of a report.

    Attributes:
        name: what the header stands for.
        text: what is under it, white space as written.
    """

    name: SectionName
    text: str


def split_sections(report: str) -> list[Section]:
    """The sections in the order of the report; empty ones are left out.

    A report without any header is one section "body".
    """
    text = report.replace("\r\n", "\n").replace("\r", "\n")
    headers = _headers(text)
    if not headers:
        return [Section("body", text.strip())] if text.strip() else []
    sections = [Section("body", paragraph) for paragraph in _prose(text[: headers[0][1]])]
    ends = [begin for _, begin, _ in headers[1:]] + [len(text)]
    for (name, _, begin), end in zip(headers, ends, strict=True):
        content = text[begin:end].strip(_MARGIN + "\n")
        if name == "context":
            first, *more = _PARAGRAPH.split(content, maxsplit=1)
            sections.append(Section("context", first))
            sections += [Section("body", paragraph) for paragraph in _prose("".join(more))]
        elif name == "body":
            sections += [Section("body", paragraph) for paragraph in _prose(content)]
        else:
            sections.append(Section(name, content))
    return [section for section in sections if section.text]


def _headers(text: str) -> list[tuple[SectionName, int, int]]:
    """(section, where the header begins, where its content begins), in order."""
    found: list[tuple[SectionName, int, int]] = []
    for match in _HEADER.finditer(text):
        name = next(name for name in _NAMES if match[name] is not None)
        if _is_header(text, match, match[name]):
            found.append((name, match.start(), match.end()))
    taken = [range(begin, end) for _, begin, end in found]
    for match in _VIEW.finditer(text):
        before = max((header for header in found if header[1] <= match.start()), key=lambda h: h[1], default=None)
        overlaps = any(r.start < match.end() and match.start() < r.stop for r in taken)
        if not overlaps and (before is None or before[0] not in ("impression", "findings")):
            found.append(("findings", match.start(), match.end()))
    return sorted(found, key=lambda header: header[1])


def _is_header(text: str, match: re.Match[str], name: str) -> bool:
    line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
    starts_line, capitals = not line.strip(_MARGIN), name.isupper()
    if match["end"] != ":":
        # Without a colon: alone on its line, or "IMPRESSION - ...".
        return starts_line and capitals
    return starts_line or capitals or (name[0].isupper() and line.rstrip()[-1:] in tuple(".!?)]"))


def _prose(text: str) -> list[str]:
    """The paragraphs that are sentences."""
    paragraphs = (paragraph.strip() for paragraph in _PARAGRAPH.split(text))
    return [p for p in paragraphs if _PROSE.search(p) and any(letter.islower() for letter in p)]
