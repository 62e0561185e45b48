"""The supervised control of cxrzero-mini: the same image tower and films, trained on the labels without any text.

    python benchmarks/mini_control.py --data ../shared/data --out runs/control --epochs 40 [--val]

What the image-text model reaches should be read beside this: a head of one number for each label (binary cross entropy
over the labels that a film's source states), the same augmentation, optimiser, sampling, film sizes and averaging. It
writes `control.pt` (averaged weights), `scores.npz` (a score of every training film for every label, which the recipe
can take as a teacher's opinion) and a line of held-out AUROC an epoch. `--val` measures the validation splits at the
end, which is a look at them.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from cxrzero.stats.metrics import auroc
from cxrzero.train.data.augment import augment
from cxrzero.train.step.optimise import BETAS, make_average
from recipes.mini_pairs import held_out, read_split
from recipes.mini_start import MEAN, SIZE, STD
from recipes.mini_words import FINDINGS

STORED = 128  # pixels of a side in the cache
LABELS = (*FINDINGS, "child pneumonia", "child bacterial", "tuberculosis")
MIN_POSITIVES = 20  # positives of a validation split that count for the macro average
CHILDREN = 0.4  # many, and easy: they count less, as in recipes/mini_pairs.py
RAREST = 8.0


@dataclass(frozen=True)
class Films:
    """Films of every subset.

    Attributes:
        names: path below the data folder.
        pixels: (N, 128, 128) uint8.
        truth: (N, L) float32: 1, 0, or NaN where the source does not say.
        part: (N,) "train", "held" (patients of train kept out) or "val".
    """

    names: list[str]
    pixels: np.ndarray
    truth: np.ndarray
    part: np.ndarray


def load(data: Path, cache: Path) -> Films:
    """Decode every film once."""
    names, truths, parts = [], [], []
    for subset in ("nih128", "nih64", "nih", "kermany", "shenzhen"):
        for split in ("train", "val"):
            for row in read_split(data / subset / f"{subset}.csv", split):
                truth = np.full(len(LABELS), np.nan, np.float32)
                if subset.startswith("nih"):
                    truth[: len(FINDINGS)] = [row[label] == "1" for label in FINDINGS]
                elif subset == "kermany":
                    truth[len(FINDINGS)] = row["finding"] != "normal"
                    if row["finding"] != "normal":
                        truth[len(FINDINGS) + 1] = row["finding"].startswith("bacterial")
                else:
                    truth[-1] = row["finding"] != "normal"
                names.append(f"{subset}/{row['image']}")
                truths.append(truth)
                kept = held_out(row.get("patient_id") or row["image"])
                parts.append("val" if split == "val" else "held" if kept else "train")
    if not cache.exists():
        pixels = np.stack(
            [
                np.asarray(Image.open(data / name).convert("L").resize((STORED, STORED), Image.Resampling.BICUBIC))
                for name in names
            ]
        )
        np.save(cache, pixels)
    return Films(names, np.load(cache), np.stack(truths), np.array(parts))


def weights_of(films: Films, rows: np.ndarray) -> np.ndarray:
    """How often a film is drawn: by its rarest finding, as the recipe does."""
    truth = np.nan_to_num(films.truth[rows])
    adult = np.array([films.names[row].startswith("nih") for row in rows])
    counts = np.maximum(truth[adult][:, : len(FINDINGS)].sum(axis=0), 1)
    rarity = np.minimum(RAREST, np.sqrt(counts.max() / counts))
    weights = np.maximum(0.5, (truth[:, : len(FINDINGS)] * rarity).max(axis=1))
    weights[~adult] = np.array([CHILDREN if films.names[row].startswith("kermany") else 1.0 for row in rows[~adult]])
    return weights / weights.sum()


@torch.no_grad()
def score(model: nn.Module, pixels: np.ndarray, side: int) -> np.ndarray:
    """(N, L) logits."""
    model.eval()
    return np.concatenate(
        [forward(model, torch.from_numpy(p), side).numpy() for p in np.array_split(pixels, max(1, len(pixels) // 128))]
    )


def forward(model: nn.Module, pixels: torch.Tensor, side: int) -> torch.Tensor:
    values = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
    values = resized(values, side)[:, None]
    values = ((values - MEAN) / STD).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        return model(values).float()


def resized(pixels: torch.Tensor, side: int) -> torch.Tensor:
    if side == pixels.shape[-1]:
        return pixels
    return functional.interpolate(pixels[:, None], size=(side, side), mode="bilinear", antialias=True)[:, 0]


def macro(truth: np.ndarray, scores: np.ndarray, fewest: int) -> tuple[float, dict[str, float]]:
    found = {}
    for column, label in enumerate(LABELS):
        known = ~np.isnan(truth[:, column])
        asked, values = truth[known, column] == 1, scores[known, column]
        if asked.sum() >= fewest and (~asked).sum() >= fewest:
            found[label] = auroc(values.astype(np.float64), asked)
    adult = [value for label, value in found.items() if label in FINDINGS]
    return float(np.mean(adult)), found


def train(films: Films, args: argparse.Namespace) -> nn.Module:
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    model = timm.create_model("regnetx_004", num_classes=len(LABELS), drop_rate=0.2).to(
        memory_format=torch.channels_last
    )
    if args.trunk is not None:
        model.load_state_dict(load_file(args.trunk), strict=False)  # all but the head
    decays = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    optimiser = torch.optim.AdamW(
        [{"params": decays, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}],
        lr=args.lr,
        betas=BETAS,
        fused=True,
    )
    averaged = make_average(model, 0.998)
    rows = np.flatnonzero(films.part == "train")
    held = films.part == "held"
    weights = weights_of(films, rows)
    per_epoch = len(rows) // args.batch_size
    steps, step = args.epochs * per_epoch, 0
    generator = torch.Generator().manual_seed(args.seed)
    for epoch in range(args.epochs):
        model.train()
        started = time.monotonic()
        for _ in range(per_epoch):
            warmup = 0.05 * steps
            rate = args.lr * min(
                (step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * max(0, step - warmup) / (steps - warmup)))
            )
            for group in optimiser.param_groups:
                group["lr"] = rate
            chosen = rng.choice(rows, args.batch_size, p=weights)
            pixels = augment(resized(torch.from_numpy(films.pixels[chosen]).float() / 255, args.side), generator)
            truth = torch.from_numpy(films.truth[chosen])
            if args.mixup:
                share = float(rng.beta(args.mixup, args.mixup))
                order = torch.from_numpy(rng.permutation(args.batch_size))
                pixels = share * pixels + (1 - share) * pixels[order]
                truth = share * truth + (1 - share) * truth[order]  # NaN where either is unknown
            known = ~truth.isnan()
            losses = functional.binary_cross_entropy_with_logits(
                forward(model, pixels, args.side), truth.nan_to_num(), reduction="none"
            )
            loss = (losses * known).sum() / known.sum()
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            averaged.update_parameters(model)
            step += 1
        mean, found = macro(films.truth[held], score(averaged.module, films.pixels[held], args.side), 5)
        line = {
            "epoch": epoch + 1,
            "loss": round(loss.item(), 4),
            "held_macro": round(mean, 4),
            "seconds": round(time.monotonic() - started),
        }
        print(json.dumps(line | {k: round(v, 3) for k, v in found.items()}), flush=True)
        torch.save(averaged.module.state_dict(), args.out / "control.pt")
    return averaged.module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--side", type=int, default=SIZE, help="pixels of the films' sides")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--trunk", type=Path, help="weights to start from (recipes/mini_pretrain.py)")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--mixup", type=float, default=0.0, help="shape of the beta distribution; 0 = none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--val", action="store_true", help="measure the validation splits at the end")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    films = load(args.data, args.out / "pixels.npy")
    model = train(films, args)
    scores = score(model, films.pixels, args.side)
    np.savez(args.out / "scores.npz", names=np.array(films.names), scores=scores, labels=np.array(LABELS))
    if args.val:
        val = films.part == "val"
        adult = np.array([name.startswith("nih128") for name in films.names])
        print(json.dumps({"val": macro(films.truth[val & adult], scores[val & adult], MIN_POSITIVES)}))


if __name__ == "__main__":
    main()
