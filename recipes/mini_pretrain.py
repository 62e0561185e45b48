"""Trains cxrzero-mini's image trunk without any label or text: two views of a film should agree.

    python recipes/mini_pretrain.py --data ../shared/data --out runs/mini/trunk.safetensors [--epochs 10 --side 96]

VICReg (Bardes, Ponce, LeCun, ICLR 2022, equations 1 to 6, with its weights 25, 25, 1) over the training films of every
subset and hannover, which has no labels that the recipe uses. A view is a part of the film, changed as in training.
`recipes/mini_start.py --trunk` and `benchmarks/mini_control.py --trunk` take the result. Under torchrun the processes
share each batch.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from cxrzero.train.data.augment import augment
from cxrzero.train.distributed import World, join
from cxrzero.train.step.optimise import BETAS
from recipes.mini_pairs import read
from recipes.mini_start import MEAN, STD

SUBSETS = ("nih128", "nih64", "nih", "kermany", "shenzhen")
EXPANDED = 1024  # width of the expander
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0
MIN_PART = 0.6  # side of a view's part of the film, at least


def load(data: Path, side: int) -> np.ndarray:
    """(N, side, side) uint8: every film that may be trained on."""
    paths = [data / subset / row["image"] for subset in SUBSETS for row in read(data / subset / f"{subset}.csv")]
    with (data / "hannover" / "hannover.csv").open(encoding="utf-8", newline="") as file:
        paths += [data / "hannover" / row["image"] for row in csv.DictReader(file)]
    films = (Image.open(path).convert("L").resize((side, side), Image.Resampling.BICUBIC) for path in paths)
    return np.stack([np.asarray(film) for film in films])


def vicreg(a: Tensor, b: Tensor) -> Tensor:
    """Two views' expanded embeddings (B, D) each → loss."""
    loss = INVARIANCE * functional.mse_loss(a, b)
    for view in (a, b):
        centred = view - view.mean(dim=0)
        deviation = (centred.var(dim=0) + 1e-4).sqrt()
        covariance = centred.T @ centred / (len(view) - 1)
        off = covariance.pow(2).sum() - covariance.diagonal().pow(2).sum()
        loss = loss + VARIANCE * functional.relu(1 - deviation).mean() / 2 + COVARIANCE * off / view.shape[1] / 2
    return loss


def view(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """A part of each film (N, H, W) at full size, changed at random."""
    n = len(pixels)
    share = MIN_PART + (1 - MIN_PART) * torch.rand(n, generator=generator)
    shift = (1 - share)[:, None] * (2 * torch.rand(n, 2, generator=generator) - 1)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = share
    theta[:, :, 2] = shift
    grid = functional.affine_grid(theta, [n, 1, *pixels.shape[1:]], align_corners=False)
    return augment(functional.grid_sample(pixels[:, None], grid, align_corners=False)[:, 0], generator)


def pretrain(films: np.ndarray, epochs: int, batch_size: int, lr: float, seed: int, world: World) -> nn.Module:
    torch.manual_seed(seed)
    trunk = timm.create_model("regnetx_004", num_classes=0).to(memory_format=torch.channels_last)
    width = trunk.num_features
    expander = nn.Sequential(
        nn.Linear(width, EXPANDED), nn.BatchNorm1d(EXPANDED), nn.ReLU(),
        nn.Linear(EXPANDED, EXPANDED), nn.BatchNorm1d(EXPANDED), nn.ReLU(), nn.Linear(EXPANDED, EXPANDED),
    )  # fmt: skip
    parameters = [*trunk.parameters(), *expander.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=lr, betas=BETAS, weight_decay=0.05, fused=True)
    generator, rng = torch.Generator().manual_seed(seed * world.size + world.rank), np.random.default_rng(seed)
    per_epoch = len(films) // batch_size
    for step in range(epochs * per_epoch):
        if step % per_epoch == 0:
            order, started = rng.permutation(len(films)), time.monotonic()
        for group in optimiser.param_groups:
            group["lr"] = lr * min(1, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * step / (epochs * per_epoch)))
        at = step % per_epoch * batch_size
        pixels = torch.from_numpy(films[order[at : at + batch_size][world.part(batch_size)]]).float() / 255
        views = torch.cat([view(pixels, generator), view(pixels, generator)])
        values = ((views - MEAN) / STD)[:, None].expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            features = trunk(values)
        loss = vicreg(*expander(features.float()).chunk(2)) / world.size
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        world.sum_gradients(parameters)
        optimiser.step()
        if step % per_epoch == per_epoch - 1 and world.main:
            print(
                f"epoch {step // per_epoch + 1}: loss {loss.item():.3f}, {time.monotonic() - started:.0f} s", flush=True
            )
    return trunk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=192)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with join("cpu") as world:
        trunk = pretrain(load(args.data, args.side), args.epochs, args.batch_size, args.lr, args.seed, world)
        world.spread_buffers(trunk)
        if world.main:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: value.contiguous() for name, value in trunk.state_dict().items()}, args.out)


if __name__ == "__main__":
    main()
