"""MedKLIP by its authors' code with random weights: the checkpoint as they publish it, and what they make of films.

    python benchmarks/oracles/medklip.py --code CHECKOUT --films FOLDER --out FOLDER [--tiny]

CHECKOUT is https://github.com/MediaBrain-SJTU/MedKLIP at 8e60b03. It needs einops and transformers 4.24 beside
cxrzero's own extras. Its code is run as it is, but for what would fetch weights. `--tiny` takes an invented book.

Writes into --out/weights the checkpoint, the text encoder with its vocabulary, and the book; and expected.npz:
pixel_values (N, 3, H, W), logits (N, 75 + 1): class 1 less class 0 for the whole book and a description in free words,
attention of the first film and four prompts as its zero-shot grounding takes it, and the prompts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.oracles import booked, trunks
from cxrzero.convert.published.book import DESCRIPTIONS, FINDINGS

PART = "Sample_zero-shot_Classification_CXR14"
FREE = "there is a card of no opacity in the upper lung"


class Authors:
    def __init__(self, code: Path, text: booked.TextEncoder, sentences: Sequence[str], tiny: bool) -> None:
        trunks.empty("cv2")
        trunks.take_resnets(tiny)
        sys.path.insert(0, str(code / PART))
        from dataset.dataset import Chestxray14_Dataset
        from models.model_MedKLIP import MedKLIP

        MedKLIP._get_bert_basemodel = lambda self, bert_model_name, freeze_layers: text.bert
        self.dataset = Chestxray14_Dataset
        self.network = trunks.drawn(MedKLIP(booked.CONFIG, text.tokens(sentences)))

    def pixels(self, films: Path, out: Path) -> Tensor:
        count = trunks.list_films(films, out / "films.csv", columns=16)
        return trunks.pixels_of(self.dataset(out / "films.csv", is_train=False), count)

    def logits(self, pixels: Tensor, texts: Tensor, classes: Sequence[int] = (1, 0)) -> Tensor:
        """By their forward pass, with what BERT gave of a book in the place of the one that it was built with."""
        self.network.disease_book = texts
        out = torch.cat([self.network(film[None]) for film in pixels])
        return torch.as_tensor(out[..., 1] - out[..., 0] if tuple(classes) == (1, 0) else out[..., classes[0]])

    def attention(self, pixels: Tensor, texts: Tensor) -> Tensor:
        """What Sample_Zero-Shot_Grounding_RSNA/test.py makes of the decoder's weights: the mean of its layers'."""
        asked = self.network.disease_embedding_layer(texts)[:, None].repeat(1, len(pixels), 1)
        _, weights = self.network.decoder(asked, self.network.image_encoder(pixels).transpose(0, 1))
        return torch.as_tensor((weights[-4] + weights[-3] + weights[-2] + weights[-1]) / 4).unflatten(-1, (14, 14))


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
    (book,) = booked.bring_books(weights, [(DESCRIPTIONS, given.code / PART / DESCRIPTIONS)], given.tiny)
    sentences = [*book.values(), FREE]
    authors = Authors(given.code, text, sentences, given.tiny)
    state: dict[str, Any] = {f"module.{name}": value for name, value in authors.network.state_dict().items()}
    torch.save({"model": state, "optimizer": {"state": {}}, "epoch": 99}, weights / "checkpoint_final.pth")
    pixels = authors.pixels(given.films, given.out)
    texts = booked.read_wrongly(text, sentences)
    logits, attention = authors.logits(pixels, texts["right"]), authors.attention(pixels[:1], texts["right"])
    # A few questions without the rest of the book: what is asked along decides, too.
    few = authors.logits(pixels, texts["right"][:10])
    faults = {"fault.companions": torch.cat([few, logits[:, 10:]], dim=1)}
    faults |= booked.faults(given.films, pixels, authors.network.decoder.layers, texts, authors.logits)
    np.savez_compressed(
        given.out / "expected.npz",
        pixel_values=pixels.numpy(),
        logits=logits.numpy(),
        attention=attention[:, :4].numpy(),
        prompts=[*FINDINGS, FREE],
        **{name: array.numpy() for name, array in faults.items()},
    )


if __name__ == "__main__":
    main()
