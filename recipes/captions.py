"""Tells what a figure of ROCO shows by the words of its caption; a caption that names two techniques is mixed.

`is_chest_xray` of the table comes from the caption too, and misses films whose caption names only the finding
("Bilateral pneumonia with effusion."). Therefore captions that may mean a chest film are a kind of their own, which is
counted on neither side.
"""

from __future__ import annotations

import re
from typing import Final

# Radiographs that show no chest by their caption, abdominal ones apart; contrast studies are among them.
ABDOMINAL: Final = "abdominal film"
RADIOGRAPH: Final = "other radiograph"
# A radiograph, or a figure of unnamed technique, whose caption speaks of the chest.
MAYBE_CHEST: Final = "maybe a chest film"
UNSTATED: Final = "technique unstated"
MIXED: Final = "two techniques"

_FILM: Final = re.compile(
    r"x[- ]?rays?\b|radiogra(ph|m)|roentgen|röntgen|(plain|abdominal) films?|\bKUB\b|scanogram|skiagram|orthopantomo"
    r"|\bOPG\b|panoram"
    r"|urogra|pyelogra|barium|enema|cystogra|urethrogra|mammogra|cephalo|scout",
    re.IGNORECASE,
)
_TECHNIQUES: Final = {
    kind: re.compile(words, re.IGNORECASE)
    for kind, words in {
        "CT": r"\b(CT|CTA|CECT|HRCT|MDCT)\b|\bCAT scan|tomographic|\btomography\b|tomogram",
        "MR": r"\b(MRI?|MRA|MRCP|FLAIR|STIR|T[12])\b|magnetic resonance",
        "ultrasound": r"ultraso|sonogra|\becho\b|echocardio|doppler|\b(TEE|TTE|US)\b|transo?esophageal|four[- ]chamber",
        "angiography": r"(angi|arteri|ven|aort|ventricul)ogra|cholangio|\bERCP\b|fluoroscop|catheteri[sz]ation",
        "nuclear medicine": r"\b(PET|SPECT)\b|scintigra|bone scan",
        "no radiology": r"endoscop|colonoscop|bronchoscop|histolog|micrograph|photograph|stain|microscop",
    }.items()
}
_ABDOMEN: Final = re.compile(r"abdom|\bKUB\b|bowel|colon|stomach|gastric", re.IGNORECASE)
_CHEST: Final = re.compile(
    r"chest|\b(CXR|ribs?)\b|thora|lung|pneumo|pleur|pulmon|diaphragm|mediastin|cardiomeg|pacemaker|hilar|atelecta",
    re.IGNORECASE,
)


def kind_of(caption: str) -> str:
    """One of the kinds above, or a technique."""
    film = _FILM.search(caption) is not None
    techniques = [kind for kind, words in _TECHNIQUES.items() if words.search(caption)]
    if techniques:
        return MIXED if film or len(techniques) > 1 else techniques[0]
    if _CHEST.search(caption):
        return MAYBE_CHEST
    if not film:
        return UNSTATED
    return ABDOMINAL if _ABDOMEN.search(caption) else RADIOGRAPH
