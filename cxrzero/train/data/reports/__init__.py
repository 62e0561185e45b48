"""From a radiology report to the texts that are true of its images.

    bytes ─► decoding ─► sections ─► sentences ─► marks and asides taken out ─► texts (`rules`)

Knows nothing of images, files or models, and imports nothing heavy.
"""

from __future__ import annotations

from cxrzero.choices import TextRule
from cxrzero.train.data.reports.blanks import is_missing
from cxrzero.train.data.reports.decoding import Decoded, decode_report
from cxrzero.train.data.reports.rules import TEXT_RULES, ReportTexts, report_texts
from cxrzero.train.data.reports.sections import Section, split_sections
from cxrzero.train.data.reports.sentences import split_sentences

__all__ = [
    "TEXT_RULES",
    "Decoded",
    "ReportTexts",
    "Section",
    "TextRule",
    "decode_report",
    "is_missing",
    "report_texts",
    "split_sections",
    "split_sentences",
]
