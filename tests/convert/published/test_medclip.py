"""MedCLIP: tiny checkpoints of both layouts answer as their authors' code does, and the comparison has teeth."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from cxrzero.convert import import_model, load_model  # noqa: E402
from cxrzero.convert.published.medclip import scale_of  # noqa: E402
from cxrzero.errors import ImportModelError  # noqa: E402
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

MODELS = {name: Published(name) for name in ("medclip-resnet50", "medclip-vit")}
FAULTS = ("activation", "bicubic", "crop", "norm", "pooling", "scale", "token")
# Places of the last stage; the small Swin Transformer has two stages of four.
GRIDS = {"medclip-resnet50": (7, 7), "medclip-vit": (28, 28)}
WORDS = 100


def vocabulary(folder, tokens=WORDS):
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in wordpieces(tokens)), "utf-8")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return draw_films(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module", params=MODELS)
def imported(request, films, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    vocabulary(folder)
    torch.save(MODELS[request.param].state(), folder / "pytorch_model.bin")
    report = import_model(folder / "pytorch_model.bin", folder / "bundle")
    return request.param, report, answers(report.bundle, films, MODELS[request.param].prompts)


def test_a_tiny_checkpoint_answers_as_the_authors_code_does(imported, films):
    name, report, ours = imported
    published = MODELS[name]
    assert agrees(deviations(ours, published.expected))
    assert ours["scores"].std(axis=0).min() > 1e-3, "the films must differ for the comparison to mean anything"
    given = predicted(report.bundle, films, published.labels)
    assert np.abs(given - published.expected["probabilities"]).max() < 1e-5
    assert set(published.faults) == set(FAULTS)
    assert [fault for fault in FAULTS if not notices(ours, published, fault)] == []


def test_every_place_is_a_patch(imported):
    name, report, _ = imported
    stated = json.loads((report.bundle / "model.json").read_text("utf-8"))
    assert (stated["patch_embeds"]["height"], stated["patch_embeds"]["width"]) == GRIDS[name]


def test_the_authors_own_embeddings_depend_on_the_longest_text_beside():
    """Which is why a sentence is compared alone, and why the docs say so."""
    assert MODELS["medclip-vit"].expected["least_cosine_padded"] < 0.95


@pytest.mark.parametrize(("stored", "scale"), [(2.6593, 14.286), (9.0, 100.0), (-3.0, 1.0)])
def test_the_scale_is_clamped_as_the_authors_do(stored, scale):
    assert scale_of(torch.tensor(stored)) == pytest.approx(scale, rel=1e-3)


@pytest.mark.parametrize("stored", [torch.tensor(float("nan")), torch.zeros(0), torch.ones(2)])
def test_a_scale_that_is_none_is_refused(stored):
    with pytest.raises(ImportModelError, match="logit_scale nan is not finite"):
        scale_of(stored)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (drop("text_model.model."), r"medclip-resnet50 is not whole: these weights have no text_model\.model\.\*"),
        (drop("vision_model.model."), r"is not whole: these weights have no vision_model\.model\.\*"),
        (drop("vision_model.model.fc."), r"have no vision_model\.model\.fc\.\*"),
        (drop("logit_scale"), r"have no logit_scale"),
        (drop("vision_model.model.layer3.0.bn2"), r"the image tower of medclip-resnet50: missing layer3\.0\.bn2\.bias"),
        (drop("vision_model.model.layer2.0.conv1"), r"has no layer2\.0\.conv1\.weight: it is not the ResNet"),
        (extra("fc.weight", 5, 16), r"no such tensors: fc\.weight; is this another version of it"),
        (extra("text_model.projection_head.bias", 7), r"projection_head\.weight of medclip-resnet50: bias has shape"),
        (reshaped("vision_model.model.fc.weight", 16, 64), r"fc\.weight of medclip-resnet50: weight has shape \(16, "),
        (reshaped("text_model.projection_head.weight", 8, 64), r"projected to 16 numbers and texts to 8"),
    ],
)  # fmt: skip
def test_what_is_missing_or_of_another_version_is_named(tmp_path, change, match):
    vocabulary(tmp_path)
    refused(tmp_path / "x.bin", change(MODELS["medclip-resnet50"].state()), match)


SWIN = "vision_model.model.encoder.layers"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (drop(f"{SWIN}.0.downsample"), r"the image tower of medclip-vit: missing layers\.1\.downsample\.norm\.bias"),
        (drop(f"{SWIN}.1.blocks.1.attention.self.key.weight"), r"qkv\.weight has shape \(32, 16\), needed is \(48"),
        (reshaped(f"{SWIN}.0.blocks.0.attention.self.key.weight", 8, 7), r"is not the Swin Transformer .*\(Sizes"),
        (drop("vision_model.model.embeddings"), r"medclip-vit is not the Swin Transformer it should be"),
        (reshaped(f"{SWIN}.0.blocks.0.attention.self.relative_position_bias_table", 9, 1), r"needed is \(9, 2"),
        (reshaped(f"{SWIN}.0.blocks.0.attention.self.relative_position_bias_table", 9, 0), "it should be"),
    ],
)  # fmt: skip
def test_a_swin_transformer_that_is_none_is_named(tmp_path, change, match):
    vocabulary(tmp_path)
    refused(tmp_path / "x.bin", change(MODELS["medclip-vit"].state()), match)


def test_without_its_vocabulary(tmp_path):
    state = MODELS["medclip-vit"].state()
    refused(tmp_path / "x.bin", state, r"vocab\.txt of emilyalsentzer/Bio_ClinicalBERT from Hugging Face")
    vocabulary(tmp_path, 120)
    refused(tmp_path / "x.bin", state, r"120 tokens and the text tower 100: they do not belong together")


def test_half_precision_old_buffers_and_a_vocabulary_elsewhere(tmp_path):
    state = {name: value.half() if value.ndim > 1 else value for name, value in MODELS["medclip-vit"].state().items()}
    state["text_model.model.embeddings.position_ids"] = torch.arange(96)[None]
    state[f"{SWIN}.0.blocks.0.attention.self.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
    torch.save({"state_dict": state, "optimizer": {"state": {}}}, tmp_path / "x.bin")
    (tmp_path / "words").mkdir()
    vocabulary(tmp_path / "words")
    loaded = load_model(tmp_path / "x.bin", tokenizer=tmp_path / "words")
    assert loaded.lineage == "medclip-vit"
    assert {value.dtype for value in loaded.towers.image.parameters()} == {torch.float32}
    assert "ignored beside the weights: optimizer" in loaded.stated
