"""Names of the same finding in public label lists."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cxrzero import tables
from cxrzero.tables.names import fold
from cxrzero.tables.synonyms import in_words, other_names, same_finding, sources_of, synonyms_among

TABLE = yaml.safe_load((Path(tables.__file__).parent / "synonyms.yaml").read_text(encoding="utf-8"))

# What each data set's publication calls its labels, in its own spelling.
NIH = [
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
]  # fmt: skip
CHEXPERT = [
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
]  # fmt: skip
VINDR = [
    "Aortic enlargement", "Atelectasis", "Cardiomegaly", "Clavicle fracture", "Consolidation", "Edema", "Emphysema",
    "Enlarged PA", "ILD", "Infiltration", "Lung Opacity", "Lung cavity", "Lung cyst", "Mediastinal shift",
    "Nodule/Mass", "Pleural effusion", "Pleural thickening", "Pneumothorax", "Pulmonary fibrosis", "Rib fracture",
    "COPD", "Lung tumor", "Pneumonia", "Tuberculosis", "No finding", "Calcification", "Other lesion",
    "Other diseases",
]  # fmt: skip


@pytest.mark.parametrize(("source", "names"), [("NIH", NIH), ("CheXpert", CHEXPERT), ("VinDr", VINDR)])
def test_the_lists_of_the_data_sets_are_known(source: str, names: list[str]) -> None:
    for name in names:
        assert source in sources_of(name), name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Effusion", "Pleural Effusion"),
        ("Effusion", "derrame pleural"),
        ("Infiltrate", "Infiltration"),
        ("infiltrates", "Infiltration"),
        ("enlarged cardiac silhouette", "Cardiomegaly"),
        ("cardiomegalia", "Cardiomegaly"),
        ("Lung Opacity", "opacity"),
        ("Lung Opacity", "Airspace Opacity"),
        ("oedema", "Edema"),
        ("pulmonary edema", "Edema"),
        ("hiatus hernia", "hiatal hernia"),
        ("No Finding", "normal"),
        ("TB", "Tuberculosis"),
        ("Pulmonary fibrosis", "Fibrosis"),
        ("neumonia", "Pneumonia"),
        ("neumonía", "Pneumonia"),
        ("ILD", "Interstitial lung disease"),
        ("pneumoperitoneo", "Pneumoperitoneum"),
        ("NSG tube", "nasogastric tube"),
        ("laminar atelectasis", "platelike atelectasis"),
        ("Round(ed) Atelectasis", "round atelectasis"),
        ("adenopathy", "lymphadenopathy"),
        ("ground glass pattern", "ground-glass opacity"),
        ("tracheal shift", "tracheal deviation"),
    ],
)
def test_the_same_finding(one: str, other: str) -> None:
    assert same_finding(one, other)
    assert same_finding(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("pleural effusion", "costophrenic angle blunting"),
        ("Nodule", "Nodule/Mass"),
        ("Mass", "Nodule/Mass"),
        ("Mass", "Lung Lesion"),
        ("Tuberculosis", "tuberculosis sequelae"),
        ("Emphysema", "subcutaneous emphysema"),
        ("Cardiomegaly", "Enlarged Cardiomediastinum"),
        ("Hernia", "hiatal hernia"),
        ("Infiltration", "Consolidation"),
        ("Lung Opacity", "Consolidation"),
        ("Fracture", "Rib fracture"),
        ("Pneumonia", "Pneumothorax"),
        ("COPD", "COPD signs"),
        ("Atelectasis", "laminar atelectasis"),
        ("granuloma", "calcified granuloma"),
        ("mediastinal enlargement", "Enlarged Cardiomediastinum"),
        ("pericardial effusion", "Effusion"),
        ("tracheal shift", "Mediastinal shift"),
        ("Pneumothorax", "hydropneumothorax"),
        ("Pleural_Thickening", "Pleural Other"),
        ("nothing known", "nothing known"),
    ],
)
def test_what_is_only_alike_is_another_finding(one: str, other: str) -> None:
    assert not same_finding(one, other)


def test_no_name_means_two_findings() -> None:
    seen: dict[str, str] = {}
    for finding, lists in TABLE.items():
        for name in (finding, *(name for names in lists.values() for name in names)):
            assert seen.setdefault(fold(name), finding) == finding, name


def test_in_words() -> None:
    assert in_words("pleural effusion", "Effusion") == "pleural effusion ← Effusion (built-in synonym of NIH)"
    assert in_words("Effusion", "derrame pleural").endswith("(built-in synonym of Spanish)")
    assert sources_of("Pleural_Effusion") == "CheXpert, PadChest and VinDr"


def test_synonyms_are_other_names() -> None:
    assert synonyms_among("pleural effusion", ["Pleural_Effusion", "Effusion", "Edema"]) == ["Effusion"]
    assert synonyms_among("asdfgh", ["Effusion", "asdfgh"]) == []
    assert "Effusion" in other_names("derrame pleural")
    assert other_names("asdfgh") == ()
