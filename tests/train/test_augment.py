"""Augmentation keeps sides, range and seeds."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from cxrzero.train.data.augment import augment  # noqa: E402


def generator(seed):
    return torch.Generator().manual_seed(seed)


def test_values_stay_in_range_and_follow_the_generator():
    pixels = torch.rand(16, 32, 32, generator=generator(0))
    out = augment(pixels, generator(1))
    assert out.shape == pixels.shape
    assert 0 <= out.min() <= out.max() <= 1
    assert torch.equal(out, augment(pixels, generator(1)))
    assert not torch.equal(out, augment(pixels, generator(2)))


def test_left_stays_left():
    """A bright left half is still on the left in every one of 200 augmented pictures."""
    pixels = torch.zeros(200, 32, 32)
    pixels[:, :, :16] = 1
    out = augment(pixels, generator(0))
    assert (out[:, :, :16].mean(dim=(1, 2)) > out[:, :, 16:].mean(dim=(1, 2))).all()
