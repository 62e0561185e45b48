"""Which view a header means, however it is written: View Position (0018,5101), then View Code Sequence (0054,0220).

View Position is asked first. Where it is empty, unknown or says two things ("PA LAT"), the codes are asked: by their
values, and where those are not known by their meanings. A view that is stated in either is not looked for elsewhere:
Patient Orientation and laterality say which side, and descriptions are free text.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import Final

from cxrzero.images.codes import Code
from cxrzero.images.words import Vocabulary, plain, raw_words


class View(Enum):
    """How the rays went through the chest. OTHER is stated, and neither frontal nor lateral: oblique, decubitus."""

    FRONTAL = "frontal"
    LATERAL = "lateral"
    OTHER = "other"
    UNKNOWN = "unknown"


# Sources: PS3.3, C.8.1.1 (CR Series) defines AP, PA, LL, RL, RLD, LLD, RLO, LLO. MIMIC-CXR has AP, PA, LATERAL, LL,
# AP AXIAL, XTABLE LATERAL, SWIMMERS, AP LLD, PA RLD, RAO, LAO, LPO; PadChest PA, AP, AP_horizontal, L, COSTAL; BIMCV
# vp-pa, vp-ap, vp-ll; CheXpert Frontal, Lateral, AP, PA, LL, RL; RSNA AP, PA. The rest is how hospitals write them.
_FRONTAL = "frontal"
_LATERAL = "lateral"
_OBLIQUE = "oblique"
_DECUBITUS = "decubitus"
_LYING = "lying"  # on the back or the front, which is no view
_SIDE = "side"  # L and R: a view where nothing else is said, since a chest film has no side
_PLACE = "place"  # says nothing about the view
_WORDS: Final = Vocabulary(
    {
        # An axial or lordotic film is an AP film with the tube tilted.
        _FRONTAL: """
            PA AP POSTEROANTERIOR ANTEROPOSTERIOR POSTEROANTERIORE ANTEROPOSTERIORE POSTÉROANTÉRIEUR ANTÉROPOSTÉRIEUR
            POSTÉROANTÉRIEURE ANTÉROPOSTÉRIEURE POSTERO ANTERO POSTERIOR ANTERIOR POSTÉRIEUR ANTÉRIEUR POSTÉRIEURE
            ANTÉRIEURE POSTERIORE ANTERIORE FRONTAL FRONTALE FRONTALNA FRONTALNE FRONT FRENTE FACE FRONTALIS
            LORDOTIC LORDÓTICA LORDÓTICO LORDOTIQUE LORDOTISCH LORD DORSOVENTRAL VENTRODORSAL DORSO VENTRO DV VD
            POSTEROANT ANTEROPOST ПРЯМАЯ ПЕРЕДНЯЯ ЗАДНЯЯ ΠΡΟΣΘΙΑ ΟΠΙΣΘΟΠΡΟΣΘΙΑ ΠΡΟΣΘΟΠΙΣΘΙΑ 正位 正面 后前位 前后位
            後前位 前後位 정면 후전 전후
        """,
        _LATERAL: """
            LATERAL LAT LATER LATERALE LATERALES LATÉRAL LATÉRALE LATERALIS LATERALNA LATERALNE LATERAAL LL RL LLAT
            RLAT LLATERAL RLATERAL LTLAT RTLAT LATL LATR XLAT LATEROLATERAL LATEROLATERALE LATÉROLATÉRAL LATERO
            MEDIOLATERAL LATEROMEDIAL ML LM SEITLICH SEITL SEITENAUFNAHME PROFIL PERFIL PROFILO PROFILE DWARS BOCZNE
            BOCZNA BOCZNY BOČNÍ OLDALIRÁNYÚ YAN SWIMMER SWIMMERS БОКОВАЯ БОК ΠΛΑΓΙΑ 侧位 側位 側面 侧面 측면
        """,
        _OBLIQUE: """
            OBLIQUE OBLIQUES OBL OBLIQ OBLICUA OBLICUO OBLÍQUA OBLÍQUO OBLIQUA OBLIQUO SCHRÄG SKOŚNE SCHUIN
            RAO LAO RPO LPO RLO LLO MLO LMO КОСАЯ 斜位 사위
        """,
        _DECUBITUS: """
            DECUBITUS DECUB DECUBITO DÉCUBITO DÉCUBITUS DEC LLD RLD LDEC RDEC LLDECUB RLDECUB SEITENLAGE 側臥位 侧卧位
        """,
        _LYING: """
            SUPINE SUPINO PRONE PRONO DORSAL VENTRAL RÜCKENLAGE BAUCHLAGE LIEGEND COUCHÉ RECUMBENT 仰臥位 背臥位 仰卧位
        """,
        _SIDE: "L R",
        _PLACE: """
            ERECT UPRIGHT STANDING SITTING SEMI SEMIERECT PORTABLE PORT MOBILE BED BEDSIDE AXIAL APICAL HORIZONTAL
            VERTICAL LEFT RIGHT LT RT LI RE IZQ DER LINKS RECHTS GAUCHE DROITE DROIT IZQUIERDA DERECHA IZQUIERDO
            DERECHO SINISTRA DESTRA DIREITA ESQUERDA ESQUERDO DIREITO CHEST THORAX TORAX TÓRAX CXR RIBS VIEW VIEWS
            VP VISTA PROJECTION PROJ INCIDENCE GRID TABLE CROSS CROSSTABLE XTABLE X INSP EXP INSPIRATION EXPIRATION
            STEHEND SITZEND DEBOUT ASSIS DE EN THE OF AND
        """,
    },
)
_PAIRS: Final = frozenset({"PA", "AP", "LL", "RL", "DV", "VD"})

# PS3.16, CID 4010, DX View, by SNOMED CT and the older SNOMED RT codes. The modifiers of CID 4011 (cross-table, caudad,
# cephalad, transthoracic …) change none of these; a modifier whose meaning says oblique does.
_CODES: Final = {
    code: view
    for view, codes in {
        # frontal, antero-posterior, postero-anterior
        View.FRONTAL: "399033003 R-10202 399348003 R-10206 272479007 R-40888",
        # lateral, left lateral, right lateral, medial-lateral, lateral-medial
        View.LATERAL: "399067008 R-102CD 399173006 R-10236 399198007 R-10232 399260004 R-10224 399352003 R-10228",
        # oblique, right and left, anterior and posterior, AP, PA, frontal, lateral, medial, medio-lateral and
        # latero-medial oblique; the four oblique axial ones
        View.OTHER: """
            399182000 R-102C1 399236003 R-10234 399184004 R-10238 399356000 R-40985 399135007 R-10220 399038007
            R-10210 399006002 R-10212 399312000 R-10208 399059000 R-10216 399160007 R-10204 260427002 R-40783
            260426006 R-40782 399368009 R-10226 399099002 R-10230 399004004 R-10246 399288005 R-10248 399225005
            R-10250 399132005 R-10252 399325008 R-10254
        """,
    }.items()
    for code in codes.split()
}


@lru_cache(maxsize=1024)
def view_of_text(text: str) -> View:
    """The view that a string names. "PA LAT" names two, and so none."""
    kinds = _WORDS.kinds(" ".join(_joined(raw_words(text))))
    said = set(kinds)
    if _OBLIQUE in said:
        return View.OTHER
    # The lateral of "left lateral decubitus" is how the patient lies, not how the rays go.
    lying_on_the_side = _DECUBITUS in said and _LYING not in said
    frontal, lateral = _FRONTAL in said, _LATERAL in said and not lying_on_the_side
    if frontal or lateral:
        return View.UNKNOWN if frontal and lateral else View.FRONTAL if frontal else View.LATERAL
    if _DECUBITUS in said:
        return View.OTHER
    # PadChest's L, and L ERECT: one side, and nothing that is not known.
    if kinds.count(_SIDE) == 1 and None not in said:
        return View.LATERAL
    return View.UNKNOWN


def _joined(words: list[str]) -> list[str]:
    """P.A., P-A and P A as PA."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] + plain(word) in _PAIRS and len(word) == 1:
            joined[-1] += plain(word)
        else:
            joined.append(word)
    return joined


def view_of_codes(codes: Sequence[Code]) -> View:
    """The view that the items of View Code Sequence state; UNKNOWN where they contradict each other."""
    views = {_view_of_code(code) for code in codes} - {View.UNKNOWN}
    return views.pop() if len(views) == 1 else View.UNKNOWN


def _view_of_code(code: Code) -> View:
    if any(view_of_text(modifier.meaning) is View.OTHER for modifier in code.modifiers):
        return View.OTHER
    return _CODES.get(code.value.upper()) or view_of_text(code.meaning)


def view_flags(position: str, codes: Sequence[Code] = ()) -> set[str]:
    """`lateral`, `view_unknown` or neither.

    Args:
        position: View Position; where it names a view, the codes are not asked.
        codes: of View Code Sequence.
    """
    view = view_of_text(position)
    if view is View.UNKNOWN:
        view = view_of_codes(codes)
    return {View.FRONTAL: set[str](), View.LATERAL: {"lateral"}}.get(view, {"view_unknown"})
