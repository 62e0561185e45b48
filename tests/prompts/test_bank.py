"""Prompts files: what is read, what is refused, which sentences a label gets."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxrzero.cli import app
from cxrzero.errors import ConfigError
from cxrzero.model.bundle import load_bundle
from cxrzero.prompts import build_prompts, own_prompts, resolve_prompts
from cxrzero.prompts.ask import BY_BOOK
from cxrzero.prompts.bank import built_in_bank, load_bank
from cxrzero.prompts.lint import lint
from cxrzero.prompts.remarks import remarks_on
from tests.support.bundle import write_bundle

CHEXPERT = [
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
]
NIH = [
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
]

GOOD = """
templates: {positive: ["sign of {}"], negative: ["free of {}"]}
labels:
  pleural effusion:
    synonyms: [fluid]
    positive: ["{}", blunted angle]
    negative: ["no {}"]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "prompts.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("label", [*CHEXPERT, *NIH])
def test_the_built_in_bank_knows_the_usual_labels(label: str) -> None:
    assert built_in_bank().find(label) is not None


def test_the_built_in_bank_passes_the_linter() -> None:
    bank = built_in_bank()
    assert lint([prompt for name in bank.names if (prompt := bank.find(name))]) == []


def test_entries_synonyms_and_templates(tmp_path: Path, tiny_bundle: Path) -> None:
    file = str(write(tmp_path, GOOD))
    effusion, edema, normal = resolve_prompts(load_bundle(tiny_bundle), ["FLUID", "edema", "No Finding"], file)
    assert effusion.positive == ("pleural effusion", "blunted angle")
    assert effusion.negative == ("no pleural effusion",)
    assert (edema.positive, edema.negative) == (("sign of edema",), ("free of edema",))
    assert normal.positive == ("normal chest radiograph",)
    assert [p.label for p in resolve_prompts(load_bundle(tiny_bundle), None, file)] == ["pleural effusion"]


@pytest.mark.parametrize("label", ["No Finding", "no_finding", "NORMAL", "No findings."])
def test_no_finding_is_never_put_into_templates(tiny_bundle: Path, label: str) -> None:
    (prompt,) = resolve_prompts(load_bundle(tiny_bundle), [label])
    assert (prompt.positive, prompt.negative) == (("normal chest radiograph",), ("abnormal chest radiograph",))
    assert prompt.source == "the built-in bank"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("labels: {}", "neither labels nor templates"),
        ("- a", "line 1: the file must be a mapping"),
        ("label: {}", "line 1: label is not a known key"),
        ("labels:\n  edema:\n    positiv: [a]\n", "line 3: labels.edema.positiv is not a known key"),
        ("labels:\n  edema: {positive: [a]}\n", "line 2: labels.edema has no 'negative'"),
        ("labels:\n  edema: {positive: a, negative: [b]}\n", "line 2: labels.edema.positive must be a list"),
        ("labels:\n  edema: {positive: [a, 3], negative: [b]}\n", "must be a text; put '3' in quotation marks"),
        ("labels:\n  edema: {positive: [no], negative: [b]}\n", "put 'no' in quotation marks"),
        ("labels:\n  edema: {positive: [' '], negative: [b]}\n", "not empty"),
        ("labels:\n  a: {positive: [a], negative: [b]}\n  a: {positive: [a], negative: [b]}\n", "line 3.*twice"),
        ("labels:\n  a b: {positive: [a], negative: [b]}\n  A_B: {positive: [a], negative: [b]}\n", "share the name"),
        ("templates: {positive: [yes it is], negative: ['no {}']}", "must have {}"),
        ("labels: [", "not valid YAML"),
        ("labels: !!python/object/apply:os.system [ls]", "must be a mapping"),
        ("a: &a [x]\nlabels: *a\n", "aliases"),
        ("a: " + "[" * 5000, "nested|not valid"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_bank(write(tmp_path, text))


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="larger than"):
        load_bank(write(tmp_path, "#" * (9 * 2**20)))


def test_ten_thousand_labels_work(tmp_path: Path) -> None:
    lines = [f"  finding {n}: {{positive: ['{{}}'], negative: ['no {{}}']}}" for n in range(10_000)]
    bank = load_bank(write(tmp_path, "labels:\n" + "\n".join(lines)))
    assert len(bank.names) == 10_000
    found = bank.find("finding 9999")
    assert found is not None
    assert found.negative == ("no finding 9999",)


def test_predict_asks_the_file_and_records_it(tmp_path: Path, tiny_bundle: Path, png) -> None:
    image, out = png("a.png"), tmp_path / "p.csv"
    file = write(tmp_path, GOOD)
    arguments = ["predict", str(image), "--model", str(tiny_bundle), "--prompts", str(file), "--out", str(out), "-q"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    record = json.loads((tmp_path / "p.run.json").read_text())
    assert record["prompts"][0]["positive"] == ["pleural effusion", "blunted angle"]
    assert record["prompt_sources"] == {"pleural effusion": "the prompts file prompts.yaml"}


def test_a_models_book_is_asked_before_its_templates_and_after_the_users_file(tmp_path: Path) -> None:
    """Names are compared as those of a bank are, and "No Finding" goes by every name that it has."""
    book = {"Pleural Effusion": "fluid in a pleura", "no finding": "normal"}
    bundle = load_bundle(write_bundle(tmp_path / "booked", book=book))
    labels = ["pleural_effusion", "NORMAL", "edema"]
    effusion, normal, edema = resolve_prompts(bundle, labels)
    assert (effusion.positive, effusion.source, effusion.is_from_model) == (("fluid in a pleura",), BY_BOOK, True)
    assert (normal.label, normal.positive) == ("NORMAL", ("normal",))
    assert edema == build_prompts(["edema"], bundle.templates)[0]
    file = tmp_path / "mine.yaml"
    file.write_text('labels:\n  pleural effusion: {positive: ["water"], negative: ["dry"]}\n', "utf-8")
    assert resolve_prompts(bundle, labels, str(file))[0].positive == ("water",)
    # Words of one model are not another's: in an ensemble each is asked in its own.
    plain = load_bundle(write_bundle(tmp_path / "plain"))
    assert [own_prompts(p.label, plain).positive for p in (effusion, edema)] == [("pleural_effusion",), ("edema",)]
    assert own_prompts("NORMAL", plain).positive == ("normal chest radiograph",)


def test_remarks_leave_the_sentences_of_a_book_to_its_authors(tmp_path: Path) -> None:
    odd = "no not even an edema"
    bundle = load_bundle(write_bundle(tmp_path / "booked", book={"edema": odd}))
    by_book = resolve_prompts(bundle, ["edema"])
    by_user = [replace(prompt, source="a file", is_from_model=False) for prompt in by_book]
    found = [{each.code for each in remarks_on(asked, [bundle], lambda word: [word])} for asked in (by_book, by_user)]
    assert found == [{"unmeasured"}, {"unmeasured", "double_negative"}]
