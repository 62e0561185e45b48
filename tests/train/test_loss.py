"""The loss for shared texts: equal to CLIP's where nothing is shared, and never against what is true."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from open_clip.loss import ClipLoss, SigLipLoss  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.nn import functional  # noqa: E402

from cxrzero.train.step.loss import contrastive_loss, grouped_loss, sigmoid_loss  # noqa: E402


def embeds(n, seed):
    return functional.normalize(torch.randn(n, 16, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize(("n", "scale"), [(2, 1.0), (7, 14.3), (64, 100.0)])
def test_equals_clip_loss_and_its_gradient_when_all_texts_differ(n, scale):
    images, texts = embeds(n, 1).requires_grad_(), embeds(n, 2).requires_grad_()
    ours = contrastive_loss(images, texts, torch.eye(n, dtype=torch.bool), torch.tensor(scale))
    reference = ClipLoss()(images, texts, torch.tensor(scale))
    assert ours.item() == pytest.approx(reference.item(), abs=1e-6, rel=1e-6)
    for a, b in zip(
        torch.autograd.grad(ours, (images, texts)), torch.autograd.grad(reference, (images, texts)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_one_group_equals_no_group():
    images, texts, truth = embeds(6, 1), embeds(4, 2), torch.ones(6, 4, dtype=torch.bool)
    truth[2:, 0] = truth[:3, 3] = False
    plain = contrastive_loss(images, texts, truth, torch.tensor(10.0))
    grouped = grouped_loss(images, texts, truth, truth, torch.zeros(6, dtype=torch.int64), torch.tensor(10.0))
    assert grouped.item() == pytest.approx(plain.item(), abs=1e-6)


def test_a_true_text_is_no_negative():
    """Two images that share their only text: nothing to tell apart, so nothing pulls."""
    images, texts = embeds(2, 1).requires_grad_(), embeds(1, 2).requires_grad_()
    loss = contrastive_loss(images, texts, torch.ones(2, 1, dtype=torch.bool), torch.tensor(1e-6))
    assert loss.item() == pytest.approx(math.log(2) / 2, abs=1e-5)  # entropy of the even target over two images
    gradient = torch.autograd.grad(loss, images)[0]
    assert gradient.abs().max() < 1e-5


def test_groups_are_not_contrasted_with_each_other():
    """Moving one group's embeddings leaves the other group's gradient as it was."""
    groups = torch.tensor([0, 0, 1, 1])
    truth = torch.eye(4, dtype=torch.bool)
    scale = torch.tensor(10.0)

    def gradient(other_seed):
        images, texts = embeds(4, 1), embeds(4, 2)
        images[2:], texts[2:] = embeds(2, other_seed), embeds(2, other_seed + 1)
        images.requires_grad_()
        loss = grouped_loss(images, texts, truth, truth, groups, scale)
        return torch.autograd.grad(loss, images)[0][:2]

    torch.testing.assert_close(gradient(5), gradient(50))


def test_a_group_of_one_adds_nothing():
    images, texts = embeds(3, 1), embeds(3, 2)
    truth = torch.eye(3, dtype=torch.bool)
    loss = grouped_loss(images, texts, truth, truth, torch.tensor([0, 0, 1]), torch.tensor(5.0))
    pair = contrastive_loss(images[:2], texts[:2], truth[:2, :2], torch.tensor(5.0))
    assert loss.item() == pytest.approx(pair.item() * 2 / 3, abs=1e-6)


def test_sigmoid_equals_siglip_loss_and_its_gradient_when_all_texts_differ():
    images, texts = embeds(7, 1).requires_grad_(), embeds(7, 2)
    scale, bias = torch.tensor(9.0), torch.tensor(-3.0)
    own = torch.eye(7, dtype=torch.bool)
    ours = sigmoid_loss(images, texts, own, own, torch.zeros(7, dtype=torch.int64), scale, bias)
    theirs = SigLipLoss()(images, texts, scale, bias) / 7  # it sums over the texts
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
    torch.testing.assert_close(*(torch.autograd.grad(loss, images)[0] for loss in (ours, theirs)), atol=1e-6, rtol=0)


def test_sigmoid_asks_only_what_a_group_was_shown_and_weighs_groups_by_their_images():
    images, texts = embeds(4, 1), embeds(4, 2)
    truth = torch.tensor([[1, 0, 1, 0], [0, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 1]]).bool()
    shown = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 1]]).bool()
    groups = torch.tensor([0, 0, 0, 1])
    asked = [(0, 1), (0, 1), (0, 1), (0, 3)]  # text 2 was shown to nobody
    expected = 0.0
    for i, columns in enumerate(asked):
        for t in columns:
            logit = 5.0 * float(images[i] @ texts[t]) - 1.0
            expected += math.log1p(math.exp(-logit if truth[i, t] else logit)) / len(columns) / 4
    loss = sigmoid_loss(images, texts, truth, shown, groups, torch.tensor(5.0), torch.tensor(-1.0))
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_sigmoid_small_group_is_not_forgotten():
    """One image among many of another group pulls with its share of the images, not with the square of it."""

    def gradient(others: int) -> Any:
        images, texts = embeds(others + 1, 1).requires_grad_(), embeds(others + 1, 2)
        truth = torch.eye(others + 1, dtype=torch.bool)
        groups = torch.tensor([1] + [0] * others)
        loss = sigmoid_loss(images, texts, truth, truth, groups, torch.tensor(5.0), torch.tensor(-1.0))
        return torch.autograd.grad(loss * len(groups), images)[0][0]

    torch.testing.assert_close(gradient(5), gradient(50))


def test_the_sigmoid_loss_takes_its_groups_from_the_cpu_to_the_gpu():
    """As batches have them; fake tensors have a device and no numbers."""
    groups = torch.tensor([0, 0, 1, 1])
    with FakeTensorMode(allow_non_fake_inputs=True):
        images, texts, truth = (torch.empty(size, device="cuda") for size in ((4, 16), (5, 16), (4, 5)))
        scale, bias = (torch.empty((), device="cuda") for _ in range(2))
        loss = sigmoid_loss(images, texts, truth, truth > 0, groups, scale, bias)
    assert loss.device == torch.device("cuda", 0)
