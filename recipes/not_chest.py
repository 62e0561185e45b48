"""Fits the last layer of `maybe_not_chest_xray` again, on the features that recipes/detectors.py learned.

    python recipes/not_chest.py --data ../shared/data --weights cxrzero/images/detectors.npz

Films of other parts of the body, above all of the abdomen, were taken for the chest; here they weigh more than other
figures. Everything else in the file stays as it is, so `maybe_inverted` does not change at all. The same pictures are
held out as in recipes/detectors.py, and the threshold is chosen on them. This takes about 6 minutes on one core.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cxrzero.images import detectors
from cxrzero.images.detectors import thumbnail
from cxrzero.phantom import draw
from recipes.captions import ABDOMINAL, MAYBE_CHEST, RADIOGRAPH
from recipes.detector_pictures import STORED_SIDE, Rng, drawn, scrambled, shuffled, varied
from recipes.detector_sources import SUBSETS, Picture, load

# What each source weighs in all, and how many variations of each of its pictures are shown.
WEIGHT = {
    "kermany": 800, "nih": 700, "nih64": 400, "nih128": 1200, "nih_more": 500, "shenzhen": 400, "hannover": 500,
    "roco chest": 700, "lateral": 700, "phantom": 100,
    "roco": 2400, RADIOGRAPH: 1000, ABDOMINAL: 400, "drawn": 500, "shuffled": 600, "scrambled": 300,
}  # fmt: skip
VARIATIONS = {
    "kermany": 2, "nih": 4, "nih64": 2, "nih128": 1, "nih_more": 2, "shenzhen": 6, "hannover": 14, "roco chest": 32,
    "lateral": 80, "phantom": 8, "roco": 9, RADIOGRAPH: 20, ABDOMINAL: 80,
}  # fmt: skip
MADE = {"drawn": 3000, "shuffled": 4000, "scrambled": 2000}
OTHERS = ("roco", RADIOGRAPH, ABDOMINAL, *MADE)
SMOOTH = 0.02  # labels are this far from 0 and 1: some captions are wrong
PULL = 1e-5  # towards the layer that there was, per squared difference
NIH_FLAGGED = 0.002  # share of held-out NIH films that the threshold flags
BATCH = 512


def source_of(picture: Picture) -> str:
    """The key of `WEIGHT`; "" for a figure that may be a chest film by its caption."""
    if picture.kind == MAYBE_CHEST:
        return ""
    return picture.kind if picture.kind in (RADIOGRAPH, ABDOMINAL) else picture.source


def shown(rng: Rng, pictures: list[Picture]) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """(source, thumbnail) of everything that is learned from."""
    for picture in pictures:
        for _ in range(VARIATIONS[source_of(picture)]):
            yield source_of(picture), thumbnail(varied(rng, picture.pixels))
    films = [picture.pixels for picture in pictures if source_of(picture) not in OTHERS]
    for source, count in MADE.items():
        for _ in range(count):
            film = films[rng.integers(len(films))]
            made = drawn(rng) if source == "drawn" else (shuffled if source == "shuffled" else scrambled)(rng, film)
            yield source, thumbnail(varied(rng, made))


def features(thumbnails: npt.NDArray[np.float32]) -> torch.Tensor:
    """(N, SIDE, SIDE) → (N, F): what "not chest" is a linear function of."""
    network = detectors._network()
    return torch.from_numpy(network.features(thumbnails) + network.features(-thumbnails))


def fit(x: torch.Tensor, sources: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted logistic regression → weights (F,) and bias (1,)."""
    counts = Counter(sources)
    weight = torch.tensor([WEIGHT[source] / counts[source] for source in sources])
    target = torch.tensor([1 - SMOOTH if source in OTHERS else SMOOTH for source in sources])
    start = torch.from_numpy(detectors._network().not_chest.copy())
    layer, bias = (
        start.clone().requires_grad_(),
        torch.tensor([detectors._network().not_chest_bias], requires_grad=True),
    )
    optimiser = torch.optim.LBFGS([layer, bias], max_iter=60, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        each = nn.functional.binary_cross_entropy_with_logits(x @ layer + bias, target, reduction="none")
        total = (weight * each).sum() / weight.sum() + PULL * ((layer - start) ** 2).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    print(f"loss {float(optimiser.step(loss)):.4f}", flush=True)
    return layer.detach(), bias.detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="rewritten; what it had is where the fit starts")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    pictures = [picture for picture in load(args.data, (*SUBSETS, "nih_more")) if source_of(picture)]
    pictures += [
        Picture(f"phantom {s}", "phantom", f"phantom {s}", draw(s, size=STORED_SIDE).to_uint8()) for s in range(150)
    ]
    seen = [picture for picture in pictures if not picture.held_out]
    print(Counter(map(source_of, seen)), flush=True)
    x, sources = [], []
    batch: list[npt.NDArray[np.float32]] = []
    for source, picture in shown(np.random.default_rng(args.seed), seen):
        if picture.any():  # blank pictures never reach the network
            sources.append(source)
            batch.append(picture)
        if len(batch) == BATCH:
            x.append(features(np.stack(batch)))
            batch = []
    x += [features(np.stack(batch))] if batch else []
    layer, bias = fit(torch.cat(x), sources)
    held_out = [picture for picture in pictures if picture.held_out]
    scores = torch.sigmoid(features(np.stack([thumbnail(p.pixels) for p in held_out])) @ layer + bias).numpy()
    named = np.array([source_of(picture) for picture in held_out])
    nih = np.char.startswith(named, "nih")
    print(
        f"{NIH_FLAGGED} of {nih.sum()} held-out NIH films score above {np.quantile(scores[nih], 1 - NIH_FLAGGED):.3f}"
    )
    with np.load(args.weights, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["not_chest"] = layer.numpy().astype(np.float16)
    arrays["not_chest_bias"] = bias.numpy()[0].astype(np.float16)
    np.savez_compressed(args.weights, allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
