"""Rows of one study, or of one image → a Comprehensive 3D SR: TID 1500, with a TID 1501 group for each finding."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from pydicom.dataset import Dataset

from cxrzero.dicom_out.codes import (
    CALIBRATED_PROBABILITY,
    MODEL_PROBABILITY,
    Codes,
    own_scheme,
)
from cxrzero.dicom_out.objects import (
    NAME,
    Maker,
    add_dates,
    add_equipment,
    add_identity,
    add_series,
    derived_uid,
    evidence_of,
    new_object,
)
from cxrzero.dicom_out.source import SourceFilm
from cxrzero.dicom_out.tree import CONTAINS, HAS_CONTEXT, HAS_MODIFIER, Code, Item, Items, set_root
from cxrzero.dicom_out.wording import about_finding, about_report, parameters
from cxrzero.display.visible import visible
from cxrzero.tables.record import RunRecord

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
SERIES_NUMBER = 9900
DESCRIPTION = "cxrzero findings, not a medical device"

PERCENT = Code("%", "UCUM", "Percent")
PRESENT, ABSENT = Code("52101004", "SCT", "Present"), Code("272519000", "SCT", "Absent")
# Concepts of PS3.16.
REPORT = Code("126000", "DCM", "Imaging Measurement Report")
LANGUAGE = Code("121049", "DCM", "Language of Content Item and Descendants")
ENGLISH = Code("en-US", "RFC5646", "English (United States)")
OBSERVER_TYPE, DEVICE = Code("121005", "DCM", "Observer Type"), Code("121007", "DCM", "Device")
DEVICE_UID = Code("121012", "DCM", "Device Observer UID")
DEVICE_NAME = Code("121013", "DCM", "Device Observer Name")
DEVICE_MANUFACTURER = Code("121014", "DCM", "Device Observer Manufacturer")
DEVICE_MODEL = Code("121015", "DCM", "Device Observer Model Name")
DEVICE_SERIAL = Code("121016", "DCM", "Device Observer Serial Number")
PROCEDURE = Code("121058", "DCM", "Procedure reported")
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
GROUP = Code("125007", "DCM", "Measurement Group")
EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
TRACKING, TRACKING_UID = (
    Code("112039", "DCM", "Tracking Identifier"),
    Code("112040", "DCM", "Tracking Unique Identifier"),
)
FINDING = Code("121071", "DCM", "Finding")
ALGORITHM_NAME = Code("111001", "DCM", "Algorithm Name")
ALGORITHM_VERSION = Code("111003", "DCM", "Algorithm Version")
ALGORITHM_MANUFACTURER = Code("122405", "DCM", "Algorithm Manufacturer")
ALGORITHM_PARAMETERS = Code("111002", "DCM", "Algorithm Parameters")
CERTAINTY = Code("111012", "DCM", "Certainty of Finding")
METHOD = Code("370129005", "SCT", "Measurement Method")
DERIVATION = Code("121401", "DCM", "Derivation")
STANDARD_DEVIATION = Code("386136009", "SCT", "Standard Deviation")
PRESENCE = Code("121052", "DCM", "Presence of property")
SOURCE = Code("121112", "DCM", "Source of Measurement")
COMMENT = Code("121106", "DCM", "Comment")


def report_of(films: Sequence[SourceFilm], record: RunRecord, codes: Codes | None = None, number: int = 1) -> Dataset:
    """Make the report of scored films of one study and patient; `write_report` writes it.

    The same films, rows and record give the same bytes. Its UID does not depend on identity and dates: the same result
    that is made again is the same object.

    Args:
        films: at least one; their rows have scores.
        record: of the run that scored them.
        codes: of the findings; None has no user's codes.
        number: of this report among those of its study.

    Raises:
        ConfigError: the record does not say which model it was, or when.
    """
    codes, maker, first = codes or Codes(), Maker.of(record), films[0].source
    facts = _facts(films, record, codes)
    report = new_object(COMPREHENSIVE_3D_SR, derived_uid("report", maker.versions, facts))
    add_series(report, "SR", _series(first.study, record, maker), SERIES_NUMBER, number, DESCRIPTION)
    add_equipment(report, maker)
    add_dates(report, first, maker)
    report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag = "COMPLETE", "UNVERIFIED", "PRELIMINARY"
    report.CodingSchemeIdentificationSequence = [own_scheme()]
    report.CurrentRequestedProcedureEvidenceSequence = evidence_of([film.source for film in films])
    report.PerformedProcedureCodeSequence = []
    report.ReferencedPerformedProcedureStepSequence = []
    must_be_ascii = add_identity(report, first, is_ascii=json.dumps(facts, ensure_ascii=False).isascii())
    set_root(report, REPORT, _content(films, record, codes, maker, Items(must_be_ascii)), template="1500")
    return report


def _series(study: str, record: RunRecord, maker: Maker) -> str:
    """All reports of one run on one study are a series."""
    return derived_uid("series", study, maker.device, maker.versions, _asked(record))


def _asked(record: RunRecord) -> list[Any]:
    """The models and all that decides their numbers."""
    prompts = [[each.record() for each in asked] for asked in record.prompts]
    return [record.models, prompts, record.precision, record.calibration_sha256, record.calibration]


def _facts(films: Sequence[SourceFilm], record: RunRecord, codes: Codes) -> list[Any]:
    """What a report says, but for identity and dates; all text in it that is not this module's own."""
    found: list[Any] = [_asked(record), record.at_chance, record.location]
    for film in films:
        row = film.row
        numbers = [dict(each) for each in (row.scores, row.calibrated, row.decision, row.sd)]
        found.append([film.source.sop_instance, film.frame, sorted(row.flags), numbers])
    labels = dict.fromkeys(label for film in films for label in film.row.scores)
    found.append([[label, *codes(label)] for label in labels])
    return found


def _content(
    films: Sequence[SourceFilm], record: RunRecord, codes: Codes, maker: Maker, items: Items
) -> Iterator[Item]:
    """TID 1500, Measurement Report, below its root."""
    groups = (_group(label, film, record, codes(label), maker, items) for film in films for label in film.row.scores)
    said = about_report(record, [film.row for film in films])
    yield items.code(HAS_MODIFIER, LANGUAGE, ENGLISH)
    yield items.code(HAS_CONTEXT, OBSERVER_TYPE, DEVICE)
    yield items.uid(HAS_CONTEXT, DEVICE_UID, maker.device)
    yield items.text(HAS_CONTEXT, DEVICE_NAME, NAME)
    yield items.text(HAS_CONTEXT, DEVICE_MANUFACTURER, NAME)
    yield items.text(HAS_CONTEXT, DEVICE_MODEL, visible(maker.models))
    yield items.text(HAS_CONTEXT, DEVICE_SERIAL, maker.fingerprint)
    yield items.code(HAS_MODIFIER, PROCEDURE, IMAGING_PROCEDURE)
    yield items.container(CONTAINS, MEASUREMENTS, groups)
    yield items.container(CONTAINS, EVALUATIONS, (items.text(CONTAINS, COMMENT, each) for each in said))


def _group(label: str, film: SourceFilm, record: RunRecord, code: Code, maker: Maker, items: Items) -> Item:
    """TID 1501, Measurement and Qualitative Evaluation Group, of one finding in one image or frame."""
    source = film.source
    tracking = derived_uid("tracking", source.sop_instance, film.frame, label, maker.device)
    content = [
        items.text(HAS_CONTEXT, TRACKING, visible(label)),
        items.uid(HAS_CONTEXT, TRACKING_UID, tracking),
        items.code(CONTAINS, FINDING, code),
        items.text(HAS_MODIFIER, ALGORITHM_NAME, f"{NAME} {visible(maker.models)}"),
        items.text(HAS_MODIFIER, ALGORITHM_VERSION, ", ".join(maker.versions)),
        items.text(HAS_MODIFIER, ALGORITHM_MANUFACTURER, NAME),
        *(items.text(HAS_MODIFIER, ALGORITHM_PARAMETERS, each) for each in parameters(label, record)),
        *_numbers(label, film, items),
        items.image(CONTAINS, SOURCE, source.sop_class, source.sop_instance, film.frame),
        *(items.text(CONTAINS, COMMENT, each) for each in about_finding(label, film.row, record)),
    ]
    return items.container(CONTAINS, GROUP, content, template="1501")


def _numbers(label: str, film: SourceFilm, items: Items) -> Iterator[Item]:
    """The probabilities in percent, and the decision, as far as the row has them."""
    row = film.row

    def certainty(value: float, name: Code, kind: Code) -> Item:
        return items.number(CONTAINS, CERTAINTY, 100 * value, PERCENT, [items.code(HAS_MODIFIER, name, kind)])

    yield certainty(row.scores[label], METHOD, MODEL_PROBABILITY)
    calibrated, decision, sd = row.calibrated.get(label), row.decision.get(label), row.sd.get(label)
    if calibrated is not None:
        yield certainty(calibrated, METHOD, CALIBRATED_PROBABILITY)
    if sd is not None:
        yield certainty(sd, DERIVATION, STANDARD_DEVIATION)
    if decision is not None:
        yield items.code(CONTAINS, PRESENCE, PRESENT if decision else ABSENT)
