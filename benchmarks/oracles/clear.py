"""CLEAR by its authors' code with random weights: the checkpoint as they publish it, and what they make of films.

    python benchmarks/oracles/clear.py --code CHECKOUT --films FOLDER --out FOLDER [--tiny]

CHECKOUT is https://github.com/peterhan91/CLEAR at da2299a; beside it lies https://github.com/facebookresearch/dinov2 at
b8931f7, in a folder whose name ends in dinov2, which the authors have torch.hub fetch. Needs h5py, opencv-python and
tqdm beside cxrzero's own extras. Their code is run as it is, but that torch.hub gives that checkout's network without
weights, and that `--tiny` builds a small one.

Writes into --out: best_model.pt, and expected.npz, see benchmarks/published_models.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import Compose, InterpolationMode, Normalize, Resize

from tests.support.checkpoints import random_state
from tests.support.vocabulary import FINDINGS

LABELS = FINDINGS[:10]
PROMPTS = (*LABELS, *(f"no {label}" for label in LABELS))
WITH_FAULTS = 8  # films that the costly faults are computed on: those that are not square, which a crop would change
TINY = {"embed_dim": 48, "transformer_width": 128, "transformer_heads": 2, "transformer_layers": 2, "vision_layers": 1}
TINY_TRUNK = {"embed_dim": 128, "depth": 3, "num_heads": 2}


def authors(code: Path, tiny: bool) -> Any:
    """Their package, whose torch.hub gives DINOv2 from its checkout."""
    (checkout,) = code.resolve().parent.glob("*dinov2")
    sys.path[:0] = [str(code / "src"), str(checkout)]
    from clear import zero_shot
    from dinov2.hub import backbones
    from dinov2.models.vision_transformer import DinoVisionTransformer

    def load(repository: str, name: str, pretrained: bool) -> Any:
        if not tiny:
            return getattr(backbones, name)(pretrained=False)
        return DinoVisionTransformer(img_size=518, patch_size=14, init_values=1.0, block_chunks=0, **TINY_TRUNK)

    torch.hub.load = load
    if tiny:
        full = zero_shot._default_model_params
        zero_shot._default_model_params = lambda context_length: full(context_length) | TINY
    return zero_shot


def build(zero_shot: Any, path: Path) -> Any:
    """Their model with random weights, read by their own code from the file as they publish it."""
    given: dict[str, Any] = {"use_dinov2": True, "device": torch.device("cpu")}
    names = {}

    def catch(self: Any, state: Any, strict: bool) -> None:
        names.update(self.state_dict())

    torch.save({}, path)
    original, zero_shot.CLIP.load_state_dict = zero_shot.CLIP.load_state_dict, catch
    zero_shot.load_clip(path, **given)
    zero_shot.CLIP.load_state_dict = original
    torch.save(random_state(names), path)
    return zero_shot.load_clip(path, **given)


def pictures(zero_shot: Any, code: Path, films: list[Path], work: Path, steps: Any = None) -> torch.Tensor:
    """(N, 3, 448, 448) through their HDF5 file and the transform of zero_shot.make."""
    from clear import data_processing

    store = work / "films.h5"
    data_processing.img_to_hdf5(films, str(store), resolution=448)
    transform = steps or Compose(
        [Normalize((101.48761,) * 3, (83.43944,) * 3), Resize(448, interpolation=InterpolationMode.BICUBIC)]
    )
    dataset = zero_shot.CXRTestDataset(store, transform=transform)
    values = torch.stack([dataset[place]["img"] for place in range(len(dataset))])
    dataset.close()
    store.unlink()
    return values


def embedded(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """(N, D) of length 1 by their `encode_image`, film by film."""
    rows = [model.encode_image(one[None]) for one in pixels]
    return unit(torch.cat(rows))


def images(model: Any, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Embeddings as `encode_image` gives them, by two faults of what it reads off DINOv2, and of all patches."""
    rows: dict[str, list[torch.Tensor]] = {"pooling": [], "norm": [], "patches": []}
    for one in pixels:
        tokens = model.visual.base.forward_features(one[None])
        rows["pooling"].append(model.visual.projection(tokens["x_norm_patchtokens"].mean(dim=1)))
        rows["norm"].append(model.visual.projection(tokens["x_prenorm"][:, 0]))
        rows["patches"].append(model.visual.projection(tokens["x_norm_patchtokens"]))
    found = {name: unit(torch.cat(each)) for name, each in rows.items()}
    return found | {"right": embedded(model, pixels)}


def placed(scores: torch.Tensor, chosen: list[int], count: int) -> torch.Tensor:
    """(count, P): the scores of the chosen films in their rows, NaN in those of the others."""
    rows = torch.full((count, scores.shape[1]), torch.nan)
    rows[chosen] = scores
    return rows


def unit(rows: torch.Tensor) -> torch.Tensor:
    return rows / rows.norm(dim=-1, keepdim=True)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", type=Path, required=True)
    parser.add_argument("--films", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    zero_shot = authors(given.code, given.tiny)
    model = build(zero_shot, given.out / "best_model.pt")
    films = sorted(given.films.iterdir())
    pixels = pictures(zero_shot, given.code, films, given.out)
    found = images(model, pixels)
    texts = zero_shot.zeroshot_classifier(PROMPTS, ["{}"], model).T
    probabilities = score(zero_shot, model, found["right"])
    faults = {name: found[name] @ texts.T for name in ("pooling", "norm")}
    chosen = [place for place, film in enumerate(films) if len(set(Image.open(film).size)) == 2][:WITH_FAULTS]
    some = [films[place] for place in chosen]
    squashed = Compose([Normalize((0.48145466,) * 3, (0.26862954,) * 3), lambda x: x / 255])
    wrong = {"scale": pictures(zero_shot, given.code, some, given.out, squashed), "crop": cropped(some)}
    for name, values in wrong.items():
        faults[name] = placed(embedded(model, values) @ texts.T, chosen, len(films))
    model.visual.base.interpolate_offset = 0.0
    faults["places"] = placed(embedded(model, pixels[chosen]) @ texts.T, chosen, len(films))
    faults["token"] = found["right"] @ last_word(model).T
    # The activation of the text tower, last: it stays wrong.
    for block in model.transformer.resblocks:
        block.mlp.gelu = torch.nn.GELU()
    faults["activation"] = found["right"] @ zero_shot.zeroshot_classifier(PROMPTS, ["{}"], model)
    np.savez_compressed(
        given.out / "expected.npz",
        pixel_values=pixels.numpy(),
        image_embeds=found["right"].numpy(),
        text_embeds=texts.numpy(),
        prompts=PROMPTS,
        labels=LABELS,
        probabilities=probabilities,
        patch_scores=found["patches"][0] @ texts[0],
        **{f"fault.{name}": scores.numpy() for name, scores in faults.items()},
    )


def score(zero_shot: Any, model: Any, embeds: torch.Tensor) -> Any:
    """(N, L) by their run_softmax_eval, which would embed every film twice: it gets what `encode_image` gave."""
    original, model.encode_image = model.encode_image, lambda _: embeds
    probabilities = zero_shot.run_softmax_eval(model, [{"img": torch.zeros(1)}], LABELS, ("{}", "no {}"))
    model.encode_image = original
    return probabilities


def cropped(films: list[Path]) -> torch.Tensor:
    """The middle cut out, as CLIP's own transform does, where CLEAR pads."""
    from torchvision.transforms import CenterCrop

    made = []
    for film in films:
        square = CenterCrop(448)(Resize(448, InterpolationMode.LANCZOS)(Image.open(film).convert("L")))
        values = torch.from_numpy(np.asarray(square, np.float32).copy()).repeat(3, 1, 1)
        made.append(Normalize((101.48761,) * 3, (83.43944,) * 3)(values))
    return torch.stack(made)


def last_word(model: Any) -> torch.Tensor:
    """Texts read off the token before their end, where the authors take the end."""
    from clear import clip

    tokens = clip.tokenize(PROMPTS)
    hidden = model.token_embedding(tokens) + model.positional_embedding
    hidden = model.ln_final(model.transformer(hidden.permute(1, 0, 2)).permute(1, 0, 2))
    return unit(hidden[torch.arange(len(tokens)), tokens.argmax(dim=-1) - 1] @ model.text_projection)


if __name__ == "__main__":
    main()
