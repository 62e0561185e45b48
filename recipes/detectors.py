"""Trains the two image detectors of cxrzero.images.detectors and writes their weights.

    python recipes/detectors.py --data ../shared/data --out cxrzero/images/detectors.npz

Only train splits are read. Chest: kermany, nih, nih64, nih128, shenzhen, hannover, the chest films of roco, phantoms.
Not chest: the other figures of roco, drawn pictures, and chest films cut into tiles and shuffled or with their phases
scrambled, which look like the chest films' own source in everything but the anatomy. Every picture of either class is cropped,
framed, rotated, blurred and compressed at random, so that neither size nor sharpness nor a white frame tells the class.
One patient (article) in eight is held out, and the thresholds are chosen there.

About 25 minutes on one core. The captions of roco make mistakes about what is a chest film; `--doubtful FOLDER` writes the pictures
that a model trained on the others finds mislabelled.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import nn

from cxrzero.images.detectors import SIDE, thumbnail
from cxrzero.phantom import draw

Grey = npt.NDArray[np.uint8]
Rng = np.random.Generator

STORED_SIDE = 160  # pictures are kept at this longest side; what the detectors see is 48
HELD_OUT_IN = 8  # one patient in so many
# Of the roco figures not called chest films by their caption, those that a briefly trained model takes for one with these
# odds were, when looked at, nearly all chest films whose caption names only the finding. They are left out.
FIRST_EPOCHS = 2
MISLABELLED = 0.12
TARGET = 0.97  # specificity that every source must keep
CHANNELS = (1, 16, 32, 48, 64)
# Pictures of each source in one epoch: all hospitals about equally, roco (all kinds of views and printing) more.
EPOCH = {
    "kermany": 800, "nih": 700, "nih64": 400, "nih128": 1200, "shenzhen": 400, "hannover": 500, "roco chest": 900, "phantom": 100,
    "roco": 3200, "drawn": 500, "shuffled": 600, "scrambled": 300,
}  # fmt: skip
CHEST = ("kermany", "nih", "nih64", "nih128", "shenzhen", "hannover", "roco chest", "phantom")


@dataclass(frozen=True)
class Picture:
    """One training picture; `group` is what must not be split (a patient, an article)."""

    name: str
    source: str
    group: str
    pixels: Grey

    @property
    def held_out(self) -> bool:
        return int(hashlib.sha256(self.group.encode()).hexdigest(), 16) % HELD_OUT_IN == 0


def load(data: Path) -> Iterator[Picture]:
    """Every picture of the train splits, small."""
    for subset in ("kermany", "nih", "nih64", "nih128", "shenzhen", "hannover", "roco"):
        with open(data / subset / f"{subset}.csv", newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row.get("split", "train") != "train":
                    continue
                source = subset
                if subset == "roco":
                    source = "roco chest" if row["is_chest_xray"] == "1" else "roco"
                yield Picture(row["image"], source, group_of(subset, row), small(data / subset / row["image"]))


def group_of(subset: str, row: dict[str, str]) -> str:
    """The patient, or the nearest thing that the file name tells."""
    if subset == "kermany":
        return "kermany " + re.split(r"[_.]", Path(row["image"]).name)[0]
    if subset == "roco":
        return row["image"].split("_")[0]
    family = "nih" if subset.startswith("nih") else subset
    return f"{family} {row.get('patient_id') or row['image']}"


def small(path: Path) -> Grey:
    with Image.open(path) as image:
        image = image.convert("L")
        image.thumbnail((STORED_SIDE, STORED_SIDE), Image.Resampling.BOX)
        return np.asarray(image).copy()


# ---------------------------------------------------------------- pictures that are made up


def drawn(rng: Rng) -> Grey:
    """Something that is no radiograph: flat, noise, a gradient, a page of text, a diagram, discs, a slice of an oval body."""
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


# ---------------------------------------------------------------- variation of every picture


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
    side = int(rng.integers(SIDE, STORED_SIDE))
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


# ---------------------------------------------------------------- training


class Detectors(nn.Module):
    """What cxrzero.images.detectors computes, with batch normalisation still apart."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential()
        for i, o in zip(CHANNELS, CHANNELS[1:], strict=False):
            self.trunk.extend([nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()])
        n_features = CHANNELS[-1] * (SIDE // 2 ** (len(CHANNELS) - 1)) ** 2
        self.inverted = nn.Linear(n_features, 1, bias=False)
        self.not_chest = nn.Linear(n_features, 1)
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, SIDE, SIDE) → log odds of inverted and of not chest, (N,) each."""
        h = self.trunk(torch.cat([x, -x])[:, None])
        h = self.dropout(h.permute(0, 2, 3, 1).flatten(1))  # channels last, as NumPy has them
        upright, negative = h.chunk(2)
        return self.inverted(upright - negative)[:, 0], self.not_chest(upright + negative)[:, 0]


def epoch_of(rng: Rng, by_source: dict[str, list[Picture]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Freshly varied thumbnails (N, SIDE, SIDE) in random order, and 1 where they are no chest film."""
    films = [p for source in CHEST if source not in ("phantom",) for p in by_source[source]]
    made: dict[str, Callable[[], Grey]] = {
        "drawn": lambda: drawn(rng),
        "shuffled": lambda: shuffled(rng, films[rng.integers(len(films))].pixels),
        "scrambled": lambda: scrambled(rng, films[rng.integers(len(films))].pixels),
    }
    x, y = [], []
    for source, count in EPOCH.items():
        for _ in range(count):
            pixels = (
                made[source]() if source in made else by_source[source][rng.integers(len(by_source[source]))].pixels
            )
            seen = thumbnail(varied(rng, pixels))
            if seen.any():  # blank pictures never reach the network
                x.append(seen)
                y.append(float(source not in CHEST))
    order = rng.permutation(len(x))
    return torch.from_numpy(np.stack(x)[order]), torch.tensor(y)[order]


def train(by_source: dict[str, list[Picture]], epochs: int, seed: int) -> Detectors:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Detectors()
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.02)
    batch = 128
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=epochs * (sum(EPOCH.values()) // batch))
    for epoch in range(epochs):
        model.train()
        x, y = epoch_of(rng, by_source)
        losses = []
        for i in range(min(len(x), sum(EPOCH.values())) // batch):
            part = slice(batch * i, batch * (i + 1))
            inverted, not_chest = model(x[part])
            smooth = y[part] * 0.96 + 0.02
            chest = 1 - y[part]
            # The trunk sees both polarities, and the answer for the negative is the same with its sign turned.
            loss = nn.functional.binary_cross_entropy_with_logits(not_chest, smooth)
            loss = loss + 0.5 * (nn.functional.softplus(inverted) * chest).sum() / chest.sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}", flush=True)
    return model.eval()


@torch.no_grad()
def predict(model: Detectors, pictures: list[Picture]) -> npt.NDArray[np.float32]:
    """(2, N): probability of inverted and of not chest."""
    x = torch.from_numpy(np.stack([thumbnail(p.pixels) for p in pictures]))
    return torch.cat([torch.sigmoid(torch.stack(model(part))) for part in x.split(512)], 1).numpy()


def export(model: Detectors, path: Path) -> None:
    """Weights as float16, batch normalisation folded into the kernels."""
    weights = {}
    for i in range(len(CHANNELS) - 1):
        convolution, norm = model.trunk[3 * i], model.trunk[3 * i + 1]
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        kernel = (convolution.weight * gain[:, None, None, None]).permute(2, 3, 1, 0)  # row, column, in, out
        weights[f"kernel{i}"] = kernel.reshape(-1, CHANNELS[i + 1])
        weights[f"bias{i}"] = norm.bias - norm.running_mean * gain
    weights |= {"inverted": model.inverted.weight[0], "not_chest": model.not_chest.weight[0]}
    weights["not_chest_bias"] = model.not_chest.bias[0]
    arrays = {name: value.detach().numpy().astype(np.float16) for name, value in weights.items()}
    np.savez_compressed(path, allow_pickle=False, **arrays)


def report(model: Detectors, held_out: list[Picture]) -> None:
    """Per source of held-out films, the threshold that keeps its specificity at TARGET."""
    for source in EPOCH:
        pictures = [p for p in held_out if p.source == source]
        if not pictures:
            continue
        inverted, not_chest = predict(model, pictures)
        if source in CHEST:
            thresholds = np.quantile([inverted, not_chest], TARGET, axis=1)
            print(
                f"{source:12} n={len(pictures):5}  specificity {TARGET} at: inverted {thresholds[0]:.4f}  not chest {thresholds[1]:.4f}"
            )
        else:
            print(
                f"{source:12} n={len(pictures):5}  not chest: quantiles 5, 10, 20%: {np.quantile(not_chest, (0.05, 0.1, 0.2)).round(4)}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--doubtful", type=Path, help="list the pictures whose label the model doubts in this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    pictures = list(load(args.data))
    pictures += [
        Picture(f"phantom {s}", "phantom", f"phantom {s}", draw(s, size=STORED_SIDE).to_uint8()) for s in range(150)
    ]
    by_source: dict[str, list[Picture]] = {source: [] for source in EPOCH}
    for picture in pictures:
        if not picture.held_out:
            by_source[picture.source].append(picture)
    print({source: len(found) for source, found in by_source.items()}, flush=True)
    first = train(by_source, FIRST_EPOCHS, args.seed)
    by_source["roco"] = [
        p for p, n in zip(by_source["roco"], predict(first, by_source["roco"])[1], strict=True) if n >= MISLABELLED
    ]
    print(f"{len(by_source['roco'])} pictures of roco kept", flush=True)
    model = train(by_source, args.epochs, args.seed)
    report(model, [p for p in pictures if p.held_out])
    export(model, args.out)
    if args.doubtful:
        inverted, not_chest = predict(model, pictures)
        with args.doubtful.open("w", newline="") as file:
            table = csv.writer(file)
            for p, i, n in zip(pictures, inverted, not_chest, strict=True):
                table.writerow([p.source, p.name, p.held_out, f"{i:.4f}", f"{n:.4f}"])


if __name__ == "__main__":
    main()
