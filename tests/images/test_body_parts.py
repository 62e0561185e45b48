"""Body Part Examined in any spelling, and Anatomic Region Sequence where it is not clear → another part, or no flag."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping

from cxrzero.images.body_parts import body_part_flags, is_chest_code, is_chest_text
from cxrzero.images.codes import Code
from tests.support.dicomfile import Decode, dicom_bytes

FILM = (np.add.outer(np.arange(300), np.arange(256)) % 256).astype(np.uint8)

CHEST = """CHEST|Chest|THORAX|LUNG|RIB|RIBS|HEART|MEDIASTINUM|WHOLEBODY|TRUNK|CHESTABDOMEN|CHESTABDPELVIS|NECKCHEST
    |NECKCHESTABDOMEN|NECKCHESTABDPELV|PORTABLE CHEST|PORT CHEST|CHEST_LAT|CHEST PA|CHEST-2V|CHEST1VIEW|CHST|CXR|THX|TX
    |PECHO|TORAX|TÓRAX|tórax|T?RAX|T\ufffdRAX|T\ufffd\ufffdRAX|T??RAX|TÃ\x93RAX|TàRAX|RX TORAX PA|PULMONES|PULMÃO
    |PEITO|CAJA TORACICA
    |POITRINE|CAGE THORACIQUE|THORAX FACE|POUMON|CÔTES|TORACE|TORACE AP|POLMONI|GABBIA TORACICA|BRUSTKORB|BRUST|LUNGE
    |LUNGENAUFNAHME|THORAXORGANE|BORSTKAS|LUNGOR|KLATKA PIERSIOWA|HRUDNÍK|GÖĞÜS|GOGUS|ГРУДНАЯ КЛЕТКА|ОГК|胸部|胸|흉부
    |CHEST ABDOMEN|CHES_ABD_PEL|CHSTABDPELV|CHEST AND ABDOMEN|THORACOABDOMINAL|BABYGRAM|CHEST SHOULDER|CHEST?
    |THORACIC|胸腹部|肋骨|双肺|心臓|COSTAL|PARRILLA COSTAL|MEDIASTINO|TORAKS|ЛЁГКИХ|HEMITHORAX"""
UNCLEAR = """|DEFAULT|N/A|NA|PORTABLE|UNKNOWN|OTHER|NONE|SERVICE|MISC|SPECIAL|ROOM 3|BODY|?|???|X|1|-|手术|QWERTZ
    |TRACHEA|AORTA
    |PHANTOM|UNSPECIFIED|A?"""
OTHER = """HIP|HAND|HANDS|LEFT HAND|HAND_L|LEFTHAND|SKULL|ABDOMEN|ABD|KUB|ABDOMENPELVIS|PELVIS|KNEE|L KNEE|KNEES
    |KNEE AP|FOOT
    |ANKLE|WRIST|ELBOW|ARM|FOREARM|LEG|FEMUR|TIBIAFIBULA|TIB/FIB|RADIUSULNA|HEAD|HEADNECK|NECK|SINUSES|JAW|TMJ|BREAST
    |EXTREMITY|UPPER EXTREMITY|FINGER|TOE|ESOPHAGUS|STOMACH|PORTABLE ABDOMEN
    |SPINE|CSPINE|C-SPINE|CERVICAL|TSPINE|T-SPINE|T SPINE|THORACIC SPINE|DORSAL SPINE|LSPINE|LSSPINE|THORACOLUMBAR
    |TLSPINE
    |COLUMNA DORSAL|COLUMNA TORÁCICA|COLONNE DORSALE|RACHIS|BWS|BRUSTWIRBELSÄULE|BRUSTWIRBELSAEULE|胸椎|胸椎正位
    |ГРУДНОЙ ОТДЕЛ ПОЗВОНОЧНИКА|CLAVICLE|SHOULDER|SCAPULA|STERNUM
    |MANO|RODILLA|CADERA|CRÁNEO|CRANEO|HOMBRO|MUÑECA|MUNECA|PIE|ABDÔMEN|JOELHO|MÃO|OMBRO|CRÂNIO
    |GENOU|HANCHE|MAIN|ÉPAULE|?PAULE|EPAULE|CRÂNE|BASSIN|GINOCCHIO|ADDOME|SPALLA|BACINO
    |HÜFTE|HUEFTE|HUFTE|H?FTE|H\ufffdFTE|H\x81FTE|HÃ\x9cFTE|SCHÄDEL|KNIE|BECKEN|FUSS|FUß|SCHULTER|HEUP|KOLANO|RĘKA
    |BRZUCH
    |ЧЕРЕП|КИСТЬ|腹部|手|左手|膝关节|무릎|THOR SPINE|THORSPINE|LHIP|RKNEE|L KNEE|HIPUNILATERAL|LOW_EXM|SIJOINT
    |КОЛЕННЫЙ СУСТАВ|ТАЗОБЕДРЕННЫЙ СУСТАВ|БРЮШНАЯ ПОЛОСТЬ|ПОЯСНИЧНЫЙ ОТДЕЛ|左膝|肩関節|足関節|胸骨|鎖骨
    |요추|흉추|ΓΟΝΑΤΟ|γόνατο"""


@pytest.mark.parametrize(
    ("spelling", "chest"),
    [(s.strip(), chest) for all_, chest in ((CHEST, True), (UNCLEAR, None), (OTHER, False)) for s in all_.split("|")],
)
def test_a_spelling_names_the_chest_another_part_or_none(spelling: str, chest: bool | None) -> None:
    assert is_chest_text(spelling) is chest
    assert body_part_flags(f" {spelling} ") == ({"body_part_not_chest"} if chest is False else set())


# Of PS3.16, CID 4009: what shows the chest; the trachea and a phantom are neither.
CID_4009_CHEST = {
    "Chest", "Lung", "Apex of Lung", "Mediastinum", "Rib", "Heart", "Bronchus", "Entire body", "Neck and Chest",
    "Neck, Chest and Abdomen", "Neck, Chest, Abdomen and Pelvis", "Chest and Abdomen", "Chest, Abdomen and Pelvis",
}  # fmt: skip
CID_4009_NEITHER = {"Trachea", "Phantom"}
CID_4009 = [
    (value, meaning)
    for name in cid_concepts[4009]["SCT"]
    for value, (meaning, _) in cast(dict[str, tuple[str, list[int]]], concepts["SCT"][name]).items()
]  # fmt: skip


@pytest.mark.parametrize(("value", "meaning"), CID_4009)
def test_every_code_of_the_context_group(value: str, meaning: str) -> None:
    """pydicom's copy of PS3.16 is the reference, for the values and for which old code is which."""
    chest = True if meaning in CID_4009_CHEST else None if meaning in CID_4009_NEITHER else False
    assert is_chest_code(Code(value)) is chest
    if old := mapping["SCT"].get(value):
        assert is_chest_code(Code(old)) is chest


def test_chest_codes_that_the_standard_replaced() -> None:
    assert mapping["SRT"]["T-D3000"] == "51185008"
    assert is_chest_code(Code("T-D3000")) is is_chest_code(Code("51185008")) is True
    assert mapping["SRT"]["T-D4000"] == "113345001"
    assert is_chest_code(Code("T-D4000")) is is_chest_code(Code("113345001")) is False


def test_what_wins_where_statements_contradict() -> None:
    hand, chest = Code("85562004", "Hand"), Code("51185008", "Thorax")
    assert body_part_flags("HAND", [chest]) == {"body_part_not_chest"}, "Body Part Examined first"
    assert body_part_flags("CHEST", [hand]) == set()
    for unclear in ("", "DEFAULT", "N/A"):
        assert body_part_flags(unclear, [hand]) == {"body_part_not_chest"}
        assert body_part_flags(unclear, [chest]) == set()
        assert body_part_flags(unclear, [hand, chest]) == set()
        assert body_part_flags(unclear, [Code("L1", "Knie links")]) == {"body_part_not_chest"}
        assert body_part_flags(unclear, [Code("L1", "Standard")]) == set()


@pytest.mark.parametrize(
    ("attributes", "flags"),
    [({"BodyPartExamined": "TÓRAX".encode("latin-1")}, set()), ({"BodyPartExamined": "TÓRAX".encode()}, set()),
     ({"BodyPartExamined": "TÓRAX".encode("cp850")}, set()), ({"BodyPartExamined": b"T?RAX "}, set()),
     ({"BodyPartExamined": "HÜFTE".encode("latin-1") + b" "}, {"body_part_not_chest"}),
     ({"BodyPartExamined": "HÜFTE".encode("cp850") + b" "}, {"body_part_not_chest"}),
     ({"BodyPartExamined": "ЧЕРЕП".encode("iso8859-5") + b" ", "SpecificCharacterSet": "ISO_IR 144"},
      {"body_part_not_chest"}),
     ({"BodyPartExamined": "腹部".encode("iso2022_jp"), "SpecificCharacterSet": ["", "ISO 2022 IR 87"]},
      {"body_part_not_chest"}),
     ({"BodyPartExamined": ["CHEST", "ABDOMEN"]}, set()), ({"BodyPartExamined": ["PORTABLE", "ABDOMEN"]},
                                                           {"body_part_not_chest"}),
     ({"BodyPartExamined": "DEFAULT"}, set()),
     ({"BodyPartExamined": None, "AnatomicRegionSequence": [{"CodeValue": "T-D8700", "CodeMeaning": "Hand"}]},
      {"body_part_not_chest"}),
     ({"BodyPartExamined": "", "AnatomicRegionSequence": [{"CodeValue": "T-D3000", "CodeMeaning": "Chest"}]}, set())],
)  # fmt: skip
def test_in_a_file(decoded: Decode, attributes: dict[str, Any], flags: set[str]) -> None:
    (image,) = decoded(dicom_bytes(FILM, **attributes))
    assert {flag for flag in image.flags if not flag.startswith("maybe_")} == flags


def test_a_long_string_is_no_work(decoded: Decode) -> None:
    """What a stranger writes there is read up to the longest that the standard allows."""
    assert is_chest_text("HANDARMLEG" * 100_000 + "?" * 1000) is None
    assert is_chest_text("?A" * 100_000) is None
