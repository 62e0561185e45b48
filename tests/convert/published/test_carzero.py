"""CARZero: a tiny checkpoint of its layout answers as its authors' code does, and the comparison has teeth."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from cxrzero import Screener  # noqa: E402
from cxrzero.convert import import_model, load_model  # noqa: E402
from cxrzero.convert.published.carzero import cleaned  # noqa: E402
from tests.support.published import (  # noqa: E402
    Published,
    agrees,
    answers,
    deviations,
    draw_films,
    drop,
    extra,
    notices,
    refused,
    reshaped,
)
from tests.support.vocabulary import wordpieces  # noqa: E402

CARZERO = Published("carzero")
FAULTS = ("activation", "crop", "layers", "norm", "pooling", "scale", "token")
# Of hyper_parameters, as Lightning keeps them beside the tensors.
STATED = {"model": {"text": {"last_n_layers": 4, "agg_tokens": True}}, "data": {"text": {"word_num": 97}}}


def write_vocabulary(folder, tokens=200):
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in wordpieces(tokens)), "utf-8")


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("carzero")
    write_vocabulary(folder)
    checkpoint = {"state_dict": CARZERO.state(), "hyper_parameters": STATED, "epoch": 14, "optimizer_states": [{}]}
    torch.save(checkpoint, folder / "CARZero_best_model.ckpt")
    return import_model(folder / "CARZero_best_model.ckpt", folder / "bundle"), draw_films(folder / "films")


@pytest.fixture(scope="module")
def ours(imported):
    report, films = imported
    return answers(report.bundle, films, CARZERO.prompts)


def test_a_tiny_checkpoint_answers_as_the_authors_code_does(imported, ours):
    assert agrees(deviations(ours, CARZERO.expected))
    assert ours["scores"].std(axis=0).min() > 0.01, "the films must differ for the comparison to mean anything"
    lines = imported[0].lines
    assert "ignored beside the weights: hyper_parameters, epoch, optimizer_states" in lines
    assert any("97 tokens (hyper_parameters beside the weights)" in line for line in lines)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_notices(ours, fault):
    assert set(CARZERO.faults) == set(FAULTS)
    assert notices(ours, CARZERO, fault)


def test_attention_is_the_authors_and_becomes_a_map(imported, ours):
    np.testing.assert_allclose(ours["attention"], CARZERO.expected["attention"], atol=1e-6)
    report, films = imported
    found = Screener(report.bundle, device="cpu", cache=False).heatmap(films / "0.png", ["pneumonia"])
    assert np.ptp(found.maps) > 0


def test_predict_gives_sigma_of_the_authors_logits(imported):
    report, films = imported
    labels = [prompt.removeprefix("There is ") for prompt in CARZERO.prompts[:3]]
    rows = Screener(report.bundle, device="cpu", cache=False).predict(films, labels)
    given = np.array([[row.scores[label] for label in labels] for row in rows])
    np.testing.assert_allclose(given, 1 / (1 + np.exp(-CARZERO.expected["logits"][:, :3])), atol=1e-5)


def test_prompts_are_cleaned_as_process_text_does():
    from tokenizers import Tokenizer, models

    normalise = cleaned(Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))).normalizer.normalize_str
    # Made by process_text at fa4e09c of the same prompts, but for the last, of which it leaves nothing.
    for prompt, expected in {
        "There is Cardio-megaly.": "there is cardio megaly",
        "1. No edema.\n2. Heart is fine (10 cm)": "no edema heart is fine 10 cm",
        "a caf\u00e9 of 3.5 m\u00b2": "a caf of 5 m",
        "under_score stays": "under_score stays",
        "Pneumonia": "pneumonia",
    }.items():
        assert normalise(prompt).split() == expected.split()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (drop("CARZero.text_encoder"), "has no text tower; CARZero needs both"),
        (drop("CARZero.img_encoder"), "has no image tower; CARZero needs both"),
        (drop("CARZero.fusion_module.mlp_head.9"), r"the fusion module of CARZero has no mlp_head\.9\.weight"),
        (reshaped("CARZero.fusion_module.mlp_head.9.weight", 2, 256), "does not lead from 64 numbers to one"),
        (drop("CARZero.fusion_module"), r"the fusion module of CARZero has no decoder\.layers\.0\.linear1\.weight"),
        (drop("CARZero.img_encoder.model.blocks.1.mlp"), r"the image tower of CARZero: missing blocks\.1\.mlp"),
        (drop("CARZero.img_encoder.model.pos_embed"), "the image tower of CARZero has no pos_embed"),
        (extra("CARZero.multi_modal_proj.weight", 2), r"CARZero has no such tensors: multi_modal_proj\.weight"),
        (
            extra("CARZero.fusion_module.decoder.layers.0.norm4.weight", 64),
            r"unexpected decoder\.layers\.0\.norm4\.weight",
        ),
        (
            reshaped("CARZero.text_encoder.model.embeddings.position_embeddings.weight", 96, 64),
            "has places for 96 tokens, not for 97",
        ),
        (reshaped("CARZero.img_encoder.model.pos_embed", 1, 190, 64), "has 190 places, which are no square and one"),
        (reshaped("CARZero.img_encoder.model.pos_embed", 1, 401, 64), "reads 320 px and would be given 256"),
    ],
)
def test_what_is_missing_or_of_another_version_is_named(tmp_path, change, match):
    write_vocabulary(tmp_path)
    refused(tmp_path / "x.ckpt", {"state_dict": change(CARZERO.state())}, match)


def test_towers_of_different_widths_are_refused(tmp_path):
    write_vocabulary(tmp_path)
    image = "CARZero.img_encoder.model."
    halves = {64: 32, 192: 96, 256: 128}
    state = CARZERO.state()
    smaller = {
        name: value[tuple(slice(halves.get(side, side)) for side in value.shape)]
        if "patch_embed" not in name
        else value[:32]
        for name, value in state.items()
        if name.startswith(image)
    }
    refused(tmp_path / "x.ckpt", state | smaller, "its towers and its fusion module are of different widths")


def test_another_configuration_than_the_published_one_is_refused(tmp_path):
    write_vocabulary(tmp_path)
    other = {"state_dict": CARZERO.state(), "hyper_parameters": {"model": {"text": {"agg_tokens": False}}}}
    refused(tmp_path / "x.ckpt", other, r"was trained with model\.text\.agg_tokens = False; .* which has True")


def test_a_vocabulary_is_needed_and_has_to_fit(tmp_path):
    state = CARZERO.state()
    refused(tmp_path / "x.ckpt", state, "fetch vocab.txt of Laihaoran/BioClinicalMPBERT")
    write_vocabulary(tmp_path, 201)
    refused(tmp_path / "x.ckpt", state, "has 201 tokens and the text tower 200")


def test_half_precision_is_widened(tmp_path):
    write_vocabulary(tmp_path)
    torch.save({"state_dict": {name: value.half() for name, value in CARZERO.state().items()}}, tmp_path / "x.ckpt")
    towers = load_model(tmp_path / "x.ckpt").towers
    assert {value.dtype for value in towers.scorer.parameters()} == {torch.float32}
