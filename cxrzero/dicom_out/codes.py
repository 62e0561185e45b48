"""Findings as coded concepts: SNOMED CT where pydicom's dictionary has the finding, else a scheme of our own.

docs/dicom-sr.md has the table; `python -m tests.dicom_out.test_codes` writes it there.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from cxrzero.dicom_out.objects import LONGEST, NAME, long_string
from cxrzero.dicom_out.tree import Code
from cxrzero.display.visible import visible
from cxrzero.errors import ConfigError
from cxrzero.prompts.bank import Entry, built_in_bank, key_of
from cxrzero.tables.names import fold
from cxrzero.tables.read import open_table, read_table

SCHEME = "99CXRZERO"
COLUMNS = ("label", "value", "scheme", "meaning")
MAX_SCHEME = 16

# Finding of the built-in bank → code and meaning in SNOMED CT, as pydicom's dictionary has them. Only where that means
# the same: "edema" is the lung's there, and a "hernia" the diaphragm's.
SNOMED: Mapping[str, tuple[str, str]] = {
    "cardiomegaly": ("287272002", "Cardiomegaly"),
    "edema": ("19242006", "Pulmonary edema"),
    "pneumothorax": ("36118008", "Pneumothorax"),
    "pleural effusion": ("60046008", "Pleural effusion"),
    "mass": ("4147007", "Mass"),
    "nodule": ("27925004", "Nodule"),
    "fibrosis": ("112674009", "Fibrosis"),
    "pneumomediastinum": ("16838000", "Pneumomediastinum"),
    "aortic aneurysm": ("67362008", "Aortic aneurysm"),
    "adenopathy": ("30746006", "Lymphadenopathy"),
    "air trapping": ("76171001", "Air-trapping"),
    "pulmonary metastases": ("94391008", "Pulmonary metastasis"),
    "laminar atelectasis": ("40779009", "Plate-like atelectasis"),
    "heart failure": ("84114007", "Heart failure"),
    "pulmonary hypertension": ("70995007", "Pulmonary hypertension"),
    "pacemaker": ("14106009", "Cardiac pacemaker"),
    "endotracheal tube": ("26412008", "Endotracheal tube"),
    "central venous catheter": ("52124006", "Central venous catheter"),
}

# What our own scheme has beside findings.
MODEL_PROBABILITY = Code("PROBABILITY", SCHEME, "Probability by the model, not calibrated")
CALIBRATED_PROBABILITY = Code("CALIBRATED", SCHEME, "Calibrated probability")
BY_THRESHOLD = Code("THRESHOLD", SCHEME, "Probability reaches the calibration's threshold")
MAP_HEIGHT = Code("MAP", SCHEME, "How much a place speaks for the finding")


@dataclass(frozen=True, slots=True)
class Codes:
    """What findings are coded as.

    Attributes:
        own: folded label → the user's code, which goes before all others.
    """

    own: Mapping[str, Code] = field(default_factory=dict)

    def __call__(self, label: str) -> Code:
        """The code of a label in whatever spelling."""
        if own := self.own.get(fold(label)):
            return own
        entry = built_in_bank().entries.get(key_of(label))
        return code_of_entry(entry) if entry else _code_of_words(label)


def code_of_entry(entry: Entry) -> Code:
    """The code of a finding that the built-in bank knows, under any of its names."""
    if entry.name in SNOMED:
        value, meaning = SNOMED[entry.name]
        return Code(value, "SCT", meaning)
    return _code_of_words(entry.name)


def _code_of_words(words: str) -> Code:
    """A code of our own for any words: the same in all versions, and whatever their case and spaces."""
    spelled = " ".join(unicodedata.normalize("NFKC", words).casefold().split())
    digest = hashlib.sha256(spelled.encode()).hexdigest()
    return Code(f"F-{digest[:12].upper()}", SCHEME, long_string(visible(words)))


def read_codes(path: Path) -> Codes:
    """Read a user's own codes: a table with COLUMNS.

    Raises:
        NoInputError: there is no such table.
        ConfigError: a column or a cell is missing, too long, or a label is there twice.
    """
    table = read_table(open_table(path), text=COLUMNS)
    own: dict[str, Code] = {}
    for row in range(table.n_rows):
        label, value, scheme, meaning = (table.text[name][row] for name in COLUMNS)
        where = f"{path}: data row {row + 1}"
        if not (label and value and scheme and meaning):
            raise ConfigError(f"{where} lacks one of {', '.join(COLUMNS)}")
        if len(value) > LONGEST or len(scheme) > MAX_SCHEME or len(meaning) > LONGEST:
            raise ConfigError(
                f"{where}: a value and a meaning have at most {LONGEST} characters in DICOM, a scheme {MAX_SCHEME}"
            )
        if not all(cell.isprintable() and "\\" not in cell for cell in (value, scheme, meaning)):
            raise ConfigError(f"{where} has a backslash or a control character, which no code in DICOM has")
        if not (value + scheme).isascii():
            raise ConfigError(f"{where}: a value and a scheme have letters of ASCII only")
        if fold(label) in own:
            raise ConfigError(f"{where}: the label {label!r} has a code already")
        own[fold(label)] = Code(value, scheme, meaning)
    return Codes(own)


def own_scheme() -> Dataset:
    """What the scheme of our own is, for objects that use it (PS3.3, C.12.1.1.7)."""
    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeName = f"Findings of {NAME} that SNOMED CT's codes in DICOM lack"
    item.CodingSchemeResponsibleOrganization = NAME
    return item
