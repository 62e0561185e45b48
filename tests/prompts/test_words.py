"""Words are checked where they are asked: what is wrong is said once, and what is right passes in silence."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cxrzero import Screener
from cxrzero.cards.card import iter_cards
from cxrzero.cli import app
from cxrzero.model.bundle import bundled_folder, load_bundle
from cxrzero.prompts import resolve_prompts
from cxrzero.prompts.bank import built_in_bank
from cxrzero.prompts.labels import LabelPrompts
from cxrzero.prompts.lint import CODES, lint
from cxrzero.prompts.remarks import lines, remarks_on
from cxrzero.prompts.words import denied_in, foreign_in, several_in, unknown_in
from tests.prompts.test_bank import CHEXPERT, NIH
from tests.support.bundle import write_bundle

# As their authors write them. MIMIC-CXR-JPG has CheXpert's; CXR-LT and RSNA add these.
VINDR = """Aortic enlargement|Atelectasis|Calcification|Cardiomegaly|Clavicle fracture|Consolidation|Edema|
Emphysema|Enlarged PA|ILD|Infiltration|Lung Opacity|Lung cavity|Lung cyst|Mediastinal shift|Nodule/Mass|
Pleural effusion|Pleural thickening|Pneumothorax|Pulmonary fibrosis|Rib fracture|Other lesion|COPD|Lung tumor|
Pneumonia|Tuberculosis|Other diseases|No finding|Other disease|Bronchitis|Brocho-pneumonia|Bronchiolitis|
Situs inversus|Pleuro-pneumonia|Diagphramatic hernia|Congenital emphysema|Hyaline membrane disease|CPAM|
Mediastinal tumor"""
CXR_LT = """Adenopathy|Azygos Lobe|Calcification of the Aorta|Clavicle Fracture|Fissure|Hydropneumothorax|
Infarction|Kyphosis|Lobar Atelectasis|Pleural Plaque|Pneumoperitoneum|Pneumomediastinum|Pulmonary Embolism|
Pulmonary Hypertension|Round(ed) Atelectasis|Rib Fracture|Subcutaneous Emphysema|Tortuous Aorta|Bulla|Osteopenia|
Lung Opacity|Granuloma"""
PADCHEST = """abnormal foreign body|abscess|adenopathy|air bronchogram|air fluid level|air trapping|
alveolar pattern|aortic aneurysm|aortic atheromatosis|aortic button enlargement|aortic elongation|
aortic endoprosthesis|apical pleural thickening|artificial aortic heart valve|artificial heart valve|
artificial mitral heart valve|asbestosis signs|ascendent aortic elongation|atelectasis|atelectasis basal|
atypical pneumonia|axial hyperostosis|azygoesophageal recess shift|azygos lobe|blastic bone lesion|bone cement|
bone metastasis|breast mass|bronchiectasis|bronchovascular markings|bullas|calcified adenopathy|calcified densities|
calcified fibroadenoma|calcified granuloma|calcified mediastinal adenopathy|calcified pleural plaques|
calcified pleural thickening|callus rib fracture|cardiomegaly|catheter|cavitation|central vascular redistribution|
central venous catheter|central venous catheter via jugular vein|central venous catheter via subclavian vein|
central venous catheter via umbilical vein|cervical rib|chest drain tube|chilaiditi sign|chronic changes|
clavicle fracture|consolidation|copd signs|costochondral junction hypertrophy|costophrenic angle blunting|cyst|
descendent aortic elongation|dextrocardia|diaphragmatic eventration|double J stent|dual chamber device|
electrical device|emphysema|empyema|end on vessel|endoprosthesis|endotracheal tube|esophagic dilatation|exclude|
external foreign body|fibrotic band|fissure thickening|flattened diaphragm|fracture|gastrostomy tube|goiter|
granuloma|ground glass pattern|gynecomastia|heart insufficiency|heart valve calcified|hemidiaphragm elevation|
hiatal hernia|hilar congestion|hilar enlargement|humeral fracture|humeral prosthesis|hydropneumothorax|
hyperinflated lung|hypoexpansion|hypoexpansion basal|increased density|infiltrates|interstitial pattern|
kerley lines|kyphosis|laminar atelectasis|lepidic adenocarcinoma|lipomatosis|lobar atelectasis|
loculated fissural effusion|loculated pleural effusion|lung metastasis|lung vascular paucity|
lymphangitis carcinomatosa|lytic bone lesion|major fissure thickening|mammary prosthesis|mass|mastectomy|
mediastinal enlargement|mediastinal mass|mediastinal shift|mediastinic lipomatosis|metal|miliary opacities|
minor fissure thickening|multiple nodules|nephrostomy tube|nipple shadow|nodule|
non axial articular degenerative changes|normal|NSG tube|obesity|osteopenia|osteoporosis|osteosynthesis material|
pacemaker|pectum carinatum|pectum excavatum|pericardial effusion|pleural effusion|pleural mass|pleural plaques|
pleural thickening|pneumomediastinum|pneumonia|pneumoperitoneo|pneumothorax|post radiotherapy changes|prosthesis|
pseudonodule|pulmonary artery enlargement|pulmonary artery hypertension|pulmonary edema|pulmonary fibrosis|
pulmonary hypertension|pulmonary mass|pulmonary venous hypertension|reservoir central venous catheter|
respiratory distress|reticular interstitial pattern|reticulonodular interstitial pattern|rib fracture|
right sided aortic arch|round atelectasis|sclerotic bone lesion|scoliosis|segmental atelectasis|
single chamber device|soft tissue mass|sternoclavicular junction hypertrophy|sternotomy|subacromial space narrowing|
subcutaneous emphysema|suboptimal study|superior mediastinal enlargement|supra aortic elongation|surgery|
surgery breast|surgery heart|surgery humeral|surgery lung|surgery neck|suture material|thoracic cage deformation|
total atelectasis|tracheal shift|tracheostomy tube|tuberculosis|tuberculosis sequelae|unchanged|
vascular hilar enlargement|vascular redistribution|ventriculoperitoneal drain tube|vertebral anterior compression|
vertebral compression|vertebral degenerative changes|vertebral fracture|volume loss"""
COMMON = """cavitary lesion in the right upper lobe|Swan-Ganz catheter|PICC line|IABP|ECMO cannula|CABG clips|
Kerley B lines|septic emboli|bronchial wall thickening|tree-in-bud opacities|cephalization|Hampton's hump|
Westermark sign|Bochdalek hernia|Chilaiditi's sign|Sjögren's lung|ARDS|COVID-19|tension pneumothorax|flail chest|
pneumatocele|large left pleural effusion|retrocardiac opacity|lines and tubes|malpositioned endotracheal tube|
free air under the diaphragm|honeycombing|oesophageal dilatation|haemothorax|pulmonary oedema|
hyperinflation of the lungs|bibasilar atelectasis|reticulonodular interstitial pattern|thoracolumbar scoliosis|
left-sided chest tube|interstitial lung disease|mediastinal lymphadenopathy|hydatid cyst|miliary tuberculosis|
aspergilloma|non-calcified nodule|3 cm mass|PA view"""
SETS: dict[str, list[str] | str] = {
    "NIH": NIH,
    "CheXpert": CHEXPERT,
    "VinDr": VINDR,
    "CXR-LT": CXR_LT,
    "PadChest": PADCHEST,
    "common": COMMON,
}

Draw = Callable[..., Path]


def usual_labels() -> Iterator[tuple[str, str]]:
    for name, labels in SETS.items():
        listed = labels if isinstance(labels, list) else " ".join(labels.split()).replace("| ", "|").split("|")
        yield from ((name, label) for label in listed)
    for entry in built_in_bank().entries.values():
        yield from (("the bank", label) for label in (entry.name, *entry.synonyms))


@pytest.mark.parametrize(("source", "label"), list(dict.fromkeys(usual_labels())))
def test_usual_labels_pass_in_silence(source: str, label: str) -> None:
    """Without a tokenizer's help, so with every model."""
    assert foreign_in(label) is None
    assert unknown_in(label) is None


@pytest.mark.parametrize("name", SETS)
def test_asked_together_they_are_told_of_measurements_only(name: str) -> None:
    bundle = load_bundle(bundled_folder() / "cxrzero-mini")
    labels = dict.fromkeys(label for source, label in usual_labels() if source == name)
    remarks = remarks_on(resolve_prompts(bundle, list(labels)), [bundle], lambda word: ["a", "b"])
    assert {remark.code for remark in remarks} <= {"chance", "unmeasured"}
    assert len(list(lines(remarks))) <= 4


def test_what_models_state_of_themselves_passes_in_silence() -> None:
    own = [text for card in iter_cards() for text in (*card.import_facts.positive, *card.import_facts.negative)]
    own += [label for path in bundled_folder().iterdir() for label in load_bundle(path).labels]
    assert len(own) > 20
    assert [text for text in own if foreign_in(text) or unknown_in(text.replace("{}", ""))] == []


@pytest.mark.parametrize(
    ("label", "finding"),
    [
        ("no pneumonia", "pneumonia"),
        ("No_Pneumonia", "Pneumonia"),
        ("without effusion", "effusion"),
        ("absence of edema", "edema"),
        ("no evidence of mass", "mass"),
        ("there is no edema", "edema"),
        ("negative for tuberculosis", "tuberculosis"),
        ("not enlarged", "enlarged"),
        ("pneumothorax ruled out", "pneumothorax"),
        ("pneumothorax: absent", "pneumothorax"),
        ("pneumothorax (absent)", "pneumothorax"),
        ("pneumothorax is absent", "pneumothorax"),
        ("effusion was not seen", "effusion"),
        ("pneumonia: no", "pneumonia"),
        ("r/o pneumonia", "pneumonia"),
        ("w/out edema", "edema"),
        ("lacks effusion", "effusion"),
        ("cannot see pneumonia", "pneumonia"),
        ("hasn’t pneumonia", "pneumonia"),
        ("no longer effusion", "effusion"),
        ("without any effusion", "effusion"),
        ("no radiographic evidence of mass", "mass"),
        ("non small cell lung cancer", None),
        ("unexcluded", None),
        ("nodule", None),
        ("noncalcified nodule", None),
        ("free air", None),
        ("nonspecific opacity", None),
        ("negative pressure pulmonary edema", None),
        ("normal", None),
    ],
)
def test_a_denied_finding_is_found(label: str, finding: str | None) -> None:
    assert denied_in(label) == finding


@pytest.mark.parametrize(
    ("text", "language", "english"),
    [
        ("große Lunge", "German", "large lung"),
        ("GROSSE LUNGE", "German", "large lung"),
        ("pneumonie", "German or French", "pneumonia"),
        ("Pleuraerguß", "German", "pleural effusion"),
        ("neumonía", "Spanish", "pneumonia"),
        ("neumonia", "Spanish", "pneumonia"),
        ("neumoni\u0301a", "Spanish", "pneumonia"),
        ("derrame pleural", "Spanish", "pleural effusion"),
        ("épanchement pleural", "French", "pleural effusion"),
        ("Epanchement pleural", "French", "pleural effusion"),
        ("polmonite", "Italian", "pneumonia"),
        ("coração", "Portuguese", "heart"),
        ("longontsteking", "Dutch", "pneumonia"),
        ("zapalenie płuc", "Polish", "pneumonia"),
        ("пневмония", "Russian", "pneumonia"),
        ("肺炎", "Chinese", "pneumonia"),
        ("폐렴", "Korean", "pneumonia"),
        ("sin derrame", "Spanish", "effusion"),
        ("kein Erguss", "German", "effusion"),
        ("pas de pneumonie", "German or French", ""),
        ("infarto", "Spanish", "infarct"),
        ("πνευμονία", "Greek", ""),
        ("ذات الرئة", "Arabic", ""),
        ("Zerkrümelung", "no English", ""),
    ],
)
def test_another_language_is_named_and_translated_where_known(text: str, language: str, english: str) -> None:
    said = foreign_in(text)
    assert said is not None
    assert f"is {language}, which" in said
    assert said.endswith(f"ask for {english!r}" if english else "ask in English")


@pytest.mark.parametrize(
    "text", ["lesion", "gross", "edema", "hernia", "long line", "Sjögren", "fracture", "pleura", "sinus"]
)
def test_words_that_are_english_too_are_english(text: str) -> None:
    assert foreign_in(text) is None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("pnuemonia", "pneumonia"),
        ("plueral effusion", "pleural effusion"),
        ("cardiomegally", "cardiomegaly"),
        ("atelectatis", "atelectasis"),
        ("consolidaton", "consolidation"),
        ("emphisema", "emphysema"),
        ("Pnuemothorax", "pneumothorax"),
        ("asdfgh", ""),
        ("xqzt", ""),
        ("qwertz uiop", ""),
        ("lorem ipsum", ""),
    ],
)
def test_what_is_no_word_is_told_with_the_word_that_may_be_meant(text: str, meant: str) -> None:
    said = unknown_in(text)
    assert said is not None
    assert ("did you mean" in said) == bool(meant)
    assert said.endswith(f"did you mean {meant!r}?" if meant else "use words that a report would have")


def test_a_word_of_the_tokenizers_own_is_a_word() -> None:
    assert unknown_in("crocodile") is not None
    assert unknown_in("crocodile", lambda word: ["crocodile"]) is None
    assert unknown_in("crocodile", lambda word: ["croc", "##odile"]) is not None
    assert unknown_in("crocodile", lambda word: []) is not None  # a letter that it does not know


def test_a_list_in_one_label_is_seen() -> None:
    assert several_in("pneumonia, edema") == ("pneumonia", "edema")
    assert several_in("Effusion; Edema") == ("Effusion", "Edema")
    assert several_in("Nodule/Mass") == ()
    assert several_in("mass, left") == ()
    assert several_in("pneumonia") == ()


def test_the_linter_judges_what_the_model_reads() -> None:
    def codes(label: str, positive: str, negative: str = "clear lungs") -> list[str]:
        return [finding.code for finding in lint([LabelPrompts(label, (positive,), (negative,))])]

    assert codes("Lungenentzündung", "pneumonia") == []  # a name of the user's own; nobody is asked in German
    assert codes("asdfgh", "asdfgh", "no asdfgh") == ["unknown_word"]
    assert codes("x", "große Lunge") == ["language"]
    assert codes("no pneumonia", "no pneumonia", "no no pneumonia") == ["negated"]
    assert codes("no lung markings", "pneumothorax") == []
    assert codes("pneumonia, edema", "pneumonia, edema") == ["several_labels"]
    assert {"negated", "several_labels", "language", "unknown_word"} <= set(CODES)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, png: Draw) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    png("in/a.png")
    return lambda *arguments: CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "300"})


def result_of(label: str, low: float | None, value: float = 0.7, metric: str = "auroc") -> dict[str, object]:
    high = None if low is None else low + 0.2
    return {"dataset": "made up", "label": label, "metric": metric, "value": value, "low": low, "high": high}


def notes(output: str) -> list[str]:
    return [line.removeprefix("Note: ") for line in output.splitlines() if line.startswith("Note: ")]


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    results = [
        result_of("edema", 0.6),
        result_of("nodule", 0.44, 0.53),
        result_of("Effusion", 0.5),
        result_of("hernia", None, 0.5),
        result_of("mass", 0.1, metric="average precision"),
        "no result",
        {"label": 3},
    ]
    return write_bundle(tmp_path / "measured", labels=["edema"], results=results)


def test_predict_says_it_once_a_run_and_records_it(run: Callable[..., Result], measured: Path) -> None:
    asked = "edema,nodule,pleural effusion,hernia,mass,no edema,große Lunge,asdfgh,normal"
    result = run("predict", "in", "--model", measured, "--labels", asked, "--out", "a.csv")
    assert result.exit_code == 0, result.output
    found = notes(result.output)
    assert [line.split(":")[0] for line in found] == [
        "no edema", "große Lunge", "asdfgh", "nodule", "pleural effusion", "hernia", "mass",
    ]  # fmt: skip
    assert found[3] == "nodule: measured at chance with tiny (AUROC 0.53, interval 0.44 to 0.64, made up)"
    assert found[6] == "mass: never measured with tiny, as far as its model.json says"
    remarks = json.loads(Path("a.run.json").read_text(encoding="utf-8"))["remarks"]
    assert [f"{remark['label']}: {remark['message']}" for remark in remarks] == found
    assert {remark["code"] for remark in remarks} == {"negated", "language", "unknown_word", "chance", "unmeasured"}
    assert notes(run("predict", "in", "--model", measured, "--labels", asked, "--out", "b.csv", "--quiet").output) == []
    assert notes(run("predict", "in", "--model", measured, "--labels", asked, "--dry-run").output) == found


def test_many_labels_that_were_never_measured_share_a_line(run: Callable[..., Result], measured: Path) -> None:
    four = "fracture,scoliosis,goiter,pacemaker"
    (line,) = notes(run("predict", "in", "--model", measured, "--labels", four).output)
    assert line == "fracture, scoliosis, goiter, pacemaker: never measured with tiny, as far as its model.json says"


def test_the_models_own_labels_do_not_drown_the_user(run: Callable[..., Result]) -> None:
    (line,) = notes(run("predict", "in", "--dry-run").output)
    assert line.startswith("hernia: measured at chance with cxrzero-mini (AUROC 0.")


def test_that_a_models_own_labels_were_never_measured_is_said_when_they_are_typed(
    run: Callable[..., Result], tiny_bundle: Path
) -> None:
    assert notes(run("predict", "in", "--model", tiny_bundle, "--dry-run").output) == []
    typed = notes(run("predict", "in", "--model", tiny_bundle, "--labels", "pneumonia,edema", "--dry-run").output)
    assert [line.partition(":")[0] for line in typed] == ["pneumonia", "edema"]


def test_a_model_of_another_language_is_not_told_to_learn_english(run: Callable[..., Result], tmp_path: Path) -> None:
    results = [result_of(label, 0.7) for label in ("Lungenentzündung", "Erguss")]
    templates = {"positive": ["{}"], "negative": ["kein {}"]}
    model = write_bundle(tmp_path / "german", labels=["Lungenentzündung"], templates=templates, results=results)
    assert notes(run("predict", "in", "--model", model, "--labels", "Erguss,Lungenentzündung").output) == []


def test_search_looks_at_its_sentence(run: Callable[..., Result], measured: Path) -> None:
    def said(text: str) -> list[str]:
        result = run("search", text, "in", "--model", measured)
        assert result.exit_code == 0, result.output
        return [line.partition(":")[0] for line in notes(result.output)]

    assert said("large left pleural effusion") == []
    assert said("no edema") == ["no edema"]
    assert said("pnuemonia") == ["pnuemonia"]
    assert said("große Lunge") == ["große Lunge"]
    assert said("nodule") == ["nodule"]
    assert said("\x1b[2Jasdfgh") == ["\\x1b[2Jasdfgh"]


def test_eval_of_a_folder_says_it_too(run: Callable[..., Result], measured: Path, png: Draw) -> None:
    for seed in range(6):
        png(f"films/{seed}.png", seed)
    rows = "\n".join(f"{seed}.png,{seed % 2}" for seed in range(6))
    Path("labels.csv").write_text(f"image,Nodule\n{rows}\n", encoding="utf-8")
    result = run("eval", "films", "labels.csv", "--model", measured, "--out", "results", "--resamples", 0)
    assert result.exit_code == 0, result.output
    assert [line.partition(" (")[0] for line in notes(result.output)] == ["Nodule: measured at chance with tiny"]


def test_python_is_told_only_if_it_asks(measured: Path, png: Draw) -> None:
    heard: list[str] = []
    film = png("a.png")
    Screener(measured, device="cpu", notify=heard.append).predict(film, ["asdfgh", "nodule"])
    assert [line.partition(":")[0] for line in heard] == ["asdfgh", "nodule"]
    screener = Screener(measured, device="cpu")
    assert [finding.label for finding in screener.remarks(screener.prompts(["asdfgh", "nodule"]))] == [
        "asdfgh",
        "nodule",
    ]


# As radiologists type them, beside the names of data sets.
TYPED = (
    "left lower lobe consolidation|PICC line malposition|cardiomegaly, mild|R effusion|CHF|COPD|ILD|TB|PE|PTX|ET tube"
    "|Kerley B lines|tree-in-bud|ground-glass opacity|s/p CABG|port-a-cath|trach|RIJ|LIJ|CWP|PLCH|ABPA|NTM|MAI|SLE|GPA"
    "|DAH|EVALI|vaping injury|amiodarone toxicity|XRT changes|allergic bronchopulmonary aspergillosis|CTR > 0.5"
    "|2 cm nodule|effusion (left)|COVID-19|T4 fracture|Hodgkin's lymphoma|egg-shell calcification"
    "|non-small cell lung cancer|opacity w/ air bronchogram|atelectasis vs pneumonia|R>L effusions|old rib fx"
)


@pytest.mark.parametrize("label", TYPED.split("|"))
def test_what_a_radiologist_types_passes_in_silence(label: str) -> None:
    assert (denied_in(label), foreign_in(label), unknown_in(label)) == (None, None, None)


@pytest.mark.parametrize("label", ["0", "12.5", "\N{GRINNING FACE}", "?", "_"])
def test_a_label_without_a_letter_is_told_of_once(label: str) -> None:
    bundle = load_bundle(bundled_folder() / "cxrzero-mini")
    remarks = remarks_on(resolve_prompts(bundle, [label]), [bundle], lambda word: ["a", "b"])
    assert [remark.code for remark in remarks] == ["empty"]


@pytest.mark.parametrize("label", ["no acute findings", "no acute cardiopulmonary process", "no active disease"])
def test_who_denies_everything_means_no_finding(label: str) -> None:
    bundle = load_bundle(bundled_folder() / "cxrzero-mini")
    (remark,) = remarks_on(resolve_prompts(bundle, [label]), [bundle], lambda word: ["a", "b"])
    assert remark.message == "denies a finding; ask for 'no finding', which is what this label means"
