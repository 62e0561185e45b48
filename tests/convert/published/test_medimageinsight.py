"""MedImageInsight: a tiny checkpoint of its layout answers as its authors' code does, and the comparison has teeth."""

from __future__ import annotations

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402

from cxrzero.convert import import_model, load_model  # noqa: E402
from cxrzero.errors import AmbiguousModelError, UsageError  # noqa: E402
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

MODEL = Published("medimageinsight")
FILE = "medimageinsigt-v1.0.0.pt"
FAULTS = ("activation", "crop", "mask", "norm", "pooling", "scale", "token")


@pytest.fixture(scope="module")
def state():
    return MODEL.state()


@pytest.fixture(scope="module")
def imported(state, tmp_path_factory):
    folder = tmp_path_factory.mktemp("medimageinsight")
    save_file(state, folder / FILE)
    return import_model(folder / FILE, folder / "bundle"), draw_films(folder / "films")


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
    # exp(4) = 55 times cosines that are right to seven digits
    assert np.abs(predicted(report.bundle, films, MODEL.labels) - MODEL.expected["probabilities"]).max() < 2e-5
    assert any(f"sha256 of {FILE}" in line and "unverified" in line for line in report.lines)


def as_before_its_publication(name):
    """The names that the authors' loader translates (UniCLModel.py, davit_v1.py)."""
    for pattern, old in (
        (r"^image_encoder\.", "visual."),
        (r"^lang_encoder\.", "text."),
        (r"^image_projection$", "vision_projection"),
        (r"^lang_projection$", "text_projection"),
        (r"\.convs\.", ".conv_embeds."),
        (r"\.blocks\.", ".main_blocks."),
        (r"\.spatial_block\.conv(\d)\.fn\.dw\.", lambda m: f".0.cpe.{int(m[1]) - 1}.proj."),
        (r"\.channel_block\.conv(\d)\.fn\.dw\.", lambda m: f".1.cpe.{int(m[1]) - 1}.proj."),
        (r"\.spatial_block\.window_attn\.norm\.", ".0.norm1."),
        (r"\.channel_block\.channel_attn\.norm\.", ".1.norm1."),
        (r"\.spatial_block\.window_attn\.fn\.", ".0.attn."),
        (r"\.channel_block\.channel_attn\.fn\.", ".1.attn."),
        (r"\.spatial_block\.ffn\.norm\.", ".0.norm2."),
        (r"\.channel_block\.ffn\.norm\.", ".1.norm2."),
        (r"\.spatial_block\.ffn\.fn\.net\.", ".0.mlp."),
        (r"\.channel_block\.ffn\.fn\.net\.", ".1.mlp."),
    ):
        name = re.sub(pattern, old, name)
    return name


def test_names_of_before_its_publication_are_the_same_model(state, tmp_path):
    renamed = {as_before_its_publication(name): value for name, value in state.items()}
    assert not renamed.keys() & {name for name in state if name != "logit_scale"}
    save_file(renamed, tmp_path / FILE)
    found, expected = load_model(tmp_path / FILE).towers.image, MODEL.state()
    ours = found.trunk.state_dict()
    assert torch.equal(
        ours["stages.2.pairs.1.channels.mlp.fc1.weight"],
        expected["image_encoder.blocks.2.1.channel_block.ffn.fn.net.fc1.weight"],
    )
    assert torch.equal(
        ours["stages.0.pairs.0.places.before_mlp.weight"],
        expected["image_encoder.blocks.0.0.spatial_block.conv2.fn.dw.weight"],
    )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (drop("lang_encoder."), r"has no lang_encoder\.token_embedding\.weight, which medimageinsight needs"),
        (drop("image_projection"), "has no image_projection, which medimageinsight needs"),
        (drop("logit_scale"), "has no logit_scale, which medimageinsight needs"),
        (drop("lang_encoder.positional"), r"the text tower of medimageinsight: missing positional_embedding"),
        (drop("image_encoder.convs.3"), "is not the DaViT it should be: a stage has no convolution"),
        (drop("image_encoder.blocks.1.0.spatial_block.ffn"), r"missing stages\.1\.pairs\.0\.places\.mlp\.fc1\.bias"),
        (extra("image_encoder.head.weight", 2, 96), r"unexpected head\.weight"),
        (extra("lang_encoder.resblocks.2.attn.in_proj_bias", 192), r"missing resblocks\.2\.attn\.in_proj_weight"),
        (extra("queue", 2), "medimageinsight has no such tensors: queue; is this another version"),
        (reshaped("image_projection", 95, 32), r"image_projection of medimageinsight has shape \(95, 32\), needed is"),
        (reshaped("lang_encoder.token_embedding.weight", 9, 64), "has 9 tokens, and CLIP has 49,408"),
        (reshaped("image_encoder.convs.0.proj.weight", 33, 3, 7, 7), "is not the DaViT it should be"),
    ],
)
def test_what_does_not_fit_is_refused(state, tmp_path, change, match):
    refused(tmp_path / FILE, change(dict(state)), match)


def test_half_precision_is_widened(state, tmp_path):
    torch.save({name: value.half() for name, value in state.items()}, tmp_path / FILE)
    assert load_model(tmp_path / FILE).towers.text.positional_embedding.dtype == torch.float32


def test_what_the_user_says_of_it_has_to_fit(state, tmp_path):
    torch.save(state, tmp_path / FILE)
    with pytest.raises(AmbiguousModelError, match="has the tensors of medimageinsight, and --as says clear"):
        load_model(tmp_path / FILE, card="clear")
    with pytest.raises(UsageError, match="CLIP's own vocabulary; leave out --tokenizer"):
        load_model(tmp_path / FILE, tokenizer=tmp_path)
