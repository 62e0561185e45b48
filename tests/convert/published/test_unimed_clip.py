"""UniMed-CLIP: a tiny file of the published layout answers as the authors' code does, and faults are noticed."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from cxrzero import Screener  # noqa: E402
from cxrzero.convert import import_model, load_model  # noqa: E402
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
    refused,
    reshaped,
)
from tests.support.vocabulary import wordpieces  # noqa: E402

UNIMED = Published("unimed-clip")
FAULTS = {"activation", "pooling", "norm", "crop", "token", "scale"}
FILE, WORDS = "unimed-clip-vit-b16.pt", "text_encoder.transformer.embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    """vocab.txt, in a folder of its own: it is published in another repository."""
    path = tmp_path_factory.mktemp("bert") / "vocab.txt"
    path.write_text("".join(f"{word}\n" for word in wordpieces(len(UNIMED.state()[WORDS]))), "utf-8")
    return path


@pytest.fixture(scope="module")
def bundle(vocabulary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unimed-clip")
    torch.save({"epoch": 10, "state_dict": UNIMED.state(), "optimizer": {"state": {}}}, folder / FILE)
    import_model(folder / FILE, folder / "bundle", tokenizer=vocabulary)
    return folder / "bundle"


@pytest.fixture(scope="module")
def films(bundle):
    return draw_films(bundle.parent / "films")


@pytest.fixture(scope="module")
def ours(bundle, films):
    return answers(bundle, films, UNIMED.prompts)


def test_a_tiny_file_answers_as_the_authors_code_does(ours):
    found = deviations(ours, UNIMED.expected)
    assert agrees(found)
    assert found["pixel_values"] <= 1e-6


def test_the_comparison_notices(ours):
    assert set(UNIMED.faults) == FAULTS
    assert [fault for fault in FAULTS if not notices(ours, UNIMED, fault)] == []


def test_predict_gives_the_authors_probabilities(bundle, films):
    expected = UNIMED.expected["probabilities"]
    assert np.ptp(expected) > 1e-2
    assert np.abs(predicted(bundle, films, UNIMED.labels) - expected).max() < 1e-5


def test_a_map_comes_from_the_patches(bundle, films):
    found = Screener(bundle, device="cpu", cache=False).heatmap(films / "0.png", ["edema"], method="patch")
    assert np.ptp(found.maps) > 1e-3


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (drop("visual."), r"has no visual\.conv1\.weight: the image tower is missing"),
        (drop("text_encoder.proj.0"), r"has no text_encoder\.proj\.0\.weight, half of the projection"),
        (drop("logit_scale"), "no logit_scale"),
        (drop("text_encoder.transformer.encoder.layer.1.output.dense"), r"missing encoder\.layer\.1\.output\.dense"),
        (extra("head.weight", 2), r"unimed-clip has no such tensors: head\.weight; is this another version"),
        (reshaped("visual.positional_embedding", 16, 64), r"positional_embedding has shape \(16, 64\)"),
        (reshaped(WORDS, 9, 64), r"has 200 tokens and the text tower 9: they do not belong together"),
    ],
)
def test_what_is_missing_or_of_another_version_is_named(tmp_path, vocabulary, change, match):
    refused(tmp_path / FILE, change(UNIMED.state()), match, tokenizer=vocabulary)


def test_without_vocabulary_it_says_which_to_bring(tmp_path):
    refused(tmp_path / FILE, UNIMED.state(), r"fetch vocab\.txt of microsoft/BiomedNLP-BiomedBERT-base-uncased")


def test_half_precision_and_what_later_libraries_leave_out(tmp_path, vocabulary):
    halved = {key: value.half() for key, value in UNIMED.state().items() if "position_ids" not in key}
    torch.save({"state_dict": {f"module.{key}": value for key, value in halved.items()}}, tmp_path / FILE)
    loaded = load_model(tmp_path / FILE, tokenizer=vocabulary)
    proj = dict(loaded.towers.reference.named_parameters())["visual.proj"]
    assert torch.equal(proj, halved["visual.proj"].float())
