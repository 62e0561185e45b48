"""View Position as devices and hands write it, and View Code Sequence where it is not clear → one view."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping

from cxrzero.images.codes import Code
from cxrzero.images.views import View, view_flags, view_of_codes, view_of_text
from tests.support.dicomfile import As, Decode, dicom_bytes

FILM = (np.add.outer(np.arange(300), np.arange(256)) % 256).astype(np.uint8)

# Public data sets' own values: MIMIC-CXR (those with 'AP AXIAL'), PadChest, BIMCV, CheXpert, RSNA, covid-chestxray;
# defined terms of PS3.3, C.8.1.1; the rest as hospitals write them.
SPELLINGS = {
    View.FRONTAL: """PA|AP|AP AXIAL|AP LLD|PA LLD|AP RLD|PA RLD|AP_horizontal|vp-pa|vp-ap|Frontal|AP Supine|AP Erect
        |AP SUPINE|PA ERECT|AP LORDOTIC|LORDOTIC|PA UPRIGHT|AP PORTABLE|PORTABLE AP|AP SEMI-ERECT|SUPINE AP|APSUPINE
        |AP(SUPINE)|P.A.|p-a|A P|A/P|AP/PA|PA CHEST|CHEST_PA|AP1|POSTERO-ANTERIOR|POSTEROANTERIOR|Antero posterior
        |postéro-antérieur|PÓSTERO ANTERIOR|P?STERO-ANTERIOR|POSTERO-ANTERIORE|FRENTE|FACE|DORSOVENTRAL|D.V.|AP BEDSIDE
        |ПРЯМАЯ|正位|胸部正位|정면|ＰＡ|AP L|PA R|VENTRO-DORSAL|DORSO-VENTRAL|POSTEROANT|ΟΠΙΣΘΟΠΡΟΣΘΙΑ|πρόσθια""",
    View.LATERAL: """LL|RL|LATERAL|Lateral|L|R|XTABLE LATERAL|X-TABLE LAT|CROSS TABLE LATERAL|LLAT|RLAT|L LAT|LAT L
    |LAT_R
        |LEFT LATERAL|LAT LEFT|LATERAL LEFT|RIGHT LATERAL|LT LAT|LATERAL RT|LEFTLATERAL|LLATERAL|vp-ll|SWIMMERS
        |SWIMMER'S
        |LAT ERECT|LATERAL UPRIGHT|CHEST LAT|LATERAL CHEST|THORAX LATERAL|LATERO-LATERALE|L.L.|LATÉRAL|LATERAL IZQ
        |PERFIL|PROFIL|SEITLICH|SEITLICH LINKS|BOCZNE|BOČNÍ|DWARS|БОКОВАЯ|侧位|側面|측면|LATERALE SIN|L ERECT
        |SEITL.|πλάγια""",
    View.OTHER: """RAO|LAO|RPO|LPO|RLO|LLO|OBL|OBLIQUE|LEFT OBLIQUE|AP OBLIQUE|LATERAL OBLIQUE|RIGHT ANTERIOR OBLIQUE
        |OBLICUA|SCHRÄG|SCHRAEG|RLD|LLD|LEFT LATERAL DECUBITUS|LAT DECUB|DECUBITO LATERAL|斜位|右側臥位""",
    View.UNKNOWN: """|UNKNOWN|N/A|?|COSTAL|EXCLUDE|SUPINE|PORTABLE|ERECT|LEFT|RIGHT|LEFT ERECT|L5 S1|PA LAT|AP/LATERAL
        |PA AND LATERAL|XTABLE|LATERALITY|AXIAL|CC|ABC L|PALMAR|-|1|L R""",
}


@pytest.mark.parametrize(
    ("spelling", "view"), [(s.strip(), view) for view, all_ in SPELLINGS.items() for s in all_.split("|")]
)
def test_a_spelling_names_its_view(spelling: str, view: View) -> None:
    assert view_of_text(spelling) is view
    assert view_of_text(f" {spelling.lower()} ") is view


CID_4010 = {
    value: meaning
    for name in cid_concepts[4010]["SCT"]
    for value, (meaning, groups) in cast(dict[str, tuple[str, list[int]]], concepts["SCT"][name]).items()
    if 4010 in groups
}
FRONTAL = {"frontal", "antero-posterior", "postero-anterior"}
LATERAL = {"lateral", "left lateral", "right lateral", "medial-lateral", "lateral-medial"}


@pytest.mark.parametrize(("value", "meaning"), CID_4010.items(), ids=CID_4010.values())
def test_every_code_of_the_context_group(value: str, meaning: str) -> None:
    """pydicom's copy of PS3.16 is the reference, for the values and for which old code is which."""
    view = View.UNKNOWN
    if "oblique" in meaning:
        view = View.OTHER
    elif meaning in FRONTAL | LATERAL:
        view = View.FRONTAL if meaning in FRONTAL else View.LATERAL
    assert view_of_codes([Code(value)]) is view
    assert view_of_codes([Code(mapping["SCT"][value])]) is view
    assert view_of_codes([Code("X1", meaning)]) is view, "a private code is known by its meaning"


def test_what_wins_where_statements_contradict() -> None:
    lateral, frontal = Code("399067008"), Code("399348003")
    assert view_flags("PA", [lateral]) == set(), "View Position first"
    assert view_flags("LATERAL", [frontal]) == {"lateral"}
    assert view_flags("OBL", [frontal]) == {"view_unknown"}, "oblique is stated, and is no frontal view"
    for unclear in ("", "UNKNOWN", "PA LAT", "PORTABLE"):
        assert view_flags(unclear, [lateral]) == {"lateral"}
        assert view_flags(unclear, [frontal]) == set()
    assert view_flags("", [lateral, frontal]) == {"view_unknown"}
    assert view_flags("", [Code("399348003", modifiers=(Code("399182000", "oblique"),))]) == {"view_unknown"}
    assert view_flags("", [Code("399067008", modifiers=(Code("111069", "Crosstable"),))]) == {"lateral"}


@pytest.mark.parametrize(
    ("attributes", "flags"),
    [({"ViewPosition": "XTABLE LATERAL"}, {"lateral"}), ({"ViewPosition": "AP SUPINE"}, set()),
     ({"ViewPosition": As("CS", ["LL", "ERECT"])}, {"lateral"}),
     ({"ViewPosition": "UNKNOWN", "ViewCodeSequence": [{"CodeValue": "R-10236"}]}, {"lateral"}),
     ({"ViewPosition": None, "ViewCodeSequence": [{"CodeValue": "P4", "CodeMeaning": "Left lateral"}]}, {"lateral"}),
     ({"ViewPosition": None, "ViewCodeSequence": [{"CodeValue": "399348003", "ViewModifierCodeSequence": [
         {"CodeValue": "X", "CodeMeaning": "OBLIQUE"}]}]}, {"view_unknown"}),
     ({"ViewPosition": "侧位".encode("gb18030"), "SpecificCharacterSet": "GB18030"}, {"lateral"}),
     ({"ViewPosition": "侧位".encode(), "SpecificCharacterSet": "ISO_IR 192"}, {"lateral"}),
     ({"ViewPosition": "", "ViewCodeSequence": As("OB", b"no sequence.")}, {"view_unknown"})],
)  # fmt: skip
def test_in_a_file(decoded: Decode, attributes: dict[str, Any], flags: set[str]) -> None:
    (image,) = decoded(dicom_bytes(FILM, **attributes))
    assert {flag for flag in image.flags if not flag.startswith("maybe_")} == flags


def test_the_table_keeps_the_files_own_words(decoded: Decode) -> None:
    (image,) = decoded(dicom_bytes(FILM, ViewPosition="XTABLE LATERAL"))
    assert image.facts.view_position == "XTABLE LATERAL"
