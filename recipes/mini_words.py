"""The words of cxrzero-mini's captions: for each label the statements if it is true, and if it is not."""

from __future__ import annotations

import json
from pathlib import Path

# Words for each label of ChestX-ray14. The first is the label as users type it.
FINDINGS: dict[str, tuple[str, ...]] = {
    "Atelectasis": ("atelectasis", "atelectatic change", "volume loss", "atelectatic lung"),
    "Cardiomegaly": ("cardiomegaly", "large heart", "enlarged cardiac silhouette", "cardiac enlargement"),
    "Effusion": ("pleural effusion", "effusion", "pleural fluid", "blunted costophrenic angle"),
    "Infiltration": ("infiltration", "infiltrate", "pulmonary infiltrates"),
    "Mass": ("mass", "lung mass", "pulmonary mass"),
    "Nodule": ("nodule", "lung nodule", "pulmonary nodule"),
    "Pneumonia": ("pneumonia", "lung infection", "infectious consolidation"),
    "Pneumothorax": ("pneumothorax", "air in the pleural space", "pleural air"),
    "Consolidation": ("consolidation", "airspace consolidation", "consolidated lung"),
    "Edema": ("edema", "pulmonary edema", "oedema", "interstitial edema"),
    "Emphysema": ("emphysema", "pulmonary emphysema", "hyperinflated lungs"),
    "Fibrosis": ("fibrosis", "pulmonary fibrosis", "fibrotic scarring of the lung"),
    "Pleural_Thickening": ("pleural thickening", "thickened pleura", "pleural scarring"),
    "Hernia": ("hernia", "hiatal hernia", "diaphragmatic hernia"),
}
# The same in plain words, for five findings.
PLAIN: dict[str, tuple[str, ...]] = {
    "Atelectasis": ("airless part of the lung", "incompletely expanded lung"),
    "Cardiomegaly": ("wide heart", "heart bigger than normal"),
    "Consolidation": ("solid lung tissue", "white area in the lung"),
    "Effusion": ("fluid in the pleural space", "liquid next to the lung"),
    "Pneumothorax": ("air outside the lung", "deflated lung"),
}
# Said where a label is absent, besides "no X".
ABSENT: dict[str, tuple[str, ...]] = {
    "Atelectasis": ("lungs fully expanded",),
    "Cardiomegaly": ("normal heart size", "the heart is normal in size"),
    "Effusion": ("sharp costophrenic angles",),
    "Emphysema": ("normally inflated lungs",),
    "Pleural_Thickening": ("thin pleura",),
}
# A label of any of these makes the lung denser somewhere.
OPAQUE = frozenset({"Atelectasis", "Infiltration", "Mass", "Nodule", "Pneumonia", "Consolidation", "Edema"})
OPACITY = ("lung opacity", "opacity in the lung")
CLEAR = ("no lung opacity", "clear lungs", "the lungs are clear")
NORMAL = ("no finding", "normal", "normal chest radiograph", "no abnormality", "unremarkable chest x-ray")
ABNORMAL = ("abnormal", "abnormal chest radiograph", "finding", "abnormality")
VIEWS = {"AP": ("ap view", "anteroposterior chest radiograph"), "PA": ("pa view", "posteroanterior chest radiograph")}
# Said of patients below an age in years; the first are children.
AGES = {
    18: "chest radiograph of a child",
    40: "chest radiograph of a young adult",
    65: "chest radiograph of a middle-aged adult",
    200: "chest radiograph of an elderly adult",
}

# Everyday words for five findings, chosen before any training and kept out of every caption: they test understanding.
PARAPHRASES: dict[str, list[str]] = json.loads(Path(__file__).with_name("mini_paraphrases.json").read_text("utf-8"))
RESERVED = tuple(phrase for phrases in PARAPHRASES.values() for phrase in phrases)
