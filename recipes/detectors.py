"""Trains the two image detectors of cxrzero.images.detectors and writes their weights.

    python recipes/detectors.py --data ../shared/data --out cxrzero/images/detectors.npz

Only train splits are read. "Chest" is kermany, nih, nih64, nih128, shenzhen, hannover, the chest films of roco, and
phantoms. "Not chest" is the other figures of roco, drawn pictures, and chest films that were cut into tiles and
shuffled, or whose phases were scrambled. The last two look like their source in everything but the anatomy. Every
picture of either class is cropped, framed, rotated, blurred and compressed at random, so that size, sharpness or a
white frame do not tell the class.
One patient (article) in eight is held out, and the thresholds are chosen there. Then recipes/not_chest.py fits the last
layer of "not chest" again.

This takes about 10 minutes on one core. `--scores FILE` lists what the model says of every picture; look at the most
surprising ones.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cxrzero.images.detectors import SIDE, thumbnail
from cxrzero.phantom import draw
from recipes.detector_pictures import STORED_SIDE, Grey, Rng, drawn, scrambled, shuffled, varied
from recipes.detector_sources import Picture, load

# Of the roco figures that their captions do not call chest films, those that a briefly trained model scores below this
# were, when looked at, nearly all chest films after all (the caption names only the finding). They are left out.
FIRST_EPOCHS = 2
MISLABELLED = 0.12
TARGET = 0.97  # specificity that every source must keep
CHANNELS = (1, 16, 32, 48, 64)
# Pictures of each source in one epoch: all hospitals about equally, roco (all kinds of views and printing) more.
EPOCH = {
    "kermany": 800, "nih": 700, "nih64": 400, "nih128": 1200, "shenzhen": 400, "hannover": 500, "roco chest": 700,
    "lateral": 700, "phantom": 100,
    "roco": 3200, "drawn": 500, "shuffled": 600, "scrambled": 300,
}  # fmt: skip
CHEST = ("lateral", "kermany", "nih", "nih64", "nih128", "shenzhen", "hannover", "roco chest", "phantom")


class Detectors(nn.Module):
    """What cxrzero.images.detectors computes, with batch normalisation still apart."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential()
        for i, o in itertools.pairwise(CHANNELS):
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
            at = " ".join(f"{t:.4f}" for t in np.quantile([inverted, not_chest], TARGET, axis=1))
            print(f"{source:12} n={len(pictures):5}  specificity {TARGET} of inverted, not chest at {at}")
        else:
            at = " ".join(f"{t:.4f}" for t in np.quantile(not_chest, (0.05, 0.1, 0.2)))
            print(f"{source:12} n={len(pictures):5}  not chest: quantiles 0.05, 0.1, 0.2 are {at}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scores", type=Path, help="write both scores of every picture to this CSV")
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
    if args.scores:
        inverted, not_chest = predict(model, pictures)
        with args.scores.open("w", newline="") as file:
            table = csv.writer(file)
            for p, i, n in zip(pictures, inverted, not_chest, strict=True):
                table.writerow([p.source, p.name, p.held_out, f"{i:.4f}", f"{n:.4f}"])


if __name__ == "__main__":
    main()
