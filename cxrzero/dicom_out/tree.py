"""Content items of a structured report (PS3.3, C.17.3), encoded as they are made (explicit VR, little endian).

A report is many small items, most of which each group has again. As objects of highdicom's classes, the 14 findings of
a film take 170 ms of a core, and as data sets of pydicom 65 ms, about as long as scoring it; encoded at once, with the
rest of the report, 5 ms. Tests compare what pydicom reads of them with what highdicom builds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from cxrzero.display.plain import PLAIN

CONTAINS, HAS_MODIFIER, HAS_CONTEXT = "CONTAINS", "HAS CONCEPT MOD", "HAS OBS CONTEXT"
MAX_SHORT = 16  # characters of a code value; longer ones have an attribute of their own (PS3.3, table 8.8-1)

# Tag → VR, of all that content items have.
CLASS_UID, INSTANCE_UID, FRAME = 0x00081150, 0x00081155, 0x00081160
CODE_VALUE, SCHEME, MEANING, LONG_CODE_VALUE = 0x00080100, 0x00080102, 0x00080104, 0x00080119
REFERENCED, UNITS, RELATION, KIND, CONCEPT = 0x00081199, 0x004008EA, 0x0040A010, 0x0040A040, 0x0040A043
CONTINUITY, UID, TEXT, CODE, FLOATING, MEASURED = 0x0040A050, 0x0040A124, 0x0040A160, 0x0040A168, 0x0040A161, 0x0040A300
NUMERIC, TEMPLATES, CONTENT = 0x0040A30A, 0x0040A504, 0x0040A730
RESOURCE, TEMPLATE = 0x00080105, 0x0040DB00
VRS: Mapping[int, str] = {
    CLASS_UID: "UI", INSTANCE_UID: "UI", FRAME: "IS", CODE_VALUE: "SH", SCHEME: "SH", MEANING: "LO",
    LONG_CODE_VALUE: "UC", REFERENCED: "SQ", UNITS: "SQ", RELATION: "CS", KIND: "CS", CONCEPT: "SQ", CONTINUITY: "CS",
    UID: "UI", TEXT: "UT", CODE: "SQ", FLOATING: "FD", MEASURED: "SQ", NUMERIC: "DS", TEMPLATES: "SQ", CONTENT: "SQ",
    RESOURCE: "CS", TEMPLATE: "CS",
}  # fmt: skip
LONG = frozenset({"SQ", "UC", "UT"})  # their lengths have four bytes

Item = bytes


class Code(NamedTuple):
    """A coded concept; pydicom has such a type beside a dictionary of all codes, which takes long to load."""

    value: str
    scheme_designator: str
    meaning: str


def decimal(value: float) -> str:
    """A number as a decimal string: ten digits, which never need more than its 16 characters (PS3.5, 6.2)."""
    return f"{value:.10g}"


def code_of(code: Code) -> Dataset:
    """A coded concept, for other objects."""
    item = Dataset()
    if len(code.value) > MAX_SHORT:
        item.LongCodeValue = code.value
    else:
        item.CodeValue = code.value
    item.CodingSchemeDesignator, item.CodeMeaning = code.scheme_designator, code.meaning
    return item


@dataclass(frozen=True, slots=True)
class Items:
    """Makes content items.

    Attributes:
        is_ascii: put their words into ASCII; else they are UTF-8.
    """

    is_ascii: bool = False

    def text(self, relation: str, name: Code, words: str) -> Item:
        return self._item("TEXT", relation, name, {TEXT: self._encoded(words)})

    def code(self, relation: str, name: Code, value: Code) -> Item:
        return self._item("CODE", relation, name, {CODE: self._code(value)})

    def uid(self, relation: str, name: Code, uid: str) -> Item:
        return self._item("UIDREF", relation, name, {UID: uid.encode()})

    def number(self, relation: str, name: Code, value: float, unit: Code, below: Iterable[Item] = ()) -> Item:
        """A number, as text and in full.

        Args:
            below: items that say more of it.
        """
        measured = {UNITS: self._code(unit), FLOATING: struct.pack("<d", value), NUMERIC: decimal(value).encode()}
        return self._item("NUM", relation, name, {MEASURED: _item_of(measured), CONTENT: b"".join(below)})

    def image(self, relation: str, name: Code, sop_class: str, sop_instance: str, frame: int | None) -> Item:
        """Point to an image, or to one of its frames."""
        reference = {CLASS_UID: sop_class.encode(), INSTANCE_UID: sop_instance.encode()}
        if frame is not None:
            reference[FRAME] = str(frame).encode()
        return self._item("IMAGE", relation, name, {REFERENCED: _item_of(reference)})

    def container(self, relation: str, name: Code, below: Iterable[Item], template: str = "") -> Item:
        """What holds other items.

        Args:
            template: of PS3.16 that its content follows.
        """
        used = _item_of({RESOURCE: b"DCMR", TEMPLATE: template.encode()}) if template else b""
        elements = {CONTINUITY: b"CONTINUOUS", TEMPLATES: used, CONTENT: b"".join(below)}
        return self._item("CONTAINER", relation, name, elements)

    def _item(self, kind: str, relation: str, name: Code, elements: Mapping[int, bytes]) -> Item:
        head = {RELATION: relation.encode(), KIND: kind.encode(), CONCEPT: self._code(name)}
        return _item_of({**head, **{tag: value for tag, value in elements.items() if value}})

    def _encoded(self, words: str) -> bytes:
        return words.encode("ascii", PLAIN) if self.is_ascii else words.encode()

    def _code(self, code: Code) -> Item:
        return _code_item(code.value, code.scheme_designator, self._encoded(code.meaning))


def set_root(report: Dataset, name: Code, below: Iterable[Item], template: str) -> None:
    """Make a report the root of a tree."""
    report.ValueType, report.ContinuityOfContent = "CONTAINER", "CONTINUOUS"
    report.ConceptNameCodeSequence = [code_of(name)]
    used = Dataset()
    used.MappingResource, used.TemplateIdentifier = "DCMR", template
    report.ContentTemplateSequence = [used]
    content = b"".join(below)
    report[CONTENT] = RawDataElement(Tag(CONTENT), "SQ", len(content), content, 0, False, True)


@lru_cache(maxsize=1024)
def _code_item(value: str, scheme: str, meaning: bytes) -> Item:
    tag = LONG_CODE_VALUE if len(value) > MAX_SHORT else CODE_VALUE
    return _item_of({tag: value.encode(), SCHEME: scheme.encode(), MEANING: meaning})


def _item_of(elements: Mapping[int, bytes]) -> Item:
    """An item of a sequence, of elements by tag."""
    content = b"".join(_element(tag, elements[tag]) for tag in sorted(elements))
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def _element(tag: int, value: bytes) -> bytes:
    vr = VRS[tag]
    value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    length = struct.pack("<HI", 0, len(value)) if vr in LONG else struct.pack("<H", len(value))
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode() + length + value
