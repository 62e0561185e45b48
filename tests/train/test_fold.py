"""Batch norms folded into convolutions: the same function, through every door that a model goes through."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402

from cxrzero.backends.onnxruntime import OnnxRuntimeEncoder  # noqa: E402
from cxrzero.clip.architecture import build_model  # noqa: E402
from cxrzero.clip.fold import fold_batch_norms  # noqa: E402
from cxrzero.convert import import_model  # noqa: E402
from cxrzero.errors import UsageError  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from cxrzero.train import TrainOptions, train  # noqa: E402
from cxrzero.train.model.start import make_start  # noqa: E402
from tests.support.pairs import TINY_CLIP, draw  # noqa: E402
from tests.support.runs import weights  # noqa: E402

ARCH: dict[str, Any] = {
    "architecture": "tiny, folded",
    "embed_dim": 16,
    "vision_cfg": {
        "timm_model_name": "test_efficientnet",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "timm_proj_bias": True,
        "image_size": 32,
    },
    "text_cfg": TINY_CLIP["text_cfg"],
    "fold_batch_norms": True,
}


def trained(model):
    """Statistics, scales and shifts as training leaves them: none is 0 or 1."""
    torch.manual_seed(1)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.2)
    return model


def norms(model):
    return [name for name, layer in model.named_modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_byobnet"])
def test_a_folded_trunk_answers_as_before_and_learns(name):
    """Norms that also activate (timm's) and plain ones; torch's convolutions and timm's that pad themselves."""
    model = trained(timm.create_model(name, num_classes=0)).eval()
    assert norms(model)
    folded = copy.deepcopy(model).train()
    fold_batch_norms(folded)
    assert not norms(folded)
    assert all(layer.training for layer in folded.modules())
    pixels = torch.randn(2, 3, 64, 64)
    folded(pixels).sum().backward()
    assert all(p.requires_grad and p.grad is not None for p in folded.parameters())
    with torch.no_grad():
        torch.testing.assert_close(folded.eval()(pixels), model(pixels), rtol=1e-4, atol=1e-5)


class Branching(nn.Module):
    """The convolution's output is read beside the norm, too."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.conv(x)
        return x + self.norm(x)


class Twice(Branching):
    def forward(self, x):
        return self.norm(self.conv(x)) + self.norm(self.conv(-x))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)), "the batch norm 2 follows no convolution"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)), "the batch norm 2 follows no conv"),
        (Branching(), "the batch norm norm follows no convolution"),
        (Twice(), "conv is used more than once"),
    ],
)
def test_a_norm_that_follows_no_convolution_alone_is_named(module, message):
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(UsageError, match=message):
        fold_batch_norms(module)
    assert module.state_dict().keys() == before.keys()


def test_an_architecture_that_cannot_be_folded_is_refused():
    vision = ARCH["vision_cfg"] | {"timm_model_name": "densenet121"}
    with pytest.raises(UsageError, match=r"the batch norm trunk\.features\.\S+ follows no convolution"):
        build_model(ARCH | {"vision_cfg": vision})


@pytest.fixture
def folder(tmp_path):
    """An open_clip folder of a trained model, folded as a recipe does it; and the model that it was."""
    model = trained(build_model({key: value for key, value in ARCH.items() if key != "fold_batch_norms"})).eval()
    folded = copy.deepcopy(model)
    fold_batch_norms(folded.visual.trunk)
    made = tmp_path / "start"
    made.mkdir()
    preprocess = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    described = {"model_cfg": ARCH, "preprocess_cfg": preprocess}
    (made / "open_clip_config.json").write_text(json.dumps(described), "utf-8")
    save_file({k: v.contiguous() for k, v in folded.state_dict().items()}, made / "open_clip_model.safetensors")
    return made, model


@torch.no_grad()
def assert_answers(bundle, model):
    """A bundle's encoder as torch's model, which still has its norms."""
    pixels = np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float32)
    wanted = nn.functional.normalize(model(torch.from_numpy(pixels))[0], dim=-1)
    found = OnnxRuntimeEncoder(load_bundle(bundle), "cpu").encode_images(pixels)
    np.testing.assert_allclose(found, wanted.numpy(), atol=2e-3)  # weights are float16 in a bundle


def test_a_folder_that_says_it_is_imported_and_trained_and_its_run_is_a_start(folder, tmp_path):
    start, model = folder
    imported = import_model(start, tmp_path / "imported").bundle
    assert_answers(imported, model)
    pairs = draw(tmp_path / "films", 16)
    options = TrainOptions(pairs, tmp_path / "run", init=start, epochs=1, batch_size=8, threads=1, freeze="image")
    run = train(options)
    assert_answers(run, model)  # the image tower was frozen
    assert not [name for name in weights(run) if "running" in name]
    again = make_start(TrainOptions(pairs, tmp_path / "next", init=run))
    assert not norms(again.model.visual)
    assert torch.equal(again.model.visual.trunk.conv_stem.bias, weights(run)["visual.trunk.conv_stem.bias"])
    bundle = make_start(TrainOptions(pairs, tmp_path / "third", init=imported))
    assert not norms(bundle.model.visual)
