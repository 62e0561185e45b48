"""Texts that stand where one is missing: what tables, spreadsheets and people write when there is nothing to write."""

from __future__ import annotations

import re
from typing import Final

from cxrzero.tables.names import fold
from cxrzero.train.data.reports.marks import has_words

# Compared without case, spaces and signs, so that "N/A", "#N/A", "<NA>", "n.a." and "*** N / A ***" are one.
# fmt: off
_MISSING: Final = frozenset((
    # pandas' and R's (pandas.read_csv, na_values)
    "na", "nan", "null", "none", "nil", "nul", "nat", "1ind", "1qnan", "nana", "undefined",
    # cells of spreadsheets that could not be computed
    "ref", "value", "name", "div0", "num", "spill", "calc", "gettingdata", "error",
    # of people
    "todo", "tobedone", "tbd", "tba", "tbc", "tbw", "fixme", "pending", "reportpending", "dictationpending", "tofollow",
    "reporttofollow", "placeholder", "dummy", "test", "blank", "empty", "missing", "unknown", "void", "notext",
    "noreport", "noreportavailable", "reportnotavailable", "notavailable", "notapplicable", "notstated", "notreported",
    "notprovided", "notdictated", "notdone", "nodata", "nocomment", "nocomments", "noimpression", "seereport",
    "seefullreport", "seenotes", "seenote", "seeabove", "seebelow", "seefindings", "seeimpression", "seeaddendum",
    "seepriorreport", "asabove", "asbelow", "asdescribedabove", "ditto", "idem", "sameasabove", "deidentified",
    "redacted", "anonymized", "anonymised",
    # in other languages
    "ka", "keineangabe", "keineangaben", "siehebefund", "sieheoben", "sdato", "sindatos", "verinforme", "nodisponible",
    "nondisponible", "nonrenseigné", "voirrapport", "nondisponibile",
))
# fmt: on
# Letters that stand for any: "xxx", "XXXX".
_FILLED: Final = re.compile(r"x{2,}")


def is_missing(text: str) -> bool:
    """Whether a text is no text but a sign that there is none: blank, "-", "?", "#N/A", "todo", marks alone ("___").

    What denies a finding is none of these: "No finding", "Normal", "Negative".
    """
    if not has_words(text):
        return True
    key = fold(text)
    return key in _MISSING or bool(_FILLED.fullmatch(key))
