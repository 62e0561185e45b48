"""MAVL by its authors' code with random weights: the checkpoint as they publish it, and what they make of films.

    python benchmarks/oracles/mavl.py --code CHECKOUT --films FOLDER --out FOLDER [--tiny]

CHECKOUT is https://github.com/HieuPhan33/CVPR2024_MAVL at 6a5eacd. It needs einops and transformers 4.24 beside
cxrzero's own extras. Its code is run as it is, but for what would fetch weights. `--tiny` takes invented books.

Writes into --out/weights the checkpoint, the text encoder with its vocabulary, and the books; and expected.npz:
pixel_values (N, 3, H, W), logits (N, 75 + 1): class 1 less class 0 for the whole book and one question of nine other
sentences (test.py in the mode "feature"), attention of the first film and four prompts as Zero-shot_grounding/test.py
takes it, and the prompts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor

from benchmarks.oracles import booked, trunks
from cxrzero.convert.published.book import DESCRIPTIONS, FINDINGS
from cxrzero.convert.published.mavl import ASPECTS
from cxrzero.convert.published.sentences import BETWEEN

PART = "Zero-shot_classification"
FREE = [f"there is a card of opacity {number}" for number in range(9)]


class Authors:
    """Their network with random weights.

    Args:
        questions: nine sentences of each finding.
    """

    def __init__(self, code: Path, text: booked.TextEncoder, questions: Sequence[Sequence[str]], tiny: bool) -> None:
        trunks.empty("cv2", "skimage", "skimage.exposure")
        trunks.take_resnets(tiny)
        torchvision.models.vit_b_16 = torchvision.models.vit_l_16 = lambda weights: None
        sys.path.insert(0, str(code / PART))
        from dataset.dataset import Chestxray14_Dataset
        from models.model_MAVL import MAVL

        MAVL._get_bert_basemodel = lambda self, bert_model_name, freeze_layers: text.bert
        self.dataset = Chestxray14_Dataset
        descriptions = text.tokens([question[0] for question in questions])
        aspects = text.tokens([sentence for question in questions for sentence in question[1:]])
        self.network = trunks.drawn(MAVL(booked.CONFIG, text.tokens(["trachea"]), descriptions, aspects))

    def pixels(self, films: Path, out: Path) -> Tensor:
        count = trunks.list_films(films, out / "films.csv", columns=16)
        return trunks.pixels_of(self.dataset(out / "films.csv", root="", is_train=False), count)

    def logits(self, pixels: Tensor, texts: Tensor, classes: Sequence[int] = (1, 0)) -> Tensor:
        """By their forward pass, with what BERT gave of all sentences in the place of those it was built with."""
        self.network.concept_book, self.network.n_disease = texts, len(texts) // self.network.n_concepts
        out = torch.cat([self.network(film[None])[0] for film in pixels])
        return torch.as_tensor(out[..., 1] - out[..., 0] if tuple(classes) == (1, 0) else out[..., classes[0]])

    def attention(self, pixels: Tensor, texts: Tensor) -> Tensor:
        """What Zero-shot_grounding/test.py makes of the decoder's weights, in its mode "avg"."""
        places, _ = self.network.image_encoder(pixels)
        asked = self.network.disease_embedding_layer(texts)[:, None].repeat(1, len(pixels), 1)
        _, weights = self.network.decoder(asked, places.flatten(2).permute(2, 0, 1))
        mean = (weights[-4] + weights[-3] + weights[-2] + weights[-1]) / 4
        return torch.as_tensor(mean.unflatten(1, (-1, 9))[:, :, [0, 6, 7, 8]].mean(2)).unflatten(-1, (14, 14))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", type=Path, required=True)
    parser.add_argument("--films", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    weights = given.out / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    text = booked.TextEncoder(weights, given.tiny)
    files = [
        (DESCRIPTIONS, given.code / PART / DESCRIPTIONS),
        (ASPECTS, given.code / "Pretrain/concept_gen" / ASPECTS),
    ]
    descriptions, aspects = booked.bring_books(weights, files, given.tiny)
    questions = [*([descriptions[finding], *aspects[finding]] for finding in FINDINGS), FREE]
    authors = Authors(given.code, text, questions, given.tiny)
    state: dict[str, Any] = {f"module.{name}": value for name, value in authors.network.state_dict().items()}
    state["module.temp"] = torch.full((9,), 2.6593)  # of training, which their test leaves out
    torch.save({"model": state, "optimizer": {"state": {}}, "epoch": 46}, weights / "checkpoint_full_46.pth")
    pixels = authors.pixels(given.films, given.out)
    texts = booked.read_wrongly(text, [sentence for question in questions for sentence in question])
    logits, attention = authors.logits(pixels, texts["right"]), authors.attention(pixels[:1], texts["right"])
    # A few questions without the rest of the book: what is asked along decides, too.
    few = authors.logits(pixels, texts["right"][:90])
    turned = texts["right"].unflatten(0, (-1, 9)).flip(1).flatten(0, 1)
    faults = {
        "fault.companions": torch.cat([few, logits[:, 10:]], dim=1),
        "fault.order": authors.logits(pixels, turned),
    }
    faults |= booked.faults(given.films, pixels, authors.network.decoder.layers, texts, authors.logits)
    np.savez_compressed(
        given.out / "expected.npz",
        pixel_values=pixels.numpy(),
        logits=logits.numpy(),
        attention=attention[:, :4].numpy(),
        prompts=[*FINDINGS, BETWEEN.join(FREE)],
        **{name: array.numpy() for name, array in faults.items()},
    )


if __name__ == "__main__":
    main()
