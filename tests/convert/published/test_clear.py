"""CLEAR: a tiny checkpoint of its layout answers as its authors' code does, and the comparison has teeth."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cxrzero import Screener  # noqa: E402
from cxrzero.convert import import_model, load_model  # noqa: E402
from cxrzero.errors import AmbiguousModelError, UsageError  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from cxrzero.registry.verify import verify  # noqa: E402
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

CLEAR = Published("clear")
FAULTS = ("activation", "crop", "norm", "places", "pooling", "scale", "token")


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clear")
    torch.save(CLEAR.state(), folder / "best_model.pt")
    return import_model(folder / "best_model.pt", folder / "bundle"), draw_films(folder / "films")


@pytest.fixture(scope="module")
def ours(imported):
    report, films = imported
    return answers(report.bundle, films, CLEAR.prompts)


def test_a_tiny_checkpoint_answers_as_the_authors_code_does(ours):
    assert agrees(deviations(ours, CLEAR.expected))
    assert ours["scores"].std(axis=0).min() > 1e-3, "the films must differ for the comparison to mean anything"


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_notices(ours, fault):
    assert set(CLEAR.faults) == set(FAULTS)
    assert notices(ours, CLEAR, fault)


def test_predict_gives_the_authors_probabilities(imported):
    report, films = imported
    assert np.abs(predicted(report.bundle, films, CLEAR.labels) - CLEAR.expected["probabilities"]).max() < 1e-6
    assert any("sha256 of best_model.pt" in line and "unverified" in line for line in report.lines)


def test_its_bundle_is_whole(imported):
    report, _ = imported
    assert [check.name for check in verify(load_bundle(report.bundle)) if not check.ok] == []


def test_a_map_comes_from_the_patches(imported):
    report, films = imported
    found = Screener(report.bundle, device="cpu", cache=False).heatmap(films / "0.png", ["edema"], method="patch")
    assert np.ptp(found.maps) > 1e-3


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (drop("token_embedding"), r"has no token_embedding\.weight, which clear needs"),
        (drop("visual.projection."), r"has no visual\.projection\.weight"),
        (drop("visual.base.blocks.1.ls1"), r"the image tower of clear: missing blocks\.1\.ls1\.gamma"),
        (drop("visual.base.pos_embed"), r"the image tower of clear is missing, or not DINOv2: no pos_embed"),
        (drop("transformer.resblocks.0.mlp"), r"the text tower of clear: missing transformer\.resblocks\.0\.mlp"),
        (extra("concepts.weight", 2), r"clear has no such tensors: concepts\.weight; is this another version"),
        (extra("visual.base.register_tokens", 1, 4, 64), r"register_tokens has shape \(1, 4, 64\)"),
        (reshaped("visual.projection.bias", 7), r"the projection of clear: bias has shape \(7,\)"),
        (
            reshaped("visual.base.pos_embed", 1, 11, 128),
            r"pos_embed has shape \(1, 11, 128\), needed is \(1, 1025, 128\)",
        ),
        (
            reshaped("visual.base.patch_embed.proj.weight", 128, 3, 15, 15),
            "448 pixels are no multiple of its patches of 15",
        ),
        (reshaped("token_embedding.weight", 9, 128), "reads CLIP's 49,408 tokens"),
    ],
)
def test_what_is_missing_or_of_another_version_is_named(tmp_path, change, match):
    refused(tmp_path / "best_model.pt", change(CLEAR.state()), match)


def test_half_precision_an_optimiser_and_the_other_name_of_the_tower(tmp_path):
    state = {name.replace(".base.", ".backbone."): value.half() for name, value in CLEAR.state().items()}
    beside = {"optimizer": {"state": {}}, "epoch": 1, "loss": {"weight": torch.ones(1)}}
    torch.save({"model": state, **beside}, tmp_path / "x.pt")
    loaded = load_model(tmp_path / "x.pt")
    assert loaded.lineage == "clear"
    assert next(loaded.towers.image.parameters()).dtype == torch.float32
    assert "ignored beside the weights: optimizer, epoch, loss" in loaded.stated


def test_it_cannot_be_called_another_model(tmp_path):
    refused(
        tmp_path / "x.pt",
        CLEAR.state(),
        "has the tensors of clear, and --as says chexzero",
        AmbiguousModelError,
        card="chexzero",
    )
    refused(
        tmp_path / "x.pt",
        drop("visual.")(CLEAR.state()),
        "does not have the tensors of clear",
        AmbiguousModelError,
        card="clear",
    )


def test_training_does_not_go_on_from_it(tmp_path):
    from cxrzero.train.model.start import _from_published
    from cxrzero.train.options import TrainOptions

    torch.save(CLEAR.state(), tmp_path / "x.pt")
    with pytest.raises(UsageError, match="a clear model answers questions, and cannot be trained on"):
        _from_published(TrainOptions.__new__(TrainOptions), tmp_path / "x.pt", None, None)
