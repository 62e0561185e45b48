"""CXR-CLIP by its authors' code with random weights: the checkpoint as they publish it, and what they make of films.

    python benchmarks/oracles/cxr_clip_resnet50.py  --code CHECKOUT --films FOLDER --out FOLDER [--tiny]
    python benchmarks/oracles/cxr_clip_swin_tiny.py --code CHECKOUT --films FOLDER --out FOLDER [--tiny]

CHECKOUT is https://github.com/Soombit-ai/cxr-clip at 3118885. It needs transformers 4.24 to 4.26 (with tokenizers 0.13
and huggingface_hub 0.16), albumentations 1.3, omegaconf, pandas and tensorboard: `pip install --no-deps --target LIBS`,
and LIBS first in PYTHONPATH. Its code is run as it is, but for what would fetch weights: its configuration names
folders with random weights in place of BERT and Swin, and torchvision's ResNet-50 comes without ImageNet's. `--tiny`
gives the projection behind the ResNet, which has 2048 written in, another width.

Writes into --out: model-best.tar, vocab.txt, and expected.npz: pixel_values (N, 3, H, W) of its data sets, image_embeds
(N, D), text_embeds (P, D), the prompts, cosines (N, P) with faults, and probabilities (N, L) of zeroshot_binary for
labels; all of its Evaluator, with the transform of configs/eval_clip.yaml. Of the ResNet also patch_scores, the cosines
of the first film's places, projected each, with the first prompt.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.oracles.medclip_by_authors import FULL, LABELS, TINY, TinyResNet, last_stage, write_towers
from tests.support.checkpoints import random_state
from tests.support.vocabulary import PROMPTS

Arrays = dict[str, npt.NDArray[Any]]


def configuration(code: Path, folder: Path, kind: str) -> dict[str, Any]:
    """What train.py would keep beside the weights: configs/train.yaml and what it includes, of towers in `folder`."""
    configs = code / "configs"
    read = lambda name: yaml.safe_load((configs / name).read_text("utf-8").replace("${base.image_size}", "224"))  # noqa: E731
    model, bert = read(f"model/clip_{kind}_clinical.yaml"), {"name": str(folder / "bert"), "cache_dir": str(folder)}
    model["text_encoder"] |= bert
    if kind == "swin":
        model["image_encoder"]["name"] = str(folder / "swin")
    base = {key: value for key, value in read("train.yaml")["base"].items() if key != "output"}
    tokenizer = read("tokenizer/clinical_bert.yaml") | {"cache_dir": str(folder)}
    tokenizer["pretrained_model_name_or_path"] = str(folder / "bert")
    transform = read("transform/default.yaml")
    return {"model": model, "base": base, "tokenizer": tokenizer, "loss": {}, "transform": transform}


def build(config: dict[str, Any], kind: str, tiny: bool) -> nn.Module:
    """Their model with random weights."""
    from cxrclip.data.data_utils import load_tokenizer
    from cxrclip.model import build_model
    from cxrclip.model.modules import image_encoder

    resnet50 = image_encoder.resnet50
    image_encoder.resnet50 = lambda pretrained: TinyResNet() if tiny else resnet50(weights=None)
    model: Any = build_model(config["model"], {}, load_tokenizer(**config["tokenizer"]))
    image_encoder.resnet50 = resnet50
    if tiny and kind == "resnet":
        model.image_projection.projection = nn.Linear(128, 512)
    model.load_state_dict(random_state(model.state_dict()))
    return model.eval()


class Authors:
    """Their Evaluator, on films as one of its data sets."""

    def __init__(self, checkpoint: Path, model: nn.Module, files: list[Path], transform: Any) -> None:
        import pandas
        from cxrclip import evaluator

        evaluator.build_model = lambda **_: model
        table = {"image": map(str, files), "label": 0, "class": "any"}
        pandas.DataFrame(table).to_csv("films.csv")
        name, kind = "siim_pneumothorax", "image_classification"
        self.module = evaluator
        self.evaluator = evaluator.Evaluator(
            {
                "test": {"checkpoint": str(checkpoint)},
                "data_test": {name: {"name": name, "data_type": kind, "data_path": "films.csv", "n_class": 1}},
                "dataloader": {"test": {"batch_size": 8, "shuffle": False, "num_workers": 0}},
                "transform": transform,
            },
            [str(checkpoint)],
        )
        self.data = self.evaluator.datamodule.datasets["test"][0]

    def films(self, normalize: str | None = None) -> Tensor:
        """(N, 3, 224, 224); `normalize` overrides what the evaluator chose."""
        self.data.normalize, chosen = normalize or self.data.normalize, self.data.normalize
        pixels = torch.stack([self.data[row]["image"] for row in range(len(self.data))])
        self.data.normalize = chosen
        return pixels

    def images(self, pixels: Tensor) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = self.evaluator.encode_image(pixels)
        return found

    @torch.no_grad()
    def patches(self, pixels: Tensor) -> npt.NDArray[np.float32]:
        """(N, h · w, D) of the ResNet: each place through the projection of their mean."""
        model = self.evaluator.model
        places = model.image_projection(last_stage(model.image_encoder.resnet, pixels))
        return functional.normalize(places, dim=-1).numpy()

    def texts(self, sentences: tuple[str, ...]) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = self.evaluator.encode_text(list(sentences))
        return found

    def probabilities(self, images: npt.NDArray[np.float32], names: tuple[str, ...]) -> npt.NDArray[np.float32]:
        """(N, names) of zeroshot_binary, which hands it to roc_curve and keeps figures of it alone."""
        found = []
        metrics = self.module.metrics
        roc_curve = metrics.roc_curve
        metrics.roc_curve = lambda truth, scores: (found.append(scores), roc_curve([0, 1], [0, 1]))[1]  # type: ignore[func-returns-value]
        self.evaluator.zeroshot_binary(images, [[names[0]]] * len(images), list(names))
        metrics.roc_curve = roc_curve
        return np.stack(found, axis=1)


def faults(authors: Authors, kind: str, pixels: Tensor) -> Arrays:
    """Name → cosines (N, P) by the authors' code with something that goes wrong easily."""
    from torchvision import transforms
    from transformers import AutoTokenizer
    from transformers.activations import ACT2FN

    texts, images, evaluator = authors.texts(PROMPTS), authors.images(pixels), authors.evaluator
    found = {"norm": authors.images(authors.films("huggingface" if kind == "resnet" else "imagenet")) @ texts.T}
    right, bicubic = authors.data.image_transforms, transforms.InterpolationMode.BICUBIC
    for name, steps in (
        ("crop", [transforms.Resize((224, 224))]),
        ("scale", [transforms.Resize(256), transforms.CenterCrop(224)]),
        ("bicubic", [transforms.Resize(224, interpolation=bicubic), transforms.CenterCrop(224)]),
    ):
        authors.data.image_transforms = steps
        found[name] = authors.images(authors.films()) @ texts.T
    authors.data.image_transforms = right

    model, tokenizer = evaluator.model, evaluator.datamodule.tokenizer
    evaluator.datamodule.tokenizer = AutoTokenizer.from_pretrained(tokenizer.name_or_path, do_lower_case=False)
    found["token"] = images @ authors.texts(PROMPTS).T
    evaluator.datamodule.tokenizer = tokenizer
    model.text_pooling = "mean"
    found["pooling"] = images @ authors.texts(PROMPTS).T
    model.text_pooling = "eos"
    if kind == "swin":
        encode = model.encode_image
        model.encode_image = lambda image: model.image_encoder(image).mean(dim=1)
        found["place"] = authors.images(pixels) @ texts.T
        model.encode_image = encode
    for layer in model.text_encoder.text_encoder.encoder.layer:
        layer.intermediate.intermediate_act_fn = ACT2FN["quick_gelu"]
    found["activation"] = images @ authors.texts(PROMPTS).T
    return {f"fault.{name}": values for name, values in found.items()}


def main(kind: str) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", type=Path, required=True)
    parser.add_argument("--films", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    out, code = given.out.resolve(), given.code.resolve()
    out.mkdir(parents=True, exist_ok=True)
    files = sorted(path.resolve() for path in given.films.iterdir())
    sys.path.insert(0, str(code))
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        write_towers(Path(work), TINY if given.tiny else FULL)
        shutil.copy(Path(work) / "bert" / "vocab.txt", out / "vocab.txt")
        config = configuration(code, Path(work), kind)
        model = build(config, kind, given.tiny)
        checkpoint = out / "model-best.tar"
        # As trainer.py saves it.
        optimizer = torch.optim.AdamW(model.parameters()).state_dict()
        beside = {"optimizer": optimizer, "scheduler": {"last_epoch": 1}, "config": config, "epoch": 1}
        torch.save({"model": model.state_dict(), **beside, "train_loss": 0.0}, checkpoint)
        authors = Authors(checkpoint, model, files, config["transform"])
        pixels = authors.films()
        images = authors.images(pixels)
        texts, probabilities = authors.texts(PROMPTS), authors.probabilities(images, LABELS)
        more = faults(authors, kind, pixels)
        if kind == "resnet":
            more["patch_scores"] = authors.patches(pixels[:1])[0] @ texts[0]
        os.chdir(out)
    np.savez_compressed(
        out / "expected.npz",
        pixel_values=pixels.numpy(),
        image_embeds=images,
        text_embeds=texts,
        probabilities=probabilities,
        labels=LABELS,
        prompts=PROMPTS,
        **more,
    )
