"""Makes of a trained student one more teacher and the start of the next student.

    python recipes/mini_again.py --data ../shared/data --start runs/mini/start --run runs/mini/first
        --teacher runs/mini/teacher-0 runs/mini/teacher-1 --out runs/mini/teacher-2

A student that learns from the mean of its teachers and the labels comes to know more than they do, and a second one
learns from all of them (Furlanello et al., Born-Again Neural Networks, ICML 2018). It writes what
recipes/mini_teacher.py writes: `scores.npz`, the log odds of every film that may be trained on, for every label; and
`start/`, the folder for `cxrzero train --init` with the student's weights before --refit. Its opinion is read from its
features by ridge regression on half label, half teachers.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor

from cxrzero.convert import load_model
from cxrzero.train.model import checkpoint
from recipes.mini_films import LABELS, Film, films, pixels
from recipes.mini_pairs import Teacher
from recipes.mini_teacher import truth_of
from recipes.mini_trunk import normalised

RIDGE = 0.1  # of the mean variance of a feature
AVERAGED = "module."  # before the names of averaged weights
Floats = npt.NDArray[np.float64]


def averaged_weights(run: Path) -> dict[str, Tensor]:
    """The state of a run's model, averaged over its steps, as its last step left it."""
    averaged = checkpoint.load(run / "checkpoints" / "last.pt")["averaged"]
    return {name.removeprefix(AVERAGED): value for name, value in averaged.items() if name.startswith(AVERAGED)}


def write_start(start: Path, weights: dict[str, Tensor], out: Path) -> None:
    """The folder that the run began with, with other weights."""
    shutil.copytree(start, out, dirs_exist_ok=True)
    save_file({name: value.contiguous() for name, value in weights.items()}, out / "open_clip_model.safetensors")


@torch.inference_mode()
def features(start: Path, known: list[Film], data: Path, side: int) -> Floats:
    """(N, F) what the projection is given of each film."""
    trunk = load_model(start).model.visual.trunk.eval()
    parts = []
    for at in range(0, len(known), 1024):
        films_now = torch.from_numpy(pixels(known[at : at + 1024], data, side))
        parts += [trunk(normalised(part.float() / 255)).numpy() for part in films_now.split(64)]
    return np.concatenate(parts).astype(np.float64)


def opinion(seen: Floats, truth: Floats, theirs: Floats, trained: npt.NDArray[np.bool_]) -> Floats:
    """(N, L) log odds, with the mean and spread of the teachers' over the films that are trained on.

    Args:
        seen: (N, F) features.
        truth: (N, L) 1, 0, or NaN where the source does not say.
        theirs: (N, L) the teachers' probabilities.
        trained: (N,) which films are learned from.
    """
    target = np.where(np.isnan(truth), theirs, (truth + theirs) / 2)[trained]
    x = seen - seen[trained].mean(axis=0)
    covariance = x[trained].T @ x[trained] / trained.sum()
    ridge = RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    read = x @ np.linalg.solve(covariance + ridge, x[trained].T @ (target - target.mean(axis=0)) / trained.sum())
    odds = np.log(theirs) - np.log1p(-theirs)
    found: Floats = read / read[trained].std(axis=0) * odds[trained].std(axis=0) + odds[trained].mean(axis=0)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True, help="folder that the student began with")
    parser.add_argument("--run", type=Path, required=True, help="the student's run folder")
    parser.add_argument("--teacher", type=Path, nargs="+", required=True, help="folders that it learned from")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--side", type=int, default=224, help="pixels of the films' sides")
    args = parser.parse_args()
    known = [film for film in films(args.data) if film.part in ("train", "held")]
    write_start(args.start, averaged_weights(args.run), args.out / "start")
    teacher = Teacher(args.teacher, known)
    theirs = np.array([[teacher(film)[label] for label in LABELS] for film in known])
    truth = np.stack([truth_of(film) for film in known]).astype(np.float64)
    trained = np.array([film.part == "train" for film in known])
    scores = opinion(features(args.out / "start", known, args.data, args.side), truth, theirs, trained)
    names = np.array([film.name for film in known])
    np.savez(args.out / "scores.npz", names=names, scores=scores.astype(np.float32), labels=np.array(LABELS))


if __name__ == "__main__":
    main()
