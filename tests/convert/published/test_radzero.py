"""RadZero: a tiny folder of its layout answers as its authors' code does, and the comparison has teeth."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import save_file  # noqa: E402
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors  # noqa: E402

from cxrzero import Screener  # noqa: E402
from cxrzero.convert import import_model, load_model  # noqa: E402
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
    reshaped,
)
from tests.support.vocabulary import wordpieces  # noqa: E402

RADZERO = Published("radzero")
FAULTS = ("activation", "crop", "layers", "norm", "pooling", "scale", "token")
SIDE = 70
PROCESSOR = {
    "image_processor_type": "BlipImageProcessor",
    "do_resize": True,
    "size": {"height": SIDE, "width": SIDE},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def write_folder(folder, state, processor=PROCESSOR, trained_at=SIDE):
    folder.mkdir(exist_ok=True)
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    config = {"architectures": ["CxrAlignModel"], "vision_config": {"img_size": trained_at}}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), "utf-8")
    _tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def _tokenizer():
    """MPNet's, of the vocabulary that the oracle gives transformers."""
    pieces = ["<s>", "<pad>", "</s>", "[UNK]", *wordpieces(199)[5:], "<mask>"][:200]
    tokenizer = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("radzero")
    source = write_folder(folder / "RadZero", RADZERO.state())
    return import_model(source, folder / "bundle"), draw_films(folder / "films")


@pytest.fixture(scope="module")
def ours(imported):
    report, films = imported
    return answers(report.bundle, films, RADZERO.prompts)


def test_a_tiny_folder_answers_as_the_authors_code_does(imported, ours):
    assert agrees(deviations(ours, RADZERO.expected))
    assert ours["scores"].std(axis=0).min() > 0.01, "the films must differ for the comparison to mean anything"
    lines = imported[0].lines
    assert "places: 16, interpolated to 25" in lines
    assert "temperature: 0.07, of the weights" in lines


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_notices(ours, fault):
    assert set(RADZERO.faults) == set(FAULTS)
    assert notices(ours, RADZERO, fault)


def test_the_similarity_map_is_the_authors_and_becomes_a_map(imported, ours):
    np.testing.assert_allclose(ours["attention"], RADZERO.expected["attention"], atol=0.01)
    report, films = imported
    found = Screener(report.bundle, device="cpu", cache=False).heatmap(films / "0.png", ["pneumonia"])
    assert np.ptp(found.maps) > 0


def test_predict_gives_sigma_of_the_authors_logits(imported):
    report, films = imported
    labels = [prompt.removeprefix("There is ") for prompt in RADZERO.prompts[:3]]
    rows = Screener(report.bundle, device="cpu", cache=False).predict(films, labels)
    given = np.array([[row.scores[label] for label in labels] for row in rows])
    np.testing.assert_allclose(given, 1 / (1 + np.exp(-RADZERO.expected["logits"][:, :3])), atol=5e-4)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (drop("text_model."), "has no text tower; RadZero needs both"),
        (drop("vision_model."), "has no image tower; RadZero needs both"),
        (drop("align_transformer."), "the layers that RadZero adds to DINOv2 are missing"),
        (drop("align_transformer.transformer_layers.layer.1.mlp"), r"the added layers of RadZero: missing 1\.mlp"),
        (drop("loss_fns.RadZeroLoss.layer_norm"), "the last norm of RadZero: missing bias"),
        (drop("vision_model.encoder.layer.0.attention.attention.key.bias"), r"has no .*attention\.key\.bias"),
        (drop("vision_model.embeddings.position"), "not DINOv2: no pos_embed"),
        (drop("text_model.encoder.relative"), "has no encoder.relative_attention_bias.weight: it is no MPNet"),
        (extra("text_projector.weight", 2, 2), r"radzero has no such tensors: text_projector\.weight"),
        (extra("text_model.encoder.layer.0.adapter.weight", 2), r"unexpected encoder\.layer\.0\.adapter\.weight"),
        (reshaped("loss_fns.RadZeroLoss.loss_temperature", 2), "is no temperature: the weights are damaged"),
        (reshaped("text_model.embeddings.position_embeddings.weight", 129, 64), "has no places for 128 tokens"),
        (reshaped("vision_model.embeddings.position_embeddings", 1, 19, 64), r"pos_embed has shape \(1, 19, 64\)"),
    ],
)
def test_what_is_missing_or_of_another_version_is_named(tmp_path, change, match):
    with pytest.raises(ImportModelError, match=match):
        load_model(write_folder(tmp_path / "x", change(RADZERO.state())))


@pytest.mark.parametrize(
    ("processor", "trained_at", "match"),
    [
        (PROCESSOR, 518, "makes pictures of 70 px, and config.json states 518: they do not fit"),
        (PROCESSOR | {"size": {"height": 70, "width": 84}}, None, "makes pictures of 70 and 84 px"),
        (PROCESSOR | {"size": {"height": 75, "width": 75}}, 75, "75 pixels are no multiple of its patches of 14"),
        ({"do_normalize": True}, None, "does not state its preprocessing"),
    ],
)
def test_an_image_size_that_does_not_fit_is_refused(tmp_path, processor, trained_at, match):
    with pytest.raises(ImportModelError, match=match):
        load_model(write_folder(tmp_path / "x", RADZERO.state(), processor, trained_at))


@pytest.mark.parametrize("name", ["tokenizer.json", "preprocessor_config.json"])
def test_a_missing_file_is_named(tmp_path, name):
    folder = write_folder(tmp_path / "x", RADZERO.state())
    (folder / name).unlink()
    with pytest.raises(ImportModelError, match=name.replace(".", r"\.")):
        load_model(folder)


def test_bfloat16_is_widened_and_a_temperature_of_its_own_is_read(tmp_path):
    state = {name: value.bfloat16() for name, value in RADZERO.state().items()}
    state["loss_fns.RadZeroLoss.attn_temperature"] = torch.tensor([0.5]).log()
    towers = load_model(write_folder(tmp_path / "x", state)).towers
    assert {value.dtype for value in towers.image.parameters()} == {torch.float32}
    assert towers.scorer.attention_temperature == pytest.approx(0.5)
    assert towers.scorer.temperature == pytest.approx(0.07, rel=0.01)
