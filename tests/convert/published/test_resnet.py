"""Residual networks of either block, and cut ones, beside torchvision's own."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet  # noqa: E402

from cxrzero.convert.published.resnet import build_resnet  # noqa: E402
from cxrzero.errors import ImportModelError  # noqa: E402
from tests.support.checkpoints import random_state  # noqa: E402

PIXELS = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))


def of_torchvision(block, layers, **more):
    model = ResNet(block, layers, **more)
    model.load_state_dict(random_state(model.state_dict()))
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize(
    ("block", "layers", "more"), [(BasicBlock, [1, 2, 1, 1], {}), (Bottleneck, [2, 1, 1, 1], {"width_per_group": 8})]
)
def test_features_are_torchvisions(block, layers, more):
    theirs = of_torchvision(block, layers, **more)
    ours = build_resnet(theirs.state_dict(), "it")
    features = ours(PIXELS)
    assert ours.architecture == f"ResNet {'-'.join(map(str, layers))}"
    assert features.shape == (2, ours.channels, 3, 2)
    torch.testing.assert_close(theirs.fc(features.mean(dim=(2, 3))), theirs(PIXELS))
    assert torch.equal(ours.places(PIXELS)[:, 1, 0], features[:, :, 1, 0])


@torch.no_grad()
def test_a_trunk_without_its_last_stage():
    theirs = of_torchvision(BasicBlock, [1, 1, 1, 1])
    state = {name: value for name, value in theirs.state_dict().items() if not name.startswith("layer4.")}
    theirs.layer4 = theirs.avgpool = torch.nn.Identity()
    theirs.fc = torch.nn.Identity()
    expected = theirs(PIXELS).reshape(2, 256, 6, 4)
    torch.testing.assert_close(build_resnet(state, "it")(PIXELS), expected)


def test_counters_of_training_may_be_missing():
    theirs = of_torchvision(BasicBlock, [1, 1, 1, 1])
    state = {name: value for name, value in theirs.state_dict().items() if "num_batches" not in name}
    assert build_resnet(state, "it").channels == 512


@pytest.mark.parametrize(
    ("missing", "match"),
    [
        ("conv1.weight", r"it has no conv1\.weight: it is not the ResNet it should be"),
        ("layer", r"it has no layer1\.0\.conv1\.weight"),
        ("layer2.0.bn1", r"the weights do not fit it: missing layer2\.0\.bn1\.bias"),
    ],
)
def test_what_is_missing_is_named(missing, match):
    state = of_torchvision(BasicBlock, [1, 1, 1, 1]).state_dict()
    with pytest.raises(ImportModelError, match=match):
        build_resnet({name: value for name, value in state.items() if not name.startswith(missing)}, "it")


@pytest.mark.parametrize("name", ["conv1.weight", "layer2.0.conv1.weight"])
def test_a_tensor_of_no_convolution_is_refused(name):
    state = of_torchvision(BasicBlock, [1, 1, 1, 1]).state_dict() | {name: torch.tensor(1.0)}
    with pytest.raises(ImportModelError, match="it is not the ResNet it should be"):
        build_resnet(state, "it")
