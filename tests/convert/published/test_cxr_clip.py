"""CXR-CLIP: tiny checkpoints of both layouts answer as their authors' code does, and the comparison has teeth."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

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

MODELS = {name: Published(name) for name in ("cxr-clip-resnet50", "cxr-clip-swin-tiny")}
FAULTS = {"activation", "bicubic", "crop", "norm", "pooling", "scale", "token"}
CONFIG = {"model": {"text_encoder": {"pooling": "eos"}}, "base": {"text_max_length": 256}}
WORDS = 100


def checkpoint(state, config=None):
    """As the authors' trainer.py saves it."""
    return {
        "model": state,
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"params": [0]}]},
        "scheduler": {"last_epoch": 3},
        "config": CONFIG if config is None else config,
        "epoch": 3,
        "train_loss": 0.5,
    }


def vocabulary(folder):
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in wordpieces(WORDS)), "utf-8")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return draw_films(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module", params=MODELS)
def imported(request, films, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    vocabulary(folder)
    torch.save(checkpoint(MODELS[request.param].state()), folder / "model-best.tar")
    report = import_model(folder / "model-best.tar", folder / "bundle")
    return request.param, report, answers(report.bundle, films, MODELS[request.param].prompts)


def test_a_tiny_checkpoint_answers_as_the_authors_code_does(imported, films):
    name, report, ours = imported
    published = MODELS[name]
    assert agrees(deviations(ours, published.expected))
    assert ours["scores"].std(axis=0).min() > 1e-3, "the films must differ for the comparison to mean anything"
    given = predicted(report.bundle, films, published.labels)
    assert np.abs(given - published.expected["probabilities"]).max() < 1e-6
    assert set(published.faults) == FAULTS | ({"place"} if name == "cxr-clip-swin-tiny" else set())
    assert [fault for fault in published.faults if not notices(ours, published, fault)] == []


def test_only_the_mean_of_places_makes_patches(imported):
    name, report, _ = imported
    stated = json.loads((report.bundle / "model.json").read_text("utf-8"))
    assert stated["patch_embeds"] == ({"height": 7, "width": 7} if name == "cxr-clip-resnet50" else None)
    assert any("ignored beside the weights: optimizer" in line for line in report.lines)
    assert any("sha256 of model-best.tar" in line and "unverified" in line for line in report.lines)


@pytest.mark.parametrize(("pooling", "tokens"), [("bos", 96), ("mean", 40)])
def test_the_config_in_the_file_decides_what_no_tensor_tells(tmp_path, pooling, tokens):
    vocabulary(tmp_path)
    config = {"model": {"text_encoder": {"pooling": pooling}}, "base": {"text_max_length": tokens}}
    torch.save(checkpoint(MODELS["cxr-clip-swin-tiny"].state(), config), tmp_path / "x.tar")
    loaded = load_model(tmp_path / "x.tar")
    assert loaded.context_length == tokens
    ids = torch.zeros(1, tokens, dtype=torch.int64)
    ids[0, :5] = torch.tensor([2, 40, 41, 42, 3])
    text = loaded.towers.text
    states = text.bert.model(input_ids=ids[:, :5]).last_hidden_state
    row = {"bos": states[:, 0], "mean": states.mean(dim=1)}[pooling]
    expected = torch.nn.functional.normalize(text.projection(row), dim=-1)
    torch.testing.assert_close(text(ids), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"model": {"text_encoder": {"pooling": "max"}}}, r"pools texts by 'max', none of eos, bos, mean"),
        ({"model": {"text_encoder": {"pooling": ["eos"]}}}, r"pools texts by \['eos'\], none of eos, bos, mean"),
        ({"base": {"text_max_length": "long"}}, r"states a text_max_length of 'long'"),
    ],
)
def test_a_config_of_another_version_is_refused(tmp_path, config, match):
    vocabulary(tmp_path)
    refused(tmp_path / "x.tar", checkpoint(MODELS["cxr-clip-swin-tiny"].state(), config), match)


@pytest.mark.parametrize("config", [{}, {"model": "text", "base": None}])
def test_a_config_that_says_nothing_leaves_the_authors_values(tmp_path, config):
    vocabulary(tmp_path)
    torch.save(checkpoint(MODELS["cxr-clip-swin-tiny"].state(), config), tmp_path / "x.tar")
    assert any("configs/ of the authors' code" in line for line in load_model(tmp_path / "x.tar").stated)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (drop("text_"), r"cxr-clip-resnet50 is not whole: these weights have no text_encoder\.text_encoder\.\*"),
        (drop("image_encoder."), r"is not whole: these weights have no image_encoder\.resnet\.\*"),
        (drop("image_projection."), r"have no image_projection\.projection\.\*"),
        (drop("image_encoder.resnet.bn1.running_var"), r"the image tower of cxr-clip-resnet50: missing bn1\.running"),
        (extra("image_projection.fc.weight", 512, 512), r"no such tensors: image_projection\.fc\.weight"),
        (reshaped("image_projection.projection.weight", 512, 2048), r"shape \(512, 2048\), needed is \(512, 128\)"),
        (reshaped("text_projection.projection.weight", 256, 64), r"text_projection\.projection\.weight of"),
    ],
)  # fmt: skip
def test_what_is_missing_or_of_another_version_is_named(tmp_path, change, match):
    vocabulary(tmp_path)
    refused(tmp_path / "x.tar", checkpoint(change(MODELS["cxr-clip-resnet50"].state())), match)


def test_without_its_vocabulary(tmp_path):
    state = checkpoint(MODELS["cxr-clip-resnet50"].state())
    refused(tmp_path / "x.tar", state, r"vocab\.txt of emilyalsentzer/Bio_ClinicalBERT from Hugging Face")
