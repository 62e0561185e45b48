"""CheXficient: a tiny checkpoint of its layout answers as its authors' code does, and the comparison has teeth."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from cxrzero.convert import import_model, load_model  # noqa: E402
from cxrzero.registry.sources import find, plan  # noqa: E402
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

MODEL = Published("chexficient")
FAULTS = ("activation", "crop", "norm", "pooling", "scale", "token")


def vocabulary(folder, tokens=200):
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in wordpieces(tokens)), "utf-8")
    return folder / "vocab.txt"


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chexficient")
    words = vocabulary(folder)
    named = words.rename(folder / "words.txt")
    torch.save({"args": argparse.Namespace(lr=1e-5), "epoch": 1, "model": MODEL.state()}, folder / "pytorch_model.pth")
    report = import_model(folder / "pytorch_model.pth", folder / "bundle", tokenizer=named)
    return report, draw_films(folder / "films")


@pytest.fixture(scope="module")
def ours(imported):
    report, films = imported
    return answers(report.bundle, films, MODEL.prompts)


def test_a_tiny_checkpoint_answers_as_the_authors_code_does(ours):
    assert agrees(deviations(ours, MODEL.expected))
    assert ours["scores"].std(axis=0).min() > 1e-3, "the films must differ for the comparison to mean anything"


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_notices(ours, fault):
    assert set(MODEL.faults) == set(FAULTS)
    assert notices(ours, MODEL, fault)


def test_predict_gives_the_authors_probabilities(imported):
    report, films = imported
    assert np.abs(predicted(report.bundle, films, MODEL.labels) - MODEL.expected["probabilities"]).max() < 1e-6
    assert "ignored beside the weights: args, epoch" in report.lines


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (drop("image_encoder."), "the image tower of chexficient is missing, or not DINOv2: no patch_embed"),
        (drop("text_encoder."), "the text tower of chexficient is missing, or not BERT: no embeddings.word_embeddings"),
        (drop("image_projection."), "the image tower of chexficient has no projection"),
        (drop("text_encoder.model.encoder.layer.2.output"), r"missing encoder\.layer\.2\.output"),
        (extra("image_projection.fc.weight", 2, 2), r"no such tensors: image_projection\.fc\.weight; is this another"),
        (reshaped("image_encoder.model.pos_embed", 1, 65, 64), r"pos_embed has shape \(1, 65, 64\)"),
        (reshaped("image_encoder.model.pos_embed", 1, 60, 128), r"pos_embed has shape \(1, 60, 128\)"),
    ],
)
def test_what_is_missing_or_of_another_version_is_named(tmp_path, change, match):
    vocabulary(tmp_path)
    refused(tmp_path / "pytorch_model.pth", {"model": change(MODEL.state())}, match)


def test_the_vocabulary_has_to_be_there_and_to_belong(tmp_path):
    refused(
        tmp_path / "x.pth",
        {"model": MODEL.state()},
        "neither vocab.txt nor tokenizer.json.*Bio_ClinicalBERT.*--tokenizer",
    )
    vocabulary(tmp_path, 201)
    refused(tmp_path / "x.pth", {"model": MODEL.state()}, r"has 201 tokens and the text tower 200")


def test_a_folder_that_holds_both_files(tmp_path):
    vocabulary(tmp_path)
    torch.save({"model": MODEL.state(), "optimizer": {"state": {0: torch.zeros(1)}}}, tmp_path / "pytorch_model.pth")
    torch.save({"state": {0: torch.zeros(1)}}, tmp_path / "optimizer.pt")
    assert find(tmp_path) == [tmp_path / "optimizer.pt", tmp_path / "pytorch_model.pth"]
    ((one, _, name),) = plan(tmp_path, "mine", card="chexficient")
    assert (one, name) == (tmp_path, "mine")
    loaded = load_model(one, card="chexficient")
    assert [file.name for file in loaded.files] == ["pytorch_model.pth"]


def test_half_precision_without_what_training_kept(tmp_path):
    vocabulary(tmp_path)
    state = {name: value.half() for name, value in drop("prototype")(drop("pending_")(MODEL.state())).items()}
    torch.save(state, tmp_path / "x.pth")
    loaded = load_model(tmp_path / "x.pth")
    assert (loaded.lineage, loaded.image_size, loaded.context_length) == ("chexficient", (112, 112), 256)
    assert {parameter.dtype for parameter in loaded.towers.text.parameters()} == {torch.float32}
