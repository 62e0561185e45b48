"""What a report says in words, for whoever reads it: what the numbers are, and what is known against them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cxrzero.dicom_out.objects import NOT_A_DEVICE
from cxrzero.display.visible import visible
from cxrzero.images.flags import FLAGS
from cxrzero.prediction import Prediction
from cxrzero.tables.record import RunRecord

NOT_CALIBRATED = (
    "Certainty of Finding is the model's probability in percent. It is not calibrated: it puts films in an order and "
    "is no frequency of the finding."
)
CALIBRATED = (
    "Certainty of Finding is in percent, and Measurement Method says which: the model's own probability, which is not "
    "calibrated and puts films in an order, or the calibrated probability, by the calibration named below."
)


def about_report(record: RunRecord, rows: Sequence[Prediction]) -> Iterator[str]:
    """What holds for all findings of a report."""
    yield f"{NOT_A_DEVICE} Preliminary results of a program that no physician has verified."
    yield CALIBRATED if any(row.calibrated for row in rows) else NOT_CALIBRATED
    if record.calibration_sha256:
        worth = f": {visible(record.calibration)}" if record.calibration else ""
        yield f"Calibration (SHA-256 {record.calibration_sha256}){worth}"
    if any(row.decision for row in rows):
        yield "Present and absent are decisions by the calibration's thresholds on the model's own probability."
    if any(row.sd for row in rows):
        yield "The standard deviation is between the probabilities of the models of the ensemble."


def about_finding(label: str, row: Prediction, record: RunRecord) -> Iterator[str]:
    """What is known against one finding of one film."""
    if label in record.at_chance:
        yield f"At chance: {visible(record.at_chance[label])}."
    where = record.location.get(label, "not stated in the record of the run")
    if where != "validated":
        yield (
            f"Location {where}: maps of this finding were not shown to point at it."
            if where == "not validated"
            else f"Location not validated: {where}."
        )
    if row.flags:
        said = (f"{flag} ({FLAGS[flag]})" if flag in FLAGS else visible(flag) for flag in sorted(row.flags))
        yield f"Flags of the film: {' '.join(said)}"


def parameters(label: str, record: RunRecord) -> Iterator[str]:
    """What decided the number of a finding, of each model: its fingerprint, number format, sentences, calibration."""
    calibrated = f"; calibration SHA-256 {record.calibration_sha256}" if record.calibration_sha256 else ""
    for (name, fingerprint), asked in zip(record.models, record.prompts, strict=True):
        said = "".join(
            f"; sentences for: {_quoted(prompt.positive)}"
            + (f"; sentences against: {_quoted(prompt.negative)}" if prompt.negative else "")
            for prompt in asked
            if prompt.label == label
        )
        yield f"model {visible(name)}; fingerprint {fingerprint}; precision {record.precision}{said}{calibrated}"


def _quoted(sentences: Sequence[str]) -> str:
    return ", ".join(f'"{visible(each)}"' for each in sentences)
