"""UniMed-CLIP: a tiny model of the published layout answers as its authors' code, and faults are noticed."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from cxrzero.convert import import_model, load_model  # noqa: E402
from cxrzero.errors import ImportModelError  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from tests.support.published import Published, agrees, answers, deviations, draw_films, notices  # noqa: E402
from tests.support.vocabulary import wordpieces  # noqa: E402

FAULTS = {"activation", "pooling", "norm", "crop", "token", "scale"}
FILE, WORDS = "unimed-clip-vit-b16.pt", "text_encoder.transformer.embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def published():
    return Published("unimed-clip")


@pytest.fixture(scope="module")
def vocabulary(published, tmp_path_factory):
    """vocab.txt, in a folder of its own: it is published in another repository."""
    path = tmp_path_factory.mktemp("bert") / "vocab.txt"
    path.write_text("".join(f"{word}\n" for word in wordpieces(len(published.state()[WORDS]))), "utf-8")
    return path


@pytest.fixture(scope="module")
def bundle(published, vocabulary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unimed-clip")
    torch.save({"epoch": 10, "state_dict": published.state(), "optimizer": {"state": {}}}, folder / FILE)
    import_model(folder / FILE, folder / "bundle", tokenizer=vocabulary)
    return folder / "bundle"


@pytest.fixture(scope="module")
def ours(bundle, published):
    return answers(bundle, draw_films(bundle.parent / "films"), published.prompts)


def test_it_answers_as_its_authors_code(ours, published, bundle):
    found = deviations(ours, published.expected)
    assert agrees(found)
    assert found["pixel_values"] <= 1e-6
    stated = load_bundle(bundle)
    assert math.isclose(stated.scoring.scale, float(published.expected["scale"]), rel_tol=1e-6)
    assert stated.patch_encoder is not None


def test_planted_faults_are_noticed(ours, published):
    assert set(published.faults) == FAULTS
    assert [fault for fault in FAULTS if not notices(ours, published, fault)] == []


BAD = {
    "no image tower": (lambda state: [state.pop(key) for key in [*state] if key.startswith("visual.")], "image tower"),
    "no half of the projection": (lambda state: state.pop("text_encoder.proj.0.weight"), "half of the projection"),
    "no scale": (lambda state: state.pop("logit_scale"), "no logit_scale"),
    "a head": (lambda state: state.update({"head.weight": torch.zeros(2)}), r"also has head\.weight: it is another"),
    "an image size that is no square": (
        lambda state: state.update({"visual.positional_embedding": state["visual.positional_embedding"][:-1]}),
        r"positional_embedding has shape",
    ),
    "a text tower of fewer layers than it begins": (
        lambda state: state.pop("text_encoder.transformer.encoder.layer.1.output.dense.weight"),
        r"missing encoder\.layer\.1\.output\.dense\.weight",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_said(published, vocabulary, tmp_path, case):
    state = published.state()
    damage, message = BAD[case]
    damage(state)
    torch.save(state, tmp_path / FILE)
    with pytest.raises(ImportModelError, match=message):
        load_model(tmp_path / FILE, tokenizer=vocabulary)


def test_without_vocabulary_it_says_which_to_bring(published, tmp_path):
    torch.save(published.state(), tmp_path / FILE)
    with pytest.raises(ImportModelError, match=r"fetch vocab\.txt of microsoft/BiomedNLP-BiomedBERT-base-uncased"):
        load_model(tmp_path / FILE)


def test_half_precision_and_what_old_libraries_leave_out(published, vocabulary, tmp_path):
    halved = {key: value.half() for key, value in published.state().items() if "position_ids" not in key}
    torch.save({"state_dict": {f"module.{key}": value for key, value in halved.items()}}, tmp_path / FILE)
    loaded = load_model(tmp_path / FILE, tokenizer=vocabulary)
    proj = dict(loaded.towers.reference.named_parameters())["visual.proj"]
    assert torch.equal(proj, halved["visual.proj"].float())
