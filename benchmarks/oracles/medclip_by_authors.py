"""MedCLIP by its authors' code with random weights: the checkpoint as they publish it, and what they make of films.

    python benchmarks/oracles/medclip_resnet50.py --code CHECKOUT --films FOLDER --out FOLDER [--tiny]
    python benchmarks/oracles/medclip_vit.py      --code CHECKOUT --films FOLDER --out FOLDER [--tiny]

CHECKOUT is https://github.com/RyanWangZf/MedCLIP at 9c3396f. It needs transformers 4.24 (with tokenizers 0.13 and
huggingface_hub 0.16), pandas, nltk and requests: `pip install --no-deps --target LIBS …`, LIBS first in PYTHONPATH. Its
code is run as it is, but for what would fetch weights: the names of BERT and Swin are folders with random weights, and
torchvision's ResNet-50 comes without ImageNet's. `.cuda()` does nothing. `--tiny` gives the two projections, which have
768 and 2048 written in, other widths.

Writes into --out: pytorch_model.bin, vocab.txt, and expected.npz: pixel_values (N, 3, H, W) of ZeroShotImageDataset,
image_embeds (N, D), text_embeds (P, D) of each prompt alone, the prompts, cosines (N, P) with faults; probabilities
(N, L), σ of what PromptClassifier gives for labels, as evaluator.py takes it; and least_cosine_padded: between a prompt
alone and padded to the longest of all, which is how far its authors' own embeddings of one text are from each other.
patch_scores are cosines of the first film's places, projected each, with the first prompt.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel, SwinConfig, SwinModel
from transformers.activations import ACT2FN

from tests.support.checkpoints import random_state
from tests.support.vocabulary import FINDINGS, PROMPTS, wordpieces

FULL: dict[str, Any] = {
    "words": 28996,
    "bert": {},
    "swin": {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24]},
}
TINY: dict[str, Any] = {
    "words": 100,
    "bert": {
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 1,
        "intermediate_size": 64,
        "max_position_embeddings": 96,
    },
    "swin": {"embed_dim": 8, "depths": [1, 2], "num_heads": [1, 2]},
}
LABELS = FINDINGS[:5]  # PromptClassifier looks at every film again for each of them
IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class TinyResNet(torchvision.models.ResNet):
    """torchvision's, of one block a stage, a sixteenth as wide."""

    def __init__(self) -> None:
        super().__init__(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1])
        self.fc = nn.Linear(128, 1000)

    def _make_layer(self, block: Any, planes: int, *args: Any, **more: Any) -> nn.Sequential:
        return super()._make_layer(block, planes // 16, *args, **more)


def write_towers(folder: Path, sizes: dict[str, Any]) -> None:
    """BERT with its vocabulary and Swin, where the authors' code looks for those of Hugging Face."""
    BertModel(BertConfig(vocab_size=sizes["words"], **sizes["bert"])).save_pretrained(folder / "bert")
    SwinModel(SwinConfig(image_size=224, **sizes["swin"])).save_pretrained(folder / "swin")
    (folder / "bert" / "vocab.txt").write_text("".join(f"{piece}\n" for piece in wordpieces(sizes["words"])), "utf-8")


class Authors:
    """Their model with random weights, and their way from films and sentences to embeddings."""

    def __init__(self, code: Path, folder: Path, kind: str, tiny: bool) -> None:
        sys.path.insert(0, str(code))
        from medclip import constants, modeling_medclip

        resnet50 = torchvision.models.resnet50
        torchvision.models.resnet50 = lambda pretrained: TinyResNet() if tiny else resnet50(weights=None)
        nothing: Any = lambda self, *args: self  # noqa: E731
        torch.Tensor.cuda = nn.Module.cuda = nothing  # type: ignore[method-assign, assignment]
        constants.BERT_TYPE, constants.VIT_TYPE = str(folder / "bert"), str(folder / "swin")
        init: Any = modeling_medclip.MedCLIPTextModel.__init__
        init.__defaults__ = (constants.BERT_TYPE, *init.__defaults__[1:])
        vision = modeling_medclip.MedCLIPVisionModel if kind == "resnet" else modeling_medclip.MedCLIPVisionModelViT
        self.model = modeling_medclip.MedCLIPModel(vision_cls=vision)
        if tiny:
            self.model.text_model.projection_head = nn.Linear(64, 16, bias=False)
            if kind == "resnet":
                self.model.vision_model.model.fc = nn.Linear(128, 16, bias=False)
            else:
                self.model.vision_model.projection_head = nn.Linear(16, 16, bias=False)
        self.model.load_state_dict(random_state(self.model.state_dict()))
        self.model.eval()
        self.classifier = modeling_medclip.PromptClassifier(self.model, ensemble=True).eval()

    def films(self, files: list[Path], transform: Any = None, squared: bool = True) -> Tensor:
        """(N, 3, 224, 224) by the dataset of their evaluation."""
        import pandas
        from medclip.dataset import ZeroShotImageCollator, ZeroShotImageDataset

        Path("local_data").mkdir(exist_ok=True)
        pandas.DataFrame({"imgpath": map(str, files), "any": 0}).to_csv("local_data/films-meta.csv")
        data = ZeroShotImageDataset(["films"], class_names=["any"], imgtransform=transform)
        if not squared:
            data._pad_img = lambda film: film.convert("L")
        batch = ZeroShotImageCollator("multilabel", {"any": ["any"]})([data[row] for row in range(len(files))])
        pixels: Tensor = batch["pixel_values"]
        return pixels

    def patches(self, pixels: Tensor) -> Tensor:
        """(N, h · w, D): each place through the projection of their mean."""
        vision: Any = self.model.vision_model
        if hasattr(vision, "projection_head"):
            return functional.normalize(vision.projection_head(vision.model(pixels)["last_hidden_state"]), dim=-1)
        return functional.normalize(vision.model.fc(last_stage(vision.model, pixels)), dim=-1)

    def tokens(self, sentences: list[str]) -> dict[str, Tensor]:
        from medclip.prompts import process_class_prompts

        return dict(process_class_prompts({"all": sentences})["all"])

    def texts(self, sentences: tuple[str, ...]) -> Tensor:
        """(P, D), each alone, as `PromptClassifier` has a class of one prompt."""
        found = [self.tokens([sentence]) for sentence in sentences]
        return torch.cat([self.model.encode_text(one["input_ids"], one["attention_mask"]) for one in found])

    def logits(self, pixels: Tensor, sentences: tuple[str, ...]) -> Tensor:
        inputs = {sentence: self.tokens([sentence]) for sentence in sentences}
        found: Tensor = self.classifier(pixel_values=pixels, prompt_inputs=inputs)["logits"]
        return found


def last_stage(trunk: nn.Module, pixels: Tensor) -> Tensor:
    """Of a ResNet, what its average pooling gets: (N, C, h, w) → (N, h · w, C)."""
    for name, layer in trunk.named_children():
        if name == "avgpool":
            break
        pixels = layer(pixels)
    return pixels.flatten(2).transpose(1, 2)


def faults(authors: Authors, files: list[Path], images: Tensor, texts: Tensor) -> dict[str, npt.NDArray[np.float32]]:
    """Name → cosines (N, P) by the authors' code with something that goes wrong easily."""
    from medclip import prompts
    from torchvision import transforms

    resize, to_tensor = transforms.Resize((224, 224)), transforms.ToTensor()
    normalise = transforms.Normalize([0.5862785803043838], [0.27950088968644304])
    bicubic = transforms.Resize((224, 224), interpolation=transforms.InterpolationMode.BICUBIC)
    of_255 = transforms.Lambda(lambda values: values * 255)
    pictures = {
        "norm": authors.films(files, transforms.Compose([resize, to_tensor])),
        "crop": authors.films(files, squared=False),
        "scale": authors.films(files, transforms.Compose([resize, to_tensor, of_255, normalise])),
        "bicubic": authors.films(files, transforms.Compose([bicubic, to_tensor, normalise])),
    }
    mean, std = (torch.tensor(each)[:, None, None] for each in IMAGENET)
    pictures["norm"] = (pictures["norm"] - mean) / std
    found = {name: authors.model.encode_image(pixels) @ texts.T for name, pixels in pictures.items()}

    # Cased, as the vocabulary is.
    lower_casing = prompts.AutoTokenizer
    prompts.AutoTokenizer = SimpleNamespace(from_pretrained=partial(lower_casing.from_pretrained, do_lower_case=False))
    found["token"] = images @ authors.texts(PROMPTS).T
    prompts.AutoTokenizer = lower_casing
    bert = authors.model.text_model.model
    layers = bert.encoder.layer
    # The mean of the last state alone, where it is that of three.
    real = bert.forward
    bert.forward = lambda **inputs: {"hidden_states": [real(**inputs)["hidden_states"][-1]] * (len(layers) + 1)}
    found["pooling"] = images @ authors.texts(PROMPTS).T
    bert.forward = real
    for layer in layers:
        layer.intermediate.intermediate_act_fn = ACT2FN["quick_gelu"]
    found["activation"] = images @ authors.texts(PROMPTS).T
    return {f"fault.{name}": values.numpy() for name, values in found.items()}


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
    with tempfile.TemporaryDirectory() as work, torch.no_grad():
        os.chdir(work)
        write_towers(Path(work), TINY if given.tiny else FULL)
        shutil.copy(Path(work) / "bert" / "vocab.txt", out / "vocab.txt")
        authors = Authors(code, Path(work), kind, given.tiny)
        torch.save(authors.model.state_dict(), out / "pytorch_model.bin")
        pixels, texts = authors.films(files), authors.texts(PROMPTS)
        images, logits = authors.model.encode_image(pixels), authors.logits(pixels, LABELS)
        patches = authors.patches(pixels[:1])[0] @ texts[0]
        beside = authors.tokens(list(PROMPTS))
        padded = authors.model.encode_text(beside["input_ids"], beside["attention_mask"])
        wrong = faults(authors, files, images, texts)
        os.chdir(out)
    np.savez_compressed(
        out / "expected.npz",
        pixel_values=pixels.numpy(),
        image_embeds=images.numpy(),
        text_embeds=texts.numpy(),
        patch_scores=patches.numpy(),
        probabilities=logits.sigmoid().numpy(),
        least_cosine_padded=(padded * texts).sum(dim=-1).min().numpy(),
        labels=LABELS,
        prompts=PROMPTS,
        **wrong,
    )
