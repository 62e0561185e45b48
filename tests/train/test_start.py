"""Architectures by name, weights from elsewhere, and what of them is trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import open_clip  # noqa: E402

from cxrzero.clip.architecture import build_model, load_arch  # noqa: E402
from cxrzero.clip.steps import chexzero_steps, clip_steps  # noqa: E402
from cxrzero.clip.tokenizer import clip_tokenizer  # noqa: E402
from cxrzero.errors import UsageError  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from cxrzero.model.preprocess import Preprocess  # noqa: E402
from cxrzero.train import TrainOptions, train  # noqa: E402
from cxrzero.train.data.pixels import EncoderInput, split_steps, standardised, stretched  # noqa: E402
from cxrzero.train.data.vocabulary import encode  # noqa: E402
from cxrzero.train.model.weights import weight_groups  # noqa: E402
from tests.support.pairs import TINY_CLIP, draw, tiny_clip  # noqa: E402
from tests.support.runs import weights  # noqa: E402

SENTENCES = [
    "no acute cardiopulmonary process",
    "Heart size is NORMAL;  the patient's lungs aren't clear (3.5 cm mass).",
    "1. small left-sided effusion\n2. stable ___ catheter",
    "œdème pulmonaire, naïve 胸部",
    "",
    "word " * 100,
]


@pytest.fixture
def options(tmp_path):
    pairs = draw(tmp_path / "films", 20, held_out=4)
    return TrainOptions(pairs, tmp_path / "run", arch=tiny_clip(tmp_path), epochs=1, batch_size=8, threads=1)


def test_clip_s_tokenizer_is_open_clip_s():
    reference = open_clip.get_tokenizer("ViT-B-32")(SENTENCES)
    np.testing.assert_array_equal(encode(clip_tokenizer(), SENTENCES, 77), reference.numpy())


@pytest.mark.parametrize(
    ("name", "near"),
    [("ViT-B32-quickgelu", "ViT-B-32-quickgelu"), ("vit-b-16", "ViT-B-16"), ("cxrzero-mino", "cxrzero-mini")],
)
def test_near_names_are_offered(name, near):
    with pytest.raises(UsageError, match=f"did you mean .*{near}"):
        load_arch(name)


def test_any_architecture_over_clip_s_vocabulary_is_known():
    arch = load_arch("ViT-B-32-quickgelu", image_size=96)
    assert arch["quick_gelu"]
    assert arch["vision_cfg"]["image_size"] == 96
    assert load_arch("ViT-B-16")["embed_dim"] == 512
    with pytest.raises(UsageError, match="start from its weights"):
        load_arch("ViT-B-16-SigLIP")


def test_quickgelu_is_kept():
    model = build_model(TINY_CLIP)
    names = {type(module).__name__ for module in model.modules()}
    assert "QuickGELU" in names
    assert "GELU" not in names


def test_an_open_clip_architecture_ends_in_a_bundle(options):
    bundle = load_bundle(train(options))
    assert bundle.context_length == 77
    assert bundle.card["provenance"]["recipe"]["lr"] == 5e-4
    assert bundle.image_size == (32, 32)


def test_a_run_goes_on_from_another_run(options, tmp_path):
    first = train(replace(options, out=tmp_path / "first", arch="cxrzero-tiny"))
    with pytest.raises(UsageError, match=r"is a run of cxrzero-tiny; leave out --arch"):
        train(replace(options, init=first))
    second = load_bundle(train(replace(options, arch=None, init=first, freeze="text", lr=1e-2, ema_decay=0.0)))
    assert second.card["provenance"]["recipe"]["arch"] == "cxrzero-tiny"
    assert second.preprocess == load_bundle(first).preprocess
    assert second.files["tokenizer.json"] == load_bundle(first).files["tokenizer.json"]
    assert second.files["text_encoder.onnx"] == load_bundle(first).files["text_encoder.onnx"]
    assert second.files["image_weights.bin"] != load_bundle(first).files["image_weights.bin"]
    assert len(second.card["provenance"]["init_sha256"]) == 64


def test_the_sigmoid_loss_brings_its_bias_along(options, tmp_path):
    asked = replace(options, out=tmp_path / "first", arch="cxrzero-tiny", loss="sigmoid")
    first = weights(train(asked))
    assert first["logit_bias"].item() != -1.0  # trained
    for loss in ("sigmoid", "soft"):
        out = tmp_path / loss
        bundle = load_bundle(train(replace(options, arch=None, out=out, init=asked.out, loss=loss, ema_decay=0.0)))
        assert (weights(out)["logit_bias"] != first["logit_bias"]) == (loss == "sigmoid")
        assert bundle.scoring.rule == "softmax_pair"


def test_a_frozen_tower_needs_weights(options):
    with pytest.raises(UsageError, match="random weights would stay random"):
        train(replace(options, freeze="image"))


def test_weight_decay_and_learning_rates_by_tower():
    model = build_model(TINY_CLIP)
    groups = weight_groups(model, 0.1, image_lr_scale=0.5, text_lr_scale=2.0)
    names = {id(p): name for name, p in model.named_parameters()}
    seen = {}
    for group in groups:
        for parameter in group["params"]:
            seen[names[id(parameter)]] = (group["lr_scale"], group["weight_decay"])
    assert seen.keys() == {name for name, _ in model.named_parameters()}
    assert seen["visual.conv1.weight"] == (0.5, 0.1)
    assert seen["visual.ln_pre.weight"] == (0.5, 0.0)
    assert seen["text.text_projection"] == (2.0, 0.1)
    assert seen["text.positional_embedding"] == (2.0, 0.0)
    assert seen["logit_scale"] == (1.0, 0.0)
    assert all(names[id(p)][:6] != "visual" for g in weight_groups(model, 0.1, image_lr_scale=0) for p in g["params"])


@pytest.mark.parametrize("shape", [(40, 32), (320, 320), (500, 77)])
def test_training_sees_what_prediction_sees(shape):
    """Geometry in the store and numbers in torch are, together, the bundle's preprocessing."""
    film = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    grey, colours = standardised(stretched(64), film[None]), [*stretched(64), *clip_steps(64)[-2:]]
    for steps in (chexzero_steps(64), grey, colours):
        preprocess = Preprocess(steps, (64, 64))
        stored = torch.from_numpy(preprocess.fit(film).copy()).float() / 255
        seen = EncoderInput(split_steps(steps)[1])(stored[None])[0]
        np.testing.assert_allclose(seen.numpy(), preprocess(film), atol=2e-5)
        assert EncoderInput(steps)(stored[None]).shape == (1, 3, 64, 64)
