"""Content items of a structured report (PS3.3, C.17.3), as plain data sets.

highdicom has classes for them, which take a fifth of a second for the findings of one film; these take a hundredth.
Tests compare the trees of both.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

CONTAINS, HAS_MODIFIER, HAS_CONTEXT = "CONTAINS", "HAS CONCEPT MOD", "HAS OBS CONTEXT"
MAX_SHORT = 16  # characters of a code value; longer ones have an attribute of their own (PS3.3, table 8.8-1)


def decimal(value: float) -> str:
    """A number as a decimal string: ten digits, which never need more than its 16 characters (PS3.5, 6.2)."""
    return f"{value:.10g}"


def code_of(code: Code) -> Dataset:
    """A coded concept."""
    item = Dataset()
    if len(code.value) > MAX_SHORT:
        item.LongCodeValue = code.value
    else:
        item.CodeValue = code.value
    item.CodingSchemeDesignator, item.CodeMeaning = code.scheme_designator, code.meaning
    return item


def text_item(relation: str, name: Code, words: str) -> Dataset:
    item = _item("TEXT", relation, name)
    item.TextValue = words
    return item


def code_item(relation: str, name: Code, value: Code) -> Dataset:
    item = _item("CODE", relation, name)
    item.ConceptCodeSequence = [code_of(value)]
    return item


def uid_item(relation: str, name: Code, uid: str) -> Dataset:
    item = _item("UIDREF", relation, name)
    item.UID = uid
    return item


def number_item(relation: str, name: Code, value: float, unit: Code, modifiers: Iterable[Dataset] = ()) -> Dataset:
    """A number, as text and in full."""
    measured = Dataset()
    measured.NumericValue = decimal(value)
    measured.FloatingPointValue = value
    measured.MeasurementUnitsCodeSequence = [code_of(unit)]
    item = _item("NUM", relation, name)
    item.MeasuredValueSequence = [measured]
    if below := list(modifiers):
        item.ContentSequence = below
    return item


def image_item(relation: str, name: Code, reference: Dataset) -> Dataset:
    item = _item("IMAGE", relation, name)
    item.ReferencedSOPSequence = [reference]
    return item


def container(relation: str | None, name: Code, content: Iterable[Dataset], template: str = "") -> Dataset:
    """What holds other items.

    Args:
        relation: to what is above it; None for the root.
        template: of PS3.16 that its content follows.
    """
    item = _item("CONTAINER", relation, name)
    item.ContinuityOfContent = "CONTINUOUS"
    if template:
        used = Dataset()
        used.MappingResource, used.TemplateIdentifier = "DCMR", template
        item.ContentTemplateSequence = [used]
    item.ContentSequence = list(content)
    return item


def _item(kind: str, relation: str | None, name: Code) -> Dataset:
    item = Dataset()
    if relation is not None:
        item.RelationshipType = relation
    item.ValueType = kind
    item.ConceptNameCodeSequence = [code_of(name)]
    return item
