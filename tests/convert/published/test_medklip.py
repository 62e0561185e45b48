"""MedKLIP: a tiny checkpoint, a text encoder and a book answer as its authors' code does; the comparison has teeth."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cxrzero import Screener  # noqa: E402
from cxrzero.convert import import_model, load_model  # noqa: E402
from cxrzero.convert.published.book import ASKED_AS, DESCRIPTIONS, FINDINGS  # noqa: E402
from cxrzero.errors import ImportModelError  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from cxrzero.registry.sources import digest  # noqa: E402
from tests.support.booked import BERT, bring_together  # noqa: E402
from tests.support.books import descriptions  # noqa: E402
from tests.support.published import (  # noqa: E402
    Published,
    agrees,
    answers,
    deviations,
    draw_films,
    drop,
    extra,
    notices,
    predicted,
    reshaped,
)

MEDKLIP = Published("medklip")
FAULTS = ("activation", "companions", "crop", "norm", "pooling", "scale", "token")


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("medklip")
    bring_together(MEDKLIP, folder / "weights")
    return import_model(folder / "weights", folder / "bundle"), draw_films(folder / "films")


@pytest.fixture(scope="module")
def ours(imported):
    report, films = imported
    return answers(report.bundle, films, MEDKLIP.prompts)


def test_a_tiny_checkpoint_answers_as_the_authors_code_does(ours):
    assert agrees(deviations(ours, MEDKLIP.expected))
    assert ours["scores"].std(axis=0).min() > 0.03, "the films must differ for the comparison to mean anything"


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_notices(ours, fault):
    assert set(MEDKLIP.faults) == set(FAULTS)
    assert notices(ours, MEDKLIP, fault)


def test_the_map_is_the_mean_of_the_layers_attention(ours):
    assert np.abs(ours["attention"][:1, :4] - MEDKLIP.expected["attention"]).max() < 1e-5


def test_a_label_is_asked_by_its_description_beside_the_whole_book(imported):
    """Labels in free words join the book: MedKLIP's numbers here are of 75 findings and one more."""
    report, films = imported
    *_, free = MEDKLIP.prompts
    asked = {"edema": "edema", "Pleural Effusion": "effusion", "No Finding": "normal", "fibrosis": "tail_abnorm_obs"}
    at = [MEDKLIP.prompts.index(name) for name in (*asked.values(), free)]
    expected = 1 / (1 + np.exp(-MEDKLIP.expected["logits"][:, at]))
    found = predicted(report.bundle, films, (*asked, free))
    assert np.abs(found - expected).max() < 1e-5
    without_free = predicted(report.bundle, films, asked)
    assert 1e-4 < np.abs(without_free - found[:, :-1]).max() < 0.1
    alone = predicted(report.bundle, films, ("edema",))
    assert np.abs(alone[:, 0] - without_free[:, 0]).max() < 1e-6, "the book alone decides what else is asked"


def test_what_the_bundle_says_of_its_book(imported):
    report, _ = imported
    bundle = load_bundle(report.bundle)
    assert set(bundle.book) == {*FINDINGS, *ASKED_AS}
    assert bundle.scoring.companions == tuple(bundle.book[finding] for finding in FINDINGS)
    # 70 words and the name are more than fit: [CLS], 62 words, [SEP].
    assert bundle.book["effusion"] == " ".join(["pleural"] * 62)
    assert bundle.book["pleural effusion"] == bundle.book["effusion"]
    assert {"checkpoint_final.pth", BERT, DESCRIPTIONS} <= set(bundle.card["provenance"]["source"])
    (prompt,) = Screener(report.bundle, device="cpu", cache=False).prompts(["edema"])
    assert (prompt.positive, prompt.source) == ((descriptions()["edema"],), "the model's book")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (drop("res_l1."), r"nothing below res_l1\."),
        (drop("decoder.layers.1.norm2"), r"the decoder of MedKLIP.* missing layers\.1\.norm2\.bias"),
        (drop("res_features.6.0.conv2"), r"the ResNet of MedKLIP.* missing layer3\.0\.conv2\.weight"),
        (
            reshaped("disease_embedding_layer.weight", 256, 96),
            "do not belong together: the text encoder gives 768 numbers, and what follows it reads 96",
        ),
        (extra("query_embed.weight", 2, 2), r"MedKLIP has no such tensors: query_embed\.weight"),
        (reshaped("classifier.bias", 3), r"the layer classifier of MedKLIP: bias has shape \(3,\), needed is \(2,\)"),
    ],
)
def test_what_is_missing_or_of_another_version_is_named(tmp_path, change, match):
    path = bring_together(MEDKLIP, tmp_path, change)
    with pytest.raises(ImportModelError, match=match):
        load_model(path)


def test_a_text_encoder_or_a_book_that_is_missing_or_of_another_model_is_named(tmp_path):
    path = bring_together(MEDKLIP, tmp_path)
    bert = torch.load(tmp_path / BERT)
    old = {key.replace("LayerNorm.weight", "LayerNorm.gamma"): value for key, value in bert.items()}
    torch.save(old, tmp_path / BERT)
    assert load_model(path).context_length == 64
    torch.save({key: value for key, value in bert.items() if "layer.0.output" not in key}, tmp_path / BERT)
    with pytest.raises(ImportModelError, match=r"the text tower of MedKLIP \(pytorch_model.bin\).* missing encoder"):
        load_model(path)
    torch.save(bert, tmp_path / BERT)
    book = descriptions()
    book["eumonia"] = book.pop("pneumonia")  # the published file's own slip
    (tmp_path / DESCRIPTIONS).write_text(json.dumps(book), "utf-8")
    assert load_model(path).book["pneumonia"] == book["eumonia"]
    for said, match in (
        (json.dumps({"normal": "x"}), "has no sentence for 'clear'"),
        ("[]", "JSON object"),
        ("{", "fetch"),
    ):
        (tmp_path / DESCRIPTIONS).write_text(said, "utf-8")
        with pytest.raises(ImportModelError, match=match):
            load_model(path)
    (tmp_path / DESCRIPTIONS).unlink()
    with pytest.raises(ImportModelError, match=r'put the file "observation explanation\.json" of its code beside'):
        load_model(path)
    (tmp_path / BERT).unlink()
    with pytest.raises(ImportModelError, match=r"hold no text encoder.*emilyalsentzer/Bio_ClinicalBERT.*--tokenizer"):
        load_model(path)


def test_a_file_is_imported_again_when_its_book_or_its_text_encoder_is_another(tmp_path):
    """`--model FILE` keeps what it made of a file by the digest of all that it read."""
    for name in ("checkpoint_final.pth", BERT, "vocab.txt", DESCRIPTIONS, "notes.txt"):
        (tmp_path / name).write_text(name, "utf-8")
    found = [digest(tmp_path / "checkpoint_final.pth")]
    for name in ("notes.txt", BERT, DESCRIPTIONS, "vocab.txt"):
        (tmp_path / name).write_text("another", "utf-8")
        found.append(digest(tmp_path / "checkpoint_final.pth"))
    assert found[0] == found[1]
    assert len(set(found)) == 4
