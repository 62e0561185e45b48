"""KAD: a tiny checkpoint of its layout answers as its authors' code does, and the comparison has teeth."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cxrzero import Screener  # noqa: E402
from cxrzero.convert import import_model, load_model  # noqa: E402
from cxrzero.convert.published.vit import build_vit, picture_size  # noqa: E402
from cxrzero.errors import AmbiguousModelError, ImportModelError  # noqa: E402
from tests.support.checkpoints import random_state  # noqa: E402
from tests.support.published import (  # noqa: E402
    FOLDER,
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
from tests.support.vocabulary import wordpieces  # noqa: E402

KAD = Published("kad")
STATE = KAD.state()
FAULTS = ("activation", "alone", "crop", "norm", "pooling", "scale", "token")
PARTS = ("image_encoder.", "text_encoder.", "model.")


def save(path, state, **beside):
    """As its authors do: three state dicts in one file; and the vocabulary that a user brings."""
    parts = {
        part[:-1]: {name.removeprefix(part): value for name, value in state.items() if name.startswith(part)}
        for part in PARTS
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**parts, "optimizer": {"state": {}}, "epoch": 3, **beside}, path)
    (path.parent / "vocab.txt").write_text("".join(f"{piece}\n" for piece in wordpieces(200)), "utf-8")
    return path


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kad")
    path = save(folder / "best_valid.pt", STATE, config={"img_res": 64})
    return import_model(path, folder / "bundle"), draw_films(folder / "films")


@pytest.fixture(scope="module")
def ours(imported):
    report, films = imported
    return answers(report.bundle, films, KAD.prompts)


def test_a_tiny_checkpoint_answers_as_the_authors_code_does(ours):
    assert agrees(deviations(ours, KAD.expected))
    assert ours["scores"].std(axis=0).min() > 0.1, "the films must differ for the comparison to mean anything"


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_notices(ours, fault):
    assert set(KAD.faults) == set(FAULTS)
    assert notices(ours, KAD, fault)


def test_the_map_is_the_last_layers_attention(ours):
    assert np.abs(ours["attention"][:1, :4] - KAD.expected["attention"]).max() < 1e-5


def test_predict_asks_all_labels_in_one_call_and_no_finding_in_the_authors_word(imported):
    report, films = imported
    expected = 1 / (1 + np.exp(-KAD.expected["logits"]))
    assert np.abs(predicted(report.bundle, films, KAD.prompts) - expected).max() < 1e-5
    assert np.abs(predicted(report.bundle, films, KAD.prompts[:1]) - expected[:, :1]).max() > 0.01
    (prompt,) = Screener(report.bundle, device="cpu", cache=False).prompts(["No finding"])
    assert prompt.positive == ("normal",)
    assert "ignored beside the weights: optimizer, epoch, config" in report.lines


@torch.no_grad()
def test_its_vit_gives_the_authors_tokens():
    with np.load(FOLDER.parent / "kad_vit.npz") as file:
        shapes, tokens = json.loads(str(file["tensors"])), file["tokens"]
    drawn = random_state({name: torch.zeros(shape) for name, shape in shapes.items()})
    # Most tensors have two names, and were drawn by the one that comes first.
    state = {name: drawn.get(f"vit.{name}", value) for name, value in drawn.items() if not name.startswith("vit.")}
    state["class_token"] = drawn["class_token"]
    pixels = torch.sin(torch.arange(2 * 3 * 64 * 64, dtype=torch.float32)).reshape(2, 3, 64, 64)
    vit = build_vit(state, "a ViT")
    assert (picture_size(state), vit.grid) == (64, (4, 4))
    assert np.abs(vit(pixels).numpy() - tokens).max() < 1e-4
    assert tokens.std() > 1


def test_the_variants_are_told_apart(tmp_path):
    cut = drop("image_encoder.res_features.7.")(STATE)
    for name, shape in {"res_l1.weight": (32, 32), "res_l1.bias": (32,), "res_l2.weight": (64, 32)}.items():
        cut = reshaped(f"image_encoder.{name}", *shape)(cut)
    small = load_model(save(tmp_path / "small.pt", cut))
    assert small.image_size == (224, 224)
    assert small.towers.image(torch.zeros(1, 3, 224, 224)).shape == (1, 196, 64)
    assert load_model(save(tmp_path / "KAD_1024" / "best_valid.pt", STATE)).image_size == (1024, 1024)
    assert load_model(save(tmp_path / "mine" / "kad-512.pt", STATE)).image_size == (512, 512)
    for name in ("best_valid.pt", "512_or_1024.pt", "x5123.pt"):
        with pytest.raises(AmbiguousModelError, match=r"does not say for which size .* holds 512 or 1024"):
            load_model(save(tmp_path / "other" / name, STATE))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (drop("image_encoder.res_"), r"nothing below image_encoder\.res_features\., image_encoder\.res_l1\."),
        (drop("text_encoder.bert_model."), r"nothing below text_encoder\.bert_model\."),
        (drop("model."), r"nothing below model\.decoder_norm\., model\.decoder\., model\.mlp_head\.0\."),
        (drop("image_encoder.res_features.7.0.conv2"), r"the ResNet of KAD.* missing layer4\.0\.conv2\.weight"),
        (drop("model.decoder.layers.0.linear1"), "the decoder of KAD has no first layer"),
        (drop("model.decoder.layers.2.self_attn"), r"missing layers\.2\.self_attn\.in_proj_bias"),
        (drop("text_encoder.bert_model.pooler"), r"the text tower of KAD.* missing pooler\.dense\.bias"),
        (extra("image_encoder.dense_l1.weight", 2, 2), "KAD have a DenseNet"),
        (extra("model.mlp_head.1.weight", 2), r"KAD has no such tensors: model\.mlp_head\.1\.weight"),
        (
            lambda state: reshaped("model.mlp_head.0.bias", 3)(reshaped("model.mlp_head.0.weight", 3, 64)(state)),
            "do not belong together: mlp_head gives 3 numbers, and what follows it reads 2",
        ),
        (reshaped("model.mlp_head.0.weight", 3, 64), r"the layer model\.mlp_head\.0 of KAD: bias has shape \(2,\)"),
        (reshaped("model.mlp_head.0.weight", 2), r"the layer model\.mlp_head\.0 of KAD is missing, or is no linear"),
        (reshaped("model.decoder.norm.weight", 3), r"norm\.weight has shape \(3,\), needed is \(64,\)"),
    ],
)
def test_what_is_missing_or_of_another_version_is_named(tmp_path, change, match):
    path = save(tmp_path / "kad-512.pt", change(STATE))
    with pytest.raises(ImportModelError, match=match):
        load_model(path)


def test_half_precision_and_a_missing_or_foreign_vocabulary(tmp_path):
    path = save(tmp_path / "kad-512.pt", {name: value.half() for name, value in STATE.items()})
    assert next(load_model(path).towers.image.parameters()).dtype == torch.float32
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in wordpieces(199)), "utf-8")
    with pytest.raises(ImportModelError, match=r"has 199 tokens and the text tower 200.*xmcmic/Med-KEBERT"):
        load_model(path)
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(ImportModelError, match=r"neither vocab\.txt nor tokenizer\.json.*xmcmic/Med-KEBERT"):
        load_model(path)
