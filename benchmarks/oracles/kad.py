"""KAD by its authors' code with random weights: the checkpoint as they publish it, and what they make of films.

    python benchmarks/oracles/kad.py --code CHECKOUT --films FOLDER --out FOLDER [--tiny]
    python benchmarks/oracles/kad.py --code CHECKOUT --vit tests/convert/kad_vit.npz

CHECKOUT is https://github.com/xiaoman-zhang/KAD at 591d999. It needs einops, pytorch_pretrained_vit and transformers
4.24 beside cxrzero's own extras. Its code is run as it is, but for what would fetch or find weights, and for the widths
that it has written in if `--tiny`. At full size this is KAD-512.

Writes into --out: weights/kad.pt, weights/vocab.txt, and expected.npz: pixel_values (N, 3, H, W) of CheXpert_Dataset,
logits (N, L): class 1 less class 0 of TQN_Model, attention of the first film and prompts, and the prompts.
--vit writes what its third picture tower, a ViT, made small, gives of the pixels in the same file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor, nn

from benchmarks.oracles import trunks
from tests.support.vocabulary import FINDINGS, wordpieces

FULL: dict[str, Any] = {"width": 768, "layers": 12, "inner": 3072, "words": 30522, "size": 512}
TINY: dict[str, Any] = {"width": 64, "layers": 2, "inner": 96, "words": 200, "size": 64}
MAX_LENGTH = 256  # of test_chexpert.py


class Authors:
    """Their three networks with random weights."""

    def __init__(self, code: Path, sizes: dict[str, Any], vocabulary: Path, tiny: bool) -> None:
        trunks.empty("petrel_client", "petrel_client.client", "cv2")
        trunks.take_resnets(tiny)
        sys.path.insert(0, str(code / "A3_CLIP"))
        from dataset import test_dataset

        from models import clip_tqn

        bert = trunks.random_bert(*(sizes[key] for key in ("words", "width", "layers", "inner")))
        clip_tqn.CLP_clinical._get_bert_basemodel = lambda self, bert_model_name, freeze_layers=None: bert
        self.dataset, self.sizes, self.networks = test_dataset.CheXpert_Dataset, sizes, clip_tqn
        image = clip_tqn.ModelRes512(res_base_model="resnet50")
        image.res_l2 = nn.Linear(image.res_l1.in_features, sizes["width"])
        self.image = trunks.drawn(image)
        self.text = trunks.drawn(clip_tqn.CLP_clinical("Med-KEBERT", embed_dim=sizes["width"]))
        self.model = trunks.drawn(clip_tqn.TQN_Model(embed_dim=sizes["width"]))
        self.tokenizer = transformers.BertTokenizer(str(vocabulary), do_lower_case=True)

    def save(self, path: Path) -> None:
        """As main.py does."""
        torch.save(
            {
                "model": self.model.state_dict(),
                "image_encoder": self.image.state_dict(),
                "text_encoder": self.text.state_dict(),
                "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": []},
                "lr_scheduler": {"t": 1},
                "config": {"img_res": self.sizes["size"], "batch_size": 64},
                "epoch": 3,
            },
            path,
        )

    def pixels(self, films: Path, out: Path) -> Tensor:
        count = trunks.list_films(films, out / "films.csv", columns=16)
        return trunks.pixels_of(self.dataset(out / "films.csv", self.sizes["size"]), count)

    def tokens(self, prompts: list[str]) -> Any:
        """`get_text_features` of test_chexpert.py."""
        return self.tokenizer(
            prompts, add_special_tokens=True, max_length=MAX_LENGTH, pad_to_max_length=True, return_tensors="pt"
        )

    def texts(self, prompts: list[str]) -> Tensor:
        return torch.as_tensor(self.text.encode_text(self.tokens(prompts)))

    def places(self, pixels: Tensor) -> Tensor:
        return torch.cat([self.image(film[None])[0] for film in pixels])

    def logits(self, places: Tensor, texts: Tensor) -> Tensor:
        classes = self.model(places, texts)
        return torch.as_tensor(classes[..., 1] - classes[..., 0])

    def faults(self, films: Path, places: Tensor, prompts: list[str], texts: Tensor) -> dict[str, Tensor]:
        """Their logits with something done wrong, one thing at a time."""
        ids = self.tokens(prompts)
        hidden = self.text.bert_model(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"])
        seen = self.text.bert_model(input_ids=ids["input_ids"])
        first, _, last = self.text.mlp_embed
        crop = trunks.cropped(films, self.sizes["size"], Image.BICUBIC)
        wrong: dict[str, Callable[[], Tensor]] = {
            "activation": lambda: self.logits(places, last(torch.relu(first(hidden[1])))),
            "pooling": lambda: self.logits(places, self.text.mlp_embed(hidden[0][:, 0])),
            "norm": lambda: self._without_norm(places, texts),
            "crop": lambda: self.logits(self.places(crop), texts),
            "token": lambda: self.logits(places, self.text.mlp_embed(seen[1])),
            "scale": lambda: self.model(places, texts)[..., 1],
            "alone": lambda: torch.cat([self.logits(places, text[None]) for text in texts], dim=1),
        }
        return {f"fault.{name}": compute() for name, compute in wrong.items()}

    def _without_norm(self, places: Tensor, texts: Tensor) -> Tensor:
        asked = self.model.decoder_norm(texts)[:, None].repeat(1, len(places), 1)
        answers, _ = self.model.decoder(asked, places.transpose(0, 1))
        classes = self.model.mlp_head(answers.transpose(0, 1))
        return torch.as_tensor(classes[..., 1] - classes[..., 0])


def write_vit(code: Path, out: Path) -> None:
    """The tokens of ModelViT, with the names and shapes of its tensors, whose values `random_state` gives."""
    trunks.empty("timm.models.registry")
    transformers.ViTImageProcessor = None  # imported for another tower, by the name that it has from 4.25 on
    sys.path.insert(0, str(code / "A3_CLIP"))
    from pytorch_pretrained_vit import model

    from models import vit

    model.resize_positional_embedding = False  # a name that its own check looks for
    small = model.ViT(patches=16, dim=64, ff_dim=96, num_heads=1, num_layers=2, image_size=64)
    vit.ViT = lambda name, pretrained: small
    network = trunks.drawn(vit.ModelViT())
    shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
    pixels = torch.sin(torch.arange(2 * 3 * 64 * 64, dtype=torch.float32)).reshape(2, 3, 64, 64)
    made_by = "python benchmarks/oracles/kad.py --code CHECKOUT --vit tests/convert/kad_vit.npz, at 591d999"
    np.savez_compressed(out, tensors=json.dumps(shapes), tokens=network(pixels)[0].numpy(), made_by=made_by)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", type=Path, required=True)
    parser.add_argument("--films", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--vit", type=Path)
    given = parser.parse_args()
    if given.vit:
        write_vit(given.code, given.vit)
        return
    sizes = TINY if given.tiny else FULL
    weights = given.out / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    vocabulary = weights / "vocab.txt"
    vocabulary.write_text("".join(f"{piece}\n" for piece in wordpieces(sizes["words"])), "utf-8")
    authors = Authors(given.code, sizes, vocabulary, given.tiny)
    pixels = authors.pixels(given.films, given.out)
    if not given.tiny:
        trunks.settle(authors.image.res_features, pixels[::4])
    authors.save(weights / "kad.pt")
    prompts = list(FINDINGS)
    texts = authors.texts(prompts)
    places = authors.places(pixels)
    _, attention = authors.model(places[:1], texts, return_atten=True)
    side = int(attention.shape[-1] ** 0.5)
    faults = authors.faults(given.films, places, prompts, texts)
    np.savez_compressed(
        given.out / "expected.npz",
        pixel_values=pixels.numpy(),
        logits=authors.logits(places, texts).numpy(),
        attention=attention.unflatten(-1, (side, side))[:, :4].numpy(),
        prompts=prompts,
        **{name: array.numpy() for name, array in faults.items()},
    )


if __name__ == "__main__":
    main()
