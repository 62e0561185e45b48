"""Trains a teacher of cxrzero-mini: an ImageNet trunk that learns from the labels alone, a number for each of them.

    python recipes/mini_teacher.py --data ../shared/data --wheels runs/mini/wheels --out runs/mini/teacher-0

What the image-text model reaches should be read beside this: the same films, augmentation and sampling, and a head
instead of texts. The loss is binary cross entropy over the labels that a film's source states. It writes, after every
epoch, `state.pt` (from which the same command goes on if it was interrupted) and a line of held-out AUROC; at the end
`teacher.safetensors` (averaged weights of the trunk, batch norms folded: the student's start) and `scores.npz` (the
log odds of every film that may be trained on, for every label), which recipes/mini_pairs.py takes as an opinion.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel

from cxrzero.stats.metrics import auroc
from cxrzero.train.data.augment import augment
from cxrzero.train.model import checkpoint
from cxrzero.train.step.optimise import BETAS, cosine_rate, make_average
from recipes.mini_films import LABELS, Film, films, pixels
from recipes.mini_trunk import imagenet_trunk, normalised
from recipes.mini_words import FINDINGS

NORMAL = 0.5  # how often a film without finding is drawn, against 1 for one with the most common finding
CHILDREN = 0.35  # many, and easy: they count less, as in recipes/mini_pairs.py
TUBERCULOSIS = 3.0  # Shenzhen's films are few
RAREST = 8.0
WARMUP = 0.05  # of the steps
FEWEST = 5  # positives of the held-out films that a finding needs to count for the average
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Lesson:
    """What is learned from.

    Attributes:
        films: every film that may be trained on, those held out too.
        pixels: (N, side, side) uint8.
        truth: (N, L) float32: 1, 0, or NaN where the source does not say.
    """

    films: Sequence[Film]
    pixels: npt.NDArray[np.uint8]
    truth: Floats

    @property
    def trained(self) -> npt.NDArray[np.int64]:
        """Rows that are learned from: those of "train" whose source says something."""
        stated = ~np.isnan(self.truth).all(axis=1)
        return np.flatnonzero(stated & np.array([film.part == "train" for film in self.films]))

    @property
    def held(self) -> npt.NDArray[np.int64]:
        return np.flatnonzero([film.part == "held" for film in self.films])


def load(data: Path, side: int) -> Lesson:
    """Decode every film that may be trained on; those of val and of the boxes are not looked at."""
    known = [film for film in films(data) if film.part in ("train", "held")]
    return Lesson(known, pixels(known, data, side), np.stack([truth_of(film) for film in known]))


def truth_of(film: Film) -> Floats:
    """(L,) float32."""
    return np.array([film.labels.get(label, math.nan) for label in LABELS], np.float32)


def draw_weights(lesson: Lesson) -> npt.NDArray[np.float64]:
    """(R,) how often each trained film is drawn: by its rarest finding, as the recipe does; their sum is 1."""
    rows = lesson.trained
    truth = np.nan_to_num(lesson.truth[rows][:, : len(FINDINGS)])
    counts = np.maximum(truth.sum(axis=0), 1)
    rarity = np.minimum(RAREST, np.sqrt(counts.max() / counts))
    weights = np.maximum(NORMAL, (truth * rarity).max(axis=1)).astype(np.float64)
    sources = np.array([lesson.films[row].source for row in rows])
    weights[sources == "kermany"] = CHILDREN
    weights[sources == "shenzhen"] = TUBERCULOSIS
    return weights / weights.sum()


class Network(nn.Module):
    """A trunk and a number for each label; (N, side, side) float32 in [0, 1] → (N, L) log odds."""

    def __init__(self, trunk: nn.Module, drop: float = 0.2) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Sequential(nn.Dropout(drop), nn.Linear(trunk.num_features, len(LABELS)))

    def forward(self, films: Tensor) -> Tensor:
        logits: Tensor = self.head(self.trunk(normalised(films)))
        return logits.float()


def blend(films: Tensor, truth: Tensor, shape: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al. 2018); a truth is unknown where either film's is."""
    share = float(rng.beta(shape, shape))
    order = torch.from_numpy(rng.permutation(len(films)))
    return share * films + (1 - share) * films[order], share * truth + (1 - share) * truth[order]


def known_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross entropy over what is known, scalar."""
    known = ~truth.isnan()
    losses = functional.binary_cross_entropy_with_logits(logits, truth.nan_to_num(), reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)


@torch.inference_mode()
def score(network: nn.Module, films: npt.NDArray[np.uint8], device: torch.device) -> Floats:
    """(N, L) log odds."""
    network.eval()
    parts = (torch.from_numpy(films[at : at + 64]).to(device).float() / 255 for at in range(0, len(films), 64))
    return np.concatenate([network(part).cpu().numpy() for part in parts])


def macro(truth: Floats, scores: Floats, fewest: int = FEWEST) -> tuple[float, dict[str, float]]:
    """The mean AUROC of ChestX-ray14's findings with at least `fewest` positives, and every label's."""
    found = {}
    for column, label in enumerate(LABELS):
        known = ~np.isnan(truth[:, column])
        positive = truth[known, column] == 1
        if positive.sum() >= fewest and (~positive).sum() >= fewest:
            found[label] = auroc(scores[known, column].astype(np.float64), positive)
    return float(np.mean([value for label, value in found.items() if label in FINDINGS])), found


class Course:
    """One training, from its start or from where it was interrupted."""

    def __init__(self, lesson: Lesson, network: Network, args: argparse.Namespace) -> None:
        self._lesson, self._args = lesson, args
        self._device = torch.device(args.device)
        self._network = network.to(self._device, memory_format=torch.channels_last)
        averaged = make_average(self._network, args.ema_decay)
        assert averaged is not None
        self._averaged: AveragedModel = averaged
        decays = [p for p in self._network.parameters() if p.ndim >= 2]
        rest = [p for p in self._network.parameters() if p.ndim < 2]
        groups = [{"params": decays, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
        self._optimiser = AdamW(groups, lr=args.lr, betas=BETAS, fused=True)
        self._saved = args.out / "state.pt"
        self._done = 0

    def run(self) -> nn.Module:
        """Train to the end; the averaged network."""
        self._restore()
        for epoch in range(self._done, self._args.epochs):
            started, loss = time.monotonic(), math.nan
            self._network.train()
            for step, rows in self._batches(epoch):
                loss = self._step(step, rows)
            self._done = epoch + 1
            self._report(loss, time.monotonic() - started)
            self._save()
        network: nn.Module = self._averaged.module
        return network

    @property
    def _steps_per_epoch(self) -> int:
        return len(self._lesson.trained) // int(self._args.batch_size)

    def _batches(self, epoch: int) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        rng = np.random.default_rng((self._args.seed, epoch))
        rows, weights = self._lesson.trained, draw_weights(self._lesson)
        for step in range(self._steps_per_epoch):
            yield epoch * self._steps_per_epoch + step, rng.choice(rows, self._args.batch_size, p=weights)

    def _step(self, step: int, rows: npt.NDArray[np.int64]) -> float:
        args = self._args
        seed = args.seed * 1_000_003 + step
        torch.manual_seed(seed)
        generator = torch.Generator(self._device).manual_seed(seed)
        rate = cosine_rate(step, args.epochs * self._steps_per_epoch, args.lr, WARMUP)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        drawn = torch.from_numpy(self._lesson.pixels[rows]).to(self._device).float() / 255
        films, truth = augment(drawn, generator), torch.from_numpy(self._lesson.truth[rows]).to(self._device)
        if args.mixup:
            films, truth = blend(films, truth, args.mixup, np.random.default_rng(seed))
        loss = known_loss(self._network(films), truth)
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimiser.step()
        self._averaged.update_parameters(self._network)
        return loss.item()

    def _report(self, loss: float, seconds: float) -> None:
        held = self._lesson.held
        scores = score(self._averaged.module, self._lesson.pixels[held], self._device)
        mean, found = macro(self._lesson.truth[held], scores)
        line = {"epoch": self._done, "loss": round(loss, 4), "held_macro": round(mean, 4), "seconds": round(seconds)}
        text = json.dumps(line | {label: round(value, 3) for label, value in found.items()})
        print(text, flush=True)
        with (self._args.out / "held.jsonl").open("a", encoding="utf-8") as file:
            file.write(text + "\n")

    def _save(self) -> None:
        state = {
            "network": self._network.state_dict(),
            "averaged": self._averaged.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "done": self._done,
        }
        checkpoint.save(self._saved, state)

    def _restore(self) -> None:
        if not self._saved.exists():
            return
        state = checkpoint.load(self._saved)
        self._network.load_state_dict(state["network"])
        self._averaged.load_state_dict(state["averaged"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._done = int(state["done"])
        print(f"going on after epoch {self._done}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--wheels", type=Path, required=True, help="folder with the trunk's package")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trunk", default="efficientnet_lite0")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--side", type=int, default=128, help="pixels of the films' sides")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--ema-decay", type=float, default=0.998)
    parser.add_argument("--mixup", type=float, default=0.2, help="shape of the beta distribution; 0 = none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    lesson = load(args.data, args.side)
    network = Network(imagenet_trunk(args.trunk, args.wheels))
    trained = Course(lesson, network, args).run()
    names = np.array([film.name for film in lesson.films])
    scores = score(trained, lesson.pixels, torch.device(args.device))
    np.savez(args.out / "scores.npz", names=names, scores=scores, labels=np.array(LABELS))
    weights = {name: value.contiguous().cpu() for name, value in trained.trunk.state_dict().items()}
    save_file(weights, args.out / "teacher.safetensors")


if __name__ == "__main__":
    main()
