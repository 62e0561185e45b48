"""A teacher of the bundled model, asked about every film: what the labels alone reach, beside the image-text model.

    python benchmarks/mini_teacher.py --data ../shared/data --wheels runs/mini/wheels --teacher runs/mini/teacher-0
        --side 128 --out runs/mini/teacher-0/all

recipes/mini_teacher.py scores only the films that may be trained on. This reads the averaged network of its last epoch
(`state.pt`), and writes `scores.npz` for `benchmarks/mini_auroc.py --beside`, of the validation splits too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from benchmarks.mini.subsets import to_score
from recipes.mini_films import LABELS, pixels
from recipes.mini_teacher import Network, score
from recipes.mini_trunk import imagenet_trunk


def averaged(network: Network, folder: Path) -> Network:
    """The network with the averaged weights of a teacher's last epoch."""
    saved = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)["averaged"]
    prefix = "module."  # of torch's AveragedModel, which also counts its updates
    network.load_state_dict({key.removeprefix(prefix): value for key, value in saved.items() if key.startswith(prefix)})
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--wheels", type=Path, required=True, help="folder with the trunk's package")
    parser.add_argument("--teacher", type=Path, required=True, help="folder of a run of recipes/mini_teacher.py")
    parser.add_argument("--trunk", default="efficientnet_lite0")
    parser.add_argument("--side", type=int, default=128, help="pixels of the films' sides")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    network = averaged(Network(imagenet_trunk(args.trunk, args.wheels)), args.teacher)
    listed = to_score(args.data)
    scores = score(network, pixels(listed, args.data, args.side), torch.device("cpu"))
    names = np.array([film.name for film in listed])
    np.savez(args.out / "scores.npz", names=names, scores=scores, labels=np.array(LABELS))


if __name__ == "__main__":
    main()
