"""CheXficient by its authors' code with random weights: the checkpoint as they publish it, and what they make of films.

    python benchmarks/oracles/chexficient.py --code CHECKOUT --films FOLDER --out FOLDER [--tiny]

CHECKOUT is https://github.com/cwangrun/CheXficient at 93b55e9. Needs transformers 4.52.4, the authors' version, and
scikit-learn beside cxrzero's own extras. Their code is run as it is, but that BERT, its vocabulary and DINOv2 are built
with random weights where it would fetch them, and that `--tiny` builds small ones.

Writes into --out: pytorch_model.pth, vocab.txt, and expected.npz, see benchmarks/published_models.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision.transforms as transforms
import transformers
from PIL import Image

from tests.support.checkpoints import random_state
from tests.support.vocabulary import FINDINGS, wordpieces

LABELS = tuple(finding.capitalize() for finding in FINDINGS[:10])  # the authors ask "Pleural Effusion" and the like
PROMPTS = (*LABELS, *(f"no {label}" for label in LABELS))
WITH_FAULTS = 8  # films that the costly faults are computed on: those that are not square, which a crop would change
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
FULL: dict[str, Any] = {"words": 28996, "size": 378, "bert": {}, "trunk": None, "proj_dim": 512}
TINY: dict[str, Any] = {
    "words": 200,
    "size": 112,
    "bert": {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 256},
    "trunk": {"embed_dim": 128, "depth": 3, "num_heads": 2},
    "proj_dim": 48,
}


def authors(code: Path, sizes: dict[str, Any], work: Path) -> Any:
    """Their modules, with BERT and DINOv2 of these sizes where they would fetch them.

    The vocabulary lies in a folder as it does in the repository of Bio_ClinicalBERT: with config.json and nothing else.
    """
    work.mkdir(exist_ok=True)
    (work / "vocab.txt").write_text("".join(f"{piece}\n" for piece in wordpieces(sizes["words"])), "utf-8")
    bert = transformers.BertConfig(vocab_size=sizes["words"], **sizes["bert"])
    (work / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}), "utf-8")
    sys.path.insert(0, str(code))
    import models_clip
    from dinov2.models.vision_transformer import DinoVisionTransformer

    read = transformers.AutoTokenizer.from_pretrained
    models_clip.AutoModel.from_pretrained = lambda name, **_: transformers.BertModel(bert)
    models_clip.AutoTokenizer.from_pretrained = lambda name: read(str(work))
    if sizes["trunk"]:
        models_clip.vit_base = lambda **given: DinoVisionTransformer(**given, **sizes["trunk"])
    return models_clip


def build(models_clip: Any, sizes: dict[str, Any], path: Path) -> Any:
    """Their model, read from the file as README.md does; beside the weights what engine.py saves with them."""
    from run_configs import chexficient

    built = models_clip.vit_base(patch_size=14, img_size=sizes["size"], init_values=1.0, block_chunks=0)
    torch.hub.load_state_dict_from_url = lambda url, map_location: built.state_dict()
    model = models_clip.CheXficient(image_size=sizes["size"], proj_dim=sizes["proj_dim"])
    state = random_state(model.state_dict(), keep=r"logit_scale|position_ids|^prototype|^batch_|^pending_")
    torch.save({"args": chexficient(), "epoch": 1, "step": 2, "model": state}, path)
    result = model.load_state_dict(torch.load(path, weights_only=False)["model"], strict=False)
    assert not result.missing_keys
    return model.eval()


def pictures(films: list[Path], size: int, fault: str | None = None) -> torch.Tensor:
    """(N, 3, size, size) by the transform of README.md."""
    steps = [transforms.Resize(size, interpolation=Image.BICUBIC), transforms.CenterCrop(size)]
    if fault == "crop":
        steps = [transforms.Resize((size, size), interpolation=Image.BICUBIC)]
    mean, std = ((0.5,) * 3, (0.5,) * 3) if fault == "scale" else (MEAN, STD)
    transform = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(mean=mean, std=std)])
    return torch.stack([transform(Image.open(film).convert("RGB")) for film in films])


def embedded(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """(N, D) of length 1 by their `encode_image`, film by film."""
    rows = [model.encode_image(one[None]) for one in pixels]
    return torch.cat(rows)


def images(model: Any, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Embeddings as `encode_image` gives them, by two faults of what it reads off DINOv2, and of all patches."""
    rows: dict[str, list[torch.Tensor]] = {"pooling": [], "norm": [], "patches": []}
    for one in pixels:
        tokens = model.image_encoder.model.forward_features(one[None])
        rows["pooling"].append(model.image_projection(tokens["x_norm_patchtokens"].mean(dim=1)))
        rows["norm"].append(model.image_projection(tokens["x_prenorm"][:, 0]))
        rows["patches"].append(model.image_projection(tokens["x_norm_patchtokens"]))
    found = {name: torch.nn.functional.normalize(torch.cat(each), dim=-1) for name, each in rows.items()}
    return found | {"right": embedded(model, pixels)}


def placed(scores: torch.Tensor, chosen: list[int], count: int) -> torch.Tensor:
    """(count, P): the scores of the chosen films in their rows, NaN in those of the others."""
    rows = torch.full((count, scores.shape[1]), torch.nan)
    rows[chosen] = scores
    return rows


def texts_of(model: Any, prompts: Any) -> torch.Tensor:
    """(P, D), tokenised as eval_zeroshot.py does."""
    tokens = model.text_encoder.tokenizer(
        list(prompts), return_tensors="pt", padding="longest", truncation=True, max_length=256
    )
    return model.encode_text(tokens)


def probabilities(model: Any, embeds: torch.Tensor) -> Any:
    """(N, L) of their validate_zeroshot, given what `encode_image` gave; it hands on no more than AUROCs.

    What it joins first are the probabilities of its batches.
    """
    from clipeval import eval_zeroshot

    kept = []

    def keep(arrays: Any, axis: int = 0) -> Any:
        kept.append(np.concatenate(arrays, axis=axis))
        return kept[-1]

    class Numpy:
        def __getattr__(self, name: str) -> Any:
            return keep if name == "concatenate" else getattr(np, name)

    eval_zeroshot.np = Numpy()
    targets = torch.zeros(len(embeds), len(LABELS))
    original, model.encode_image = model.encode_image, lambda _: embeds.clone()
    eval_zeroshot.validate_zeroshot(None, model, [(targets, targets)], LABELS, model.text_encoder.tokenizer)
    model.encode_image = original
    return kept[0][:, :, 0]


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", type=Path, required=True)
    parser.add_argument("--films", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    sizes = TINY if given.tiny else FULL
    given.out.mkdir(parents=True, exist_ok=True)
    models_clip = authors(given.code, sizes, given.out / "tokenizer")
    model = build(models_clip, sizes, given.out / "pytorch_model.pth")
    (given.out / "tokenizer" / "vocab.txt").rename(given.out / "vocab.txt")
    (given.out / "tokenizer" / "config.json").unlink()
    (given.out / "tokenizer").rmdir()
    films = sorted(given.films.iterdir())
    pixels = pictures(films, sizes["size"])
    chosen = [place for place, film in enumerate(films) if len(set(Image.open(film).size)) == 2][:WITH_FAULTS]
    found, texts = images(model, pixels), texts_of(model, PROMPTS)
    faults = {name: found[name] @ texts.T for name in ("pooling", "norm")}
    for name in ("crop", "scale"):
        wrong = pictures([films[place] for place in chosen], sizes["size"], name)
        faults[name] = placed(embedded(model, wrong) @ texts.T, chosen, len(films))
    model.text_pooling = "bos"
    faults["token"] = found["right"] @ texts_of(model, PROMPTS).T
    model.text_pooling = "eos"
    expected = {
        "pixel_values": pixels.numpy(),
        "image_embeds": found["right"].numpy(),
        "text_embeds": texts.numpy(),
        "prompts": PROMPTS,
        "labels": LABELS,
        "probabilities": probabilities(model, found["right"]),
        "patch_scores": (found["patches"][0] @ texts[0]).numpy(),
    }
    for layer in model.text_encoder.model.encoder.layer:  # last: it stays wrong
        layer.intermediate.intermediate_act_fn = torch.nn.ReLU()
    faults["activation"] = found["right"] @ texts_of(model, PROMPTS).T
    planted = {f"fault.{name}": scores.numpy() for name, scores in faults.items()}
    np.savez_compressed(given.out / "expected.npz", **expected, **planted)


if __name__ == "__main__":
    main()
