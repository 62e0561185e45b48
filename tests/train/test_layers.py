"""Layer-wise learning rates: each block of the image tower by its distance from the head."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
from timm.optim import param_groups_layer_decay  # noqa: E402

from cxrzero.clip.architecture import build_model  # noqa: E402
from cxrzero.errors import UsageError  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from cxrzero.train import TrainOptions, resume, train  # noqa: E402
from cxrzero.train.model.layers import blocks_above  # noqa: E402
from cxrzero.train.model.start import make_start  # noqa: E402
from cxrzero.train.model.weights import weight_groups  # noqa: E402
from cxrzero.train.step.optimise import make_optimiser, set_rate  # noqa: E402
from tests.support.checkpoints import hf_folder  # noqa: E402
from tests.support.pairs import TINY_CLIP, draw  # noqa: E402
from tests.train.test_resume import Stop, losses, stop_after  # noqa: E402


def timm_arch(trunk, **more):
    vision = {"timm_model_name": trunk, "timm_pool": "avg", "timm_proj": "linear", "image_size": 32}
    return TINY_CLIP | {"quick_gelu": False, "vision_cfg": vision | more}


def rates(model, **options):
    """Name of each parameter → its factor on the learning rate."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: g["lr_scale"] for g in weight_groups(model, 0.1, **options) for p in g["params"]}


@pytest.mark.parametrize("trunk", ["test_efficientnet", "test_resnet", "regnetx_002"])
def test_a_trunk_has_the_layers_that_timm_gives_it(trunk):
    model = build_model(timm_arch(trunk))
    groups = param_groups_layer_decay(model.visual.trunk, layer_decay=0.5)
    wanted = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    found = rates(model, layer_decay=0.5)
    assert {name: wanted[id(p)] for name, p in model.visual.named_parameters() if name.startswith("trunk.")} == {
        name.removeprefix("visual."): rate for name, rate in found.items() if name.startswith("visual.trunk.")
    }
    assert min(found.values()) < 0.2
    assert found["visual.head.proj.weight"] == found["text.text_projection"] == found["logit_scale"] == 1


def test_the_head_of_a_trunk_is_no_block():
    """ConvNeXt's last norm belongs to no block of timm's: the last block has the full rate all the same."""
    found = blocks_above(build_model(timm_arch("test_convnext")).visual)
    assert found["trunk.head.norm.weight"] == 0
    assert found["trunk.stages.3.blocks.1.conv_dw.weight"] == 0
    assert found["trunk.stem.0.weight"] == max(found.values())


def test_blocks_of_open_clips_vision_transformer():
    vision = TINY_CLIP["vision_cfg"] | {"layers": 3}  # type: ignore[operator]
    model = build_model(TINY_CLIP | {"vision_cfg": vision})
    found = rates(model, layer_decay=0.5, image_lr_scale=2.0)
    for name, wanted in {
        "proj": 2.0,
        "ln_post.weight": 2.0,
        "transformer.resblocks.2.attn.in_proj_weight": 2.0,
        "transformer.resblocks.1.ln_1.bias": 1.0,
        "transformer.resblocks.0.mlp.c_fc.weight": 0.5,
        "ln_pre.weight": 0.25,
        "conv1.weight": 0.25,
        "class_embedding": 0.25,
        "positional_embedding": 0.25,
    }.items():
        assert found[f"visual.{name}"] == wanted, name
    assert {rate for name, rate in found.items() if not name.startswith("visual.")} == {1.0}


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_blocks_of_transformers_models(tmp_path, kind):
    folder, _ = hf_folder(tmp_path, kind)
    model = make_start(TrainOptions(tmp_path, tmp_path, init=folder, layer_decay=0.5)).model
    found = blocks_above(model.visual)
    assert len(found) == len(list(model.visual.parameters()))
    for name, wanted in {
        "model.post_layernorm.weight": 0,
        "model.encoder.layers.1.self_attn.q_proj.weight": 0,
        "model.encoder.layers.0.mlp.fc1.bias": 1,
        "model.embeddings.patch_embedding.weight": 2,
        "model.embeddings.position_embedding.weight": 2,
    }.items():
        assert found[name] == wanted, name


def test_a_tower_without_blocks_is_named_before_anything_is_read(tmp_path):
    resnet = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}
    arch = tmp_path / "resnet.json"
    arch.write_text(json.dumps(TINY_CLIP | {"vision_cfg": resnet}), "utf-8")
    options = TrainOptions(draw(tmp_path / "films"), tmp_path / "run", arch=str(arch), batch_size=8, layer_decay=0.5)
    with pytest.raises(UsageError, match=r"image tower \(ModifiedResNet\) cannot be told apart.*--layer-decay out"):
        train(options)
    assert not options.out.exists()
    for wrong in (0.0, 1.5):
        with pytest.raises(UsageError, match="--layer-decay must be greater than 0 and at most 1"):
            replace(options, layer_decay=wrong)


def test_without_it_nothing_changes_and_with_it_the_optimiser_has_the_rates(tmp_path):
    model = build_model(TINY_CLIP)
    assert [len(group["params"]) for group in weight_groups(model, 0.1)] == [
        len(group["params"]) for group in weight_groups(model, 0.1, layer_decay=1.0)
    ]
    options = TrainOptions(tmp_path, tmp_path, layer_decay=0.5)
    optimiser = make_optimiser(model, options)
    set_rate(optimiser, 0.1)
    assert {group["lr"] for group in optimiser.param_groups} == {0.1, 0.05}  # one block, and what is below it


def test_a_resumed_run_keeps_its_rates_and_the_bundle_states_them(tmp_path):
    options = TrainOptions(
        draw(tmp_path / "films"), tmp_path / "run", arch="cxrzero-tiny", epochs=2, batch_size=8, threads=1,
        layer_decay=0.5,
    )  # fmt: skip
    whole = train(replace(options, out=tmp_path / "whole"))
    with pytest.raises(Stop):
        train(options, stop_after(3))
    assert losses(resume(options.out)) == losses(whole)
    assert load_bundle(options.out).card["provenance"]["recipe"]["layer_decay"] == 0.5
    assert losses(train(replace(options, out=tmp_path / "level", layer_decay=1.0))) != losses(whole)
