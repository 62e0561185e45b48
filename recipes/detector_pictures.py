"""Makes pictures for training the image detectors: drawn ones that are not chest films, and variations of all."""

from __future__ import annotations

import io
import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Grey = npt.NDArray[np.uint8]
Rng = np.random.Generator

STORED_SIDE = 160  # training pictures are kept at this longest side
MIN_SIDE = 48  # what the detectors see


def drawn(rng: Rng) -> Grey:
    """Something that is no radiograph: noise, a gradient, clouds, text, a diagram, discs, a slice of an oval body."""
    kind = rng.choice([_noise, _gradient, _clouds, _text, _diagram, _discs, _oval])
    return kind(rng, int(rng.integers(64, 161)), int(rng.integers(64, 161)))


def _noise(rng: Rng, h: int, w: int) -> Grey:
    return np.clip(rng.normal(rng.uniform(40, 215), rng.uniform(2, 60), (h, w)), 0, 255).astype(np.uint8)


def _gradient(rng: Rng, h: int, w: int) -> Grey:
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    angle = rng.uniform(0, 2 * math.pi)
    ramp = (
        x * math.cos(angle) + y * math.sin(angle)
        if rng.random() < 0.5
        else np.hypot(x - rng.uniform(-1, 1), y - rng.uniform(-1, 1))
    )
    return _stretch(rng, ramp + rng.normal(0, rng.uniform(0, 0.1), ramp.shape))


def _clouds(rng: Rng, h: int, w: int) -> Grey:
    """Noise with a power law spectrum."""
    f = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None])
    f[0, 0] = 1
    spectrum = np.fft.rfft2(rng.normal(size=(h, w))) / f ** rng.uniform(0.6, 2.2)
    return _stretch(rng, np.fft.irfft2(spectrum, (h, w)))


def _text(rng: Rng, h: int, w: int) -> Grey:
    paper, ink = (int(rng.integers(180, 256)), int(rng.integers(0, 90)))[:: rng.choice([1, -1])]
    page = Image.new("L", (w, h), paper)
    pen = ImageDraw.Draw(page)
    for y in range(int(rng.integers(2, 12)), h - 8, int(rng.integers(9, 20))):
        letters = "".join(rng.choice(list("abcdefghij klmnop qrst uvwxyz 0123"), int(rng.integers(3, 30))))
        pen.text((int(rng.integers(2, 20)), y), letters, fill=ink, font_size=float(rng.uniform(7, 16)))
    return np.asarray(page)


def _diagram(rng: Rng, h: int, w: int) -> Grey:
    page = Image.new("L", (w, h), int(rng.integers(0, 256)))
    pen = ImageDraw.Draw(page)
    for _ in range(rng.integers(1, 9)):
        x0, x1 = sorted(rng.integers(0, w, 2).tolist())
        y0, y1 = sorted(rng.integers(0, h, 2).tolist())
        fill = int(rng.integers(0, 256)) if rng.random() < 0.5 else None
        shape = rng.choice(["line", "ellipse", "rectangle"])
        if shape == "line":
            pen.line((x0, y0, x1, y1), fill=int(rng.integers(0, 256)), width=int(rng.integers(1, 6)))
        else:
            getattr(pen, shape)(
                (x0, y0, x1, y1), fill=fill, outline=int(rng.integers(0, 256)), width=int(rng.integers(1, 5))
            )
    return np.asarray(page)


def _discs(rng: Rng, h: int, w: int) -> Grey:
    """Overlapping discs of all sizes have the edges and the spectrum of photographs ("dead leaves")."""
    page = Image.new("L", (w, h))
    pen = ImageDraw.Draw(page)
    for _ in range(250):
        radius = min(3.0 / rng.uniform(0.02, 1) ** 0.9, 90)
        x, y = rng.uniform(0, w), rng.uniform(0, h)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(rng.integers(0, 256)))
    return np.clip(np.asarray(page) + rng.normal(0, rng.uniform(0, 20), (h, w)), 0, 255).astype(np.uint8)


def _oval(rng: Rng, h: int, w: int) -> Grey:
    """Bright skin, body of one grey, organs as ovals: how a slice of CT or MR looks from afar."""
    page = Image.new("L", (w, h))
    pen = ImageDraw.Draw(page)
    rx, ry = w * rng.uniform(0.3, 0.5), h * rng.uniform(0.25, 0.5)
    pen.ellipse(
        (w / 2 - rx, h / 2 - ry, w / 2 + rx, h / 2 + ry),
        fill=int(rng.integers(40, 200)),
        outline=255,
        width=int(rng.integers(1, 6)),
    )
    for _ in range(rng.integers(2, 12)):
        a, b = rng.uniform(0.05, 0.4, 2) * min(rx, ry)
        x, y = w / 2 + rng.uniform(-0.6, 0.6) * rx, h / 2 + rng.uniform(-0.6, 0.6) * ry
        pen.ellipse((x - a, y - b, x + a, y + b), fill=int(rng.integers(0, 256)))
    return np.asarray(page.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2))))


def _stretch(rng: Rng, values: npt.NDArray[np.float64]) -> Grey:
    values = (values - values.min()) / np.ptp(values)
    low, high = sorted(rng.uniform(0, 255, 2))
    return (low + (high - low) * values).astype(np.uint8)


def shuffled(rng: Rng, pixels: Grey) -> Grey:
    """Tiles of a chest film in another order, each perhaps turned: its texture without its anatomy."""
    n = int(rng.integers(2, 6))
    side = STORED_SIDE // n
    film = np.asarray(Image.fromarray(pixels).resize((side * n, side * n)))
    tiles = [film[side * i : side * (i + 1), side * j : side * (j + 1)] for i in range(n) for j in range(n)]
    order = rng.permutation(n * n)
    turned = [np.rot90(tiles[k], int(rng.integers(1 if n == 2 else 0, 4))) for k in order]
    return np.block([[turned[n * i + j] for j in range(n)] for i in range(n)])


def scrambled(rng: Rng, pixels: Grey) -> Grey:
    """A picture with the spectrum of a chest film and random phases."""
    amplitude = np.abs(np.fft.rfft2(pixels.astype(np.float64) - pixels.mean()))
    phase = np.angle(np.fft.rfft2(rng.normal(size=pixels.shape)))
    return _stretch(rng, np.fft.irfft2(amplitude * np.exp(1j * phase), pixels.shape))


def varied(rng: Rng, pixels: Grey, crop: float = 0.12) -> Grey:
    """The same picture as another source might have stored it."""
    image = Image.fromarray(pixels)
    grey = int(rng.choice([0, 255, int(np.median(pixels)), int(rng.integers(0, 256))]))
    if rng.random() < 0.7:
        image = image.rotate(
            float(np.clip(rng.normal(0, 5), -15, 15)),
            Image.Resampling.BILINEAR,
            fillcolor=grey if rng.random() < 0.5 else 0,
        )
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    w, h = image.size
    left, top, right, bottom = rng.uniform(0, crop, 4) * (rng.random(4) < 0.6)
    image = image.crop((int(left * w), int(top * h), math.ceil((1 - right) * w), math.ceil((1 - bottom) * h)))
    if rng.random() < 0.4:
        image = _toned(rng, image)
    if rng.random() < 0.25:
        _annotate(rng, image)
    if rng.random() < 0.3:
        w, h = image.size
        left, top, right, bottom = (rng.uniform(0, 0.25, 4) * (rng.random(4) < 0.5) * (w, h, w, h)).astype(int).tolist()
        framed = Image.new("L", (w + left + right, h + top + bottom), grey)
        framed.paste(image, (left, top))
        image = framed
    side = int(rng.integers(MIN_SIDE, STORED_SIDE))
    if rng.random() < 0.7:
        w, h = image.size
        scale = side / max(w, h)
        size = (max(8, round(w * scale * rng.uniform(0.8, 1.25))), max(8, round(h * scale)))
        image = image.resize(size, Image.Resampling(int(rng.choice([2, 3, 4, 5]))))  # BILINEAR, BICUBIC, BOX, HAMMING
    if rng.random() < 0.4:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(30, 96)))
        image = Image.open(buffer)
    return np.asarray(image)


def _toned(rng: Rng, image: Image.Image) -> Image.Image:
    """Another gamma and window; sometimes grain."""
    x = np.asarray(image, np.float32) / 255
    x = x ** math.exp(rng.normal(0, 0.35))
    low, high = np.percentile(x, (rng.uniform(0, 12), rng.uniform(88, 100)))
    x = np.clip((x - low) / max(high - low, 0.02), 0, 1) * rng.uniform(0.5, 1)
    if rng.random() < 0.3:
        x = x + rng.normal(0, rng.uniform(0, 0.08), x.shape)
    return Image.fromarray((np.clip(x, 0, 1) * 255).astype(np.uint8))


def _annotate(rng: Rng, image: Image.Image) -> None:
    """Letters, arrows and boxes, as figures and films carry them."""
    pen = ImageDraw.Draw(image)
    w, h = image.size
    for _ in range(rng.integers(1, 4)):
        x, y, grey = rng.uniform(0, w), rng.uniform(0, h), int(rng.choice([0, 255]))
        if rng.random() < 0.5:
            pen.text(
                (x, y),
                str(rng.choice(["L", "R", "A", "B", "AP", "PORTABLE", "1"])),
                fill=grey,
                font_size=float(rng.uniform(8, 24)),
            )
        else:
            pen.line(
                (x, y, x + rng.normal(0, w / 8), y + rng.normal(0, h / 8)), fill=grey, width=int(rng.integers(1, 5))
            )
