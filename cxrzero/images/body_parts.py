"""Whether a header names another part of the body than the chest, in any of some languages.

Body Part Examined (0018,0015) is asked first; where it is empty or says nothing that is known, Anatomic Region
Sequence (0008,2218): by the codes' values, and where those are not known by their meanings. Only a listed other part
counts: a placeholder, a room, or a word in a language that is not here is no statement about the film. What shows the
chest and more (CHESTABDOMEN, a babygram, the trunk) and the ribs, of which a film shows the lungs, are the chest; the
thoracic spine, the sternum, the shoulder and the clavicle are parts of their own in the standard, with films of their
own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from cxrzero.images.codes import Code
from cxrzero.images.words import Vocabulary

_CHEST = "chest"
_THORACIC = "thoracic"  # the chest's, unless a word for the spine stands beside it
_SPINE = "spine"
_OTHER = "other"
_BESIDE = "beside"  # sides, views and devices, which words are written together with

# Sources: the terms of PS3.16, Annex L, and of CID 4009; then what they are called in other languages, in the order
# English, Spanish and Portuguese, French, Italian, German, Dutch, Nordic and Slavic ones, Turkish, and other scripts.
_WORDS: Final = Vocabulary(
    {
        _CHEST: """
            CHEST CHST CHES CHS CXR THORAX TORAX THORAKS TORAKS THX TX LUNG LUNGS PULMONARY RIB RIBS RIBCAGE HEART
            CARDIAC MEDIASTINUM MEDIASTINO BRONCHUS COSTAL TRUNK TORSO WHOLEBODY BABYGRAM THORACOABDOMINAL PECHO PULMÓN
            PULMONES COSTILLAS TRONCO PEITO PULMÃO PULMÕES COSTELAS CORAZÓN CORAÇÃO POITRINE POUMON POUMONS CÔTES TRONC
            PETTO TORACE POLMONE POLMONI COSTE CUORE BRUST BRUSTKORB LUNGE RIPPEN RUMPF HERZ BORST BORSTKAS LONGEN
            RIBBEN BRÖST BRÖSTKORG BRYST LUNGA LUNGOR LUNGER KLATKA PŁUCA HRUDNÍK PLÍCE MELLKAS TÜDŐ GÖĞÜS AKCİĞER
            ΘΏΡΑΚΑΣ ΘΏΡΑΚΟΣ ΘΏΡΑΚΑ ГРУДЬ ГРУДНАЯ КЛЕТКА КЛЕТКИ ЛЕГКИЕ ЛЕГКИХ ОГК 胸部 胸片 胸 胸腹 肋骨 肺部 双肺 両肺
            肺 心臓 心脏 흉부 가슴 폐
        """,
        _THORACIC: """
            THOR THORAC THORACIC DORSAL TORÁCICO TORÁCICA TORACICO TORACICA THORACIQUE TORACALE THORAKAL THORACAAL
            TORAKAL PIERSIOWY PIERSIOWA ГРУДНОГО ГРУДНОЙ
        """,
        _SPINE: """
            SPINE SPINAL VERTEBRA VERTEBRAE VERTEBRAL BACKBONE COLUMN CSPINE TSPINE LSPINE DSPINE SSPINE TLSPINE
            CTSPINE LSSPINE CERVICAL LUMBAR LUMBOSACRAL SACRAL SACRUM COCCYX THORACOLUMBAR DORSOLUMBAR CERVICOTHORACIC
            COLUMNA VÉRTEBRAS COLUNA LOMBAR SACRO TORACOLUMBAR COLONNE RACHIS VERTÉBRAL LOMBAIRE DORSOLOMBAIRE COLONNA
            RACHIDE LOMBARE WIRBELSÄULE BRUSTWIRBELSÄULE HALSWIRBELSÄULE LENDENWIRBELSÄULE HWS BWS LWS STEISSBEIN
            KREUZBEIN WERVELKOLOM RYGG RYGGRAD KRĘGOSŁUP PÁTEŘ OMURGA ПОЗВОНОЧНИК ПОЗВОНОЧНИКА 脊柱 脊椎 颈椎 頸椎
            胸椎 胸腰椎 腰椎 骶椎 ПОЯСНИЧНЫЙ ПОЯСНИЧНОГО ШЕЙНЫЙ ШЕЙНОГО ΣΠΟΝΔΥΛΙΚΗ 척추 경추 흉추 요추
        """,
        _OTHER: """
            HIP HIPS HAND HANDS SKULL ABDOMEN ABDOMINAL ABDO ABD KUB AXR PELVIS PELVIC PELV PEL KNEE KNEES FOOT FEET
            ANKLE ANKLES WRIST WRISTS ELBOW ELBOWS SHOULDER SHOULDERS CLAVICLE CLAVICLES CLAVICULA SCAPULA STERNUM
            ACJOINT SCJOINT ARM ARMS FOREARM HUMERUS RADIUS ULNA LEG LEGS FEMUR TIBIA FIBULA TIB FIB THIGH CALF SHIN
            PATELLA HEEL CALCANEUS CALCANEUM TOE TOES FINGER FINGERS THUMB EXTREMITY EXTREMITIES EXTREM LIMB LIMBS
            HEAD NECK FACE FACIAL NOSE NASAL SINUS SINUSES JAW MANDIBLE MAXILLA TMJ ORBIT ORBITS EYE EYES EYELID EAR
            EARS TEETH TOOTH DENTAL MOUTH TONGUE CHEEK ZYGOMA MASTOID MASTOIDS CRANIUM BRAIN CEREBELLUM SCALP SELLA
            LARYNX PHARYNX NASOPHARYNX THYROID PAROTID BREAST BREASTS MAMMO AXILLA BACK BUTTOCK GROIN LIVER SPLEEN
            PANCREAS KIDNEY KIDNEYS RENAL BLADDER URETER URETHRA PROSTATE UTERUS OVARY TESTIS SCROTUM PENIS VAGINA
            VULVA STOMACH BOWEL COLON RECTUM DUODENUM JEJUNUM ILEUM ILIUM ESOPHAGUS OESOPHAGUS GALLBLADDER BILEDUCT
            ADRENAL CERVIX CAROTID CORNEA SCLERA IAC CIRCLEOFWILLIS SUBMANDIBULAR METACARPAL METATARSAL SCAPHOID
            OLECRANON SIJOINT LHIP RHIP LKNEE RKNEE LHAND RHAND LFOOT RFOOT LANKLE RANKLE LWRIST RWRIST LELBOW RELBOW
            LSHOULDER RSHOULDER EXM CADERA MANO CRÁNEO PELVIS RODILLA PIE TOBILLO MUÑECA CODO HOMBRO CLAVÍCULA ESCÁPULA
            ESTERNÓN BRAZO ANTEBRAZO HÚMERO PIERNA FÉMUR TOBILLOS RODILLAS MANOS PIES CABEZA CUELLO CARA NARIZ SENOS
            MANDÍBULA DEDO DEDOS TALÓN VIENTRE MAMA MAMAS RIÑÓN EXTREMIDAD
            QUADRIL MÃO MÃOS CRÂNIO ABDOME ABDÔMEN PELVE BACIA JOELHO JOELHOS PÉS TORNOZELO PUNHO COTOVELO OMBRO
            OMBROS ESTERNO BRAÇO ANTEBRAÇO ÚMERO PERNA FÊMUR CABEÇA PESCOÇO SEIOS CALCÂNEO
            HANCHE HANCHES MAIN MAINS CRÂNE BASSIN GENOU GENOUX PIED PIEDS CHEVILLE POIGNET COUDE ÉPAULE ÉPAULES
            CLAVICULE OMOPLATE BRAS AVANTBRAS JAMBE CUISSE FÉMORAL TÊTE COU VISAGE NEZ MÂCHOIRE DOIGT ORTEIL SEIN
            SEINS ANCA ANCHE MANI CRANIO ADDOME BACINO GINOCCHIO GINOCCHIA PIEDE PIEDI CAVIGLIA POLSO GOMITO SPALLA
            SPALLE CLAVICOLA SCAPOLA STERNO BRACCIO AVAMBRACCIO GAMBA FEMORE TESTA COLLO NASO MANDIBOLA
            HÜFTE HÜFTEN SCHÄDEL BAUCH BECKEN KNIE FUSS FUß FÜSSE SPRUNGGELENK KNÖCHEL HANDGELENK ELLENBOGEN ELLBOGEN
            SCHULTER SCHLÜSSELBEIN SCHULTERBLATT BRUSTBEIN OBERARM UNTERARM BEIN OBERSCHENKEL UNTERSCHENKEL KOPF HALS
            GESICHT NASE KIEFER UNTERKIEFER FERSE ZEHE DAUMEN NIERE HÄNDE MAMMA
            HEUP SCHEDEL BUIK BEKKEN VOET ENKEL POLS ELLEBOOG SCHOUDER SLEUTELBEEN HOOFD NEK
            HÖFT KNÄ FOT HANDLED ARMBÅGE AXEL BUK SKALLE HUVUD HOFTE KNÆ HÅND ALBUE
            BIODRO RĘKA DŁOŃ CZASZKA BRZUCH MIEDNICA KOLANO STOPA NADGARSTEK ŁOKIEĆ BARK OBOJCZYK GŁOWA SZYJA LEBKA
            KYČEL RUKA BŘICHO PÁNEV KOLENO NOHA RAMENO LOKET HLAVA KALÇA KAFA KARIN DİZ AYAK OMUZ DİRSEK
            КИСТЬ КИСТИ КОЛЕНО СТОПА ЧЕРЕП ТАЗ ЖИВОТ ПЛЕЧО ЛОКОТЬ БЕДРО ГОЛОВА ШЕЯ
            КОЛЕННЫЙ ТАЗОБЕДРЕННЫЙ ПЛЕЧЕВОЙ ЛОКТЕВОЙ ГОЛЕНОСТОПНЫЙ ЛУЧЕЗАПЯСТНЫЙ БРЮШНАЯ БРЮШНОЙ ПАЗУХИ
            ΚΟΙΛΙΑ ΓΟΝΑΤΟ ΙΣΧΙΟ ΛΕΚΑΝΗ ΚΡΑΝΙΟ ΩΜΟΣ ΑΓΚΩΝΑΣ
            腹部 腹 骨盆 骨盤 头颅 頭部 头部 頭頸部 手 手部 手指 左手 右手 双手 両手 膝 左膝 右膝 双膝 両膝 膝关节
            膝関節 足 足部 左足 右足 足関節 手関節 肩 左肩 右肩 肩关节 肩関節 髋 髋关节 股関節 肘 肘关节 肘関節 腕 踝
            踝关节 腕关节 胸骨 鎖骨 锁骨 복부 골반 무릎 손 발 두개골 어깨
        """,
        _BESIDE: """
            LEFT RIGHT LT RT BILAT BILATERAL UNILAT UNILATERAL BOTH PA AP LAT LATERAL OBL PORT PORTABLE ERECT SUPINE XR
            XRAY RX UPPER LOWER UP LOW VIEW VIEWS AND WITH JOINT
        """,
    },
    # After whole words: THORAXORGANE and PORTABLECHESTX are the chest, THORACOLUMBAR above is not.
    stems={_CHEST: "CHEST THORA TORAX TORAC LUNG PULMO"},
)

# PS3.16, CID 4009, and of CID 4 what lies in the chest: SNOMED CT and the older SNOMED RT codes, by whether they are
# the chest. The trachea and the phantom of CID 4009 are neither.
_CODES: Final = {
    code: chest
    for chest, codes in {
        # chest (both concepts), intrathoracic, lung, apex of lung, mediastinum, rib, heart, bronchus, trachea and
        # bronchus, entire body; neck and chest, and abdomen, and pelvis; chest and abdomen, and pelvis
        True: """
            51185008 816094009 T-D3000 43799004 T-D3200 39607008 T-28000 86598002 T-280A0 72410000 T-D3300 113197003
            T-11300 80891009 T-32000 955009 T-26000 110726009 T-DD006 38266002 T-D0010 417437006 R-FAB52 416152001
            R-FAB53 416319003 R-FAB54 416550000 R-FAB55 416775004 R-FAB56
        """,
        # every other of CID 4009, in the order of its meanings; then older codes of abdomen, pelvis, and both
        False: """
            818981001 818982008 85856004 T-15420 70258002 T-15750 53505006 T-59900 28273000 T-60610 34707002 T-60600
            89837001 T-74000 72001000 T-12700 371195002 T-D0821 76752008 T-04000 80144004 T-12770 122494005 T-11501
            1217257000 51299004 T-12310 64688005 T-11BF0 71854001 T-59300 79741001 T-64500 38848004 T-58200 16953009
            T-15430 32849002 T-56000 110861005 T-DD163 66019005 T-D0300 81745001 T-AA000 371398005 T-D0801 91397008
            T-11196 71341001 T-12710 87342007 T-12750 7569003 T-D8800 56459004 T-D9700 14975008 T-D8500 28231008
            T-63000 85562004 T-D8700 69536005 T-D1100 774007 T-D1000 29836001 T-D2500 24136001 T-15710 85050009
            T-12410 34516001 T-58600 22356005 T-12340 361078006 T-AB959 661005 T-D1213 21306003 T-58400 72696002
            T-D9200 14742008 T-59000 4596009 T-24100 303270005 T-50007 30021000 T-D9400 61685007 T-D9000 122496007
            T-11503 1217253001 91609006 T-11180 59066005 T-11133 70925003 T-11170 102292000 T-14668 30608006 T-13600
            74386004 T-11149 45048000 T-D1600 55024004 T-11102 363654007 T-D14AE 15776009 T-65000 69930009 T-65010
            110621006 T-65600 2095001 T-22000 45289007 T-61100 64234005 T-12730 816092008 1231522001 41216001 T-92000
            34402009 T-59600 1217254007 39723000 T-15680 54735007 T-11AD0 79601000 T-12280 42575006 T-D1460 58742003
            T-12980 16982005 T-D2220 89546000 T-11100 30315005 T-58000 421060004 T-D04FF 7844006 T-15610 56873002
            T-11210 69695003 T-57000 54019009 T-61300 27949001 T-15770 53620006 T-15290 68367000 T-D9100 122495006
            T-11502 1217256009 76505004 T-D8810 29707007 T-D9800 40983000 T-D8200 53120007 T-D8000 431491007 T-7000B
            87953007 T-73000 13648007 T-75000 110639002 T-88920 110517009 T-11011 74670003 T-15460 13881006 T-11166
            T-D4000 113345001 T-D6000 12921003 R-FAB57 416949008
        """,
    }.items()
    for code in codes.split()
}


@lru_cache(maxsize=1024)
def is_chest_text(text: str) -> bool | None:
    """Whether a string names the chest; None where it names no part that is known."""
    said = set(_WORDS.kinds(text))
    if _CHEST in said or (_THORACIC in said and _SPINE not in said):
        return True
    return False if said & {_OTHER, _SPINE} else None


def is_chest_code(code: Code) -> bool | None:
    """The same of a code: by its value, else by its meaning."""
    chest = _CODES.get(code.value.upper())
    return is_chest_text(code.meaning) if chest is None else chest


def body_part_flags(examined: str, regions: Sequence[Code] = ()) -> set[str]:
    """`body_part_not_chest` when the header names another part, and not the chest beside it.

    Args:
        examined: Body Part Examined; where it names a part, the regions are not asked.
        regions: of Anatomic Region Sequence; one that is the chest suffices.
    """
    chest = is_chest_text(examined)
    if chest is None:
        named = [is_chest_code(code) for code in regions]
        chest = True if True in named else False if False in named else None
    return {"body_part_not_chest"} if chest is False else set()
