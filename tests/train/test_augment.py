"""Augmentation keeps sides, range and seeds."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from cxrzero.train.data.augment import augment, filtered  # noqa: E402


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


def test_sharpness_differs_by_direction_and_the_mean_grey_stays():
    """Of noise, whose spectrum is flat: the power of each of four directions, fine and coarse, is another each time."""
    pixels = torch.rand(300, 64, 64, generator=generator(0))
    out = filtered(pixels, generator(1))
    assert torch.allclose(out.mean(dim=(1, 2)), pixels.mean(dim=(1, 2)), atol=1e-5)
    y, x = torch.fft.fftfreq(64)[:, None], torch.fft.rfftfreq(64)[None]
    radius, wide = torch.hypot(x, y), x.abs() > y.abs()

    def log_power(pictures, where):
        return torch.fft.rfft2(pictures)[:, where].abs().square().mean(dim=1).log()

    fine, coarse = radius > 0.25, (radius > 0.02) & (radius < 0.1)
    gains = {
        name: log_power(out, where) - log_power(pixels, where)
        for name, where in (("wide", fine & wide), ("high", fine & ~wide), ("coarse", coarse))
    }
    untouched = gains["wide"].abs() < 1e-4
    assert 0.2 < untouched.float().mean() < 0.4  # three pictures in ten stay as they are
    assert min(gain.std() for gain in gains.values()) > 0.3
    assert (gains["wide"] - gains["high"]).std() > 0.3
    assert abs(float(torch.corrcoef(torch.stack([gains["wide"], gains["coarse"]]))[0, 1])) < 0.7
