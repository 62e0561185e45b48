"""What the oracles of MedKLIP and MAVL have in common: a text encoder of its own, a book, and one decoder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import InterpolationMode

from benchmarks.oracles import trunks
from cxrzero.convert.published.book import FINDINGS
from tests.support.books import write_books
from tests.support.vocabulary import wordpieces

FULL: dict[str, Any] = {"words": 28996, "width": 768, "layers": 12, "inner": 3072}
TINY: dict[str, Any] = {"words": 200, "width": 768, "layers": 1, "inner": 48}
MAX_LENGTH = 64  # `get_tokenizer` of both models' test.py
SIZE = 224
D_MODEL = 256
CONFIG: dict[str, Any] = {
    "d_model": D_MODEL,
    "res_base_model": "resnet50",
    "base_model": "resnet50",
    "decoder": "cross",
    "self_attention": True,
    "pretrained": True,
    "dropout": 0.1,
    "attribute_set_size": 2,
    "N": 4,
    "H": 4,
    "text_encoder": "emilyalsentzer/Bio_ClinicalBERT",
}


class TextEncoder:
    """A BERT with random weights in the place of Bio_ClinicalBERT, and the tokenizer of their test.py."""

    def __init__(self, folder: Path, tiny: bool) -> None:
        sizes = TINY if tiny else FULL
        vocabulary = folder / "vocab.txt"
        vocabulary.write_text("".join(f"{piece}\n" for piece in wordpieces(sizes["words"])), "utf-8")
        self.bert = trunks.random_bert(**sizes, places=MAX_LENGTH if tiny else 512)
        self.tokenizer = transformers.BertTokenizer(str(vocabulary))
        published = {f"bert.{name}": value for name, value in self.bert.state_dict().items()}
        torch.save(published | {"cls.predictions.bias": torch.zeros(sizes["words"])}, folder / "pytorch_model.bin")

    def tokens(self, sentences: Sequence[str]) -> Any:
        """`get_tokenizer` of their test.py."""
        return self.tokenizer(
            list(sentences), padding="max_length", truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
        )


def bring_books(folder: Path, names: Sequence[tuple[str, Path]], tiny: bool) -> list[dict[str, Any]]:
    """Their files of sentences beside the weights, or invented ones if `tiny`; what each says of the 75 findings."""
    if tiny:
        write_books(folder)
    for name, path in [] if tiny else names:
        shutil.copy(path, folder / name)
    contents = [json.loads((folder / name).read_text("utf-8")) for name, _ in names]
    # MedKLIP's file lost the first letter of pneumonia; its test goes by position.
    return [{finding: said.get(finding, said.get("eumonia")) for finding in FINDINGS} for said in contents]


def faults(
    films: Path,
    pixels: Tensor,
    layers: Any,
    texts: dict[str, Tensor],
    answer: Callable[[Tensor, Tensor, Sequence[int]], Tensor],
) -> dict[str, Tensor]:
    """Their logits with something done wrong, one thing at a time.

    Args:
        layers: of the decoder.
        texts: what BERT gives of all sentences: "right", and by "pooling" and "token" wrong.
        answer: pixels, texts and the places of classes (class 1 less class 0 is (1, 0)) → (N, L).
    """
    right = texts["right"]
    wrong = {
        "pooling": answer(pixels, texts["pooling"], (1, 0)),
        "token": answer(pixels, texts["token"], (1, 0)),
        "scale": answer(pixels, right, (1,)),
        "crop": answer(trunks.cropped(films, SIZE, InterpolationMode.BILINEAR), right, (1, 0)),
    }
    for layer in layers:
        layer.activation = functional.gelu
    wrong["activation"] = answer(pixels, right, (1, 0))
    for layer in layers:
        layer.activation, layer.norm2 = functional.relu, torch.nn.Identity()
    wrong["norm"] = answer(pixels, right, (1, 0))
    return {f"fault.{name}": logits for name, logits in wrong.items()}


def read_wrongly(text: TextEncoder, sentences: Sequence[str]) -> dict[str, Tensor]:
    """First tokens as they are, through BERT's own pooling, and with the padding looked at."""
    ids = text.tokens(sentences)
    parts = range(0, len(ids["input_ids"]), 75)
    masked = [
        text.bert(input_ids=ids["input_ids"][at : at + 75], attention_mask=ids["attention_mask"][at : at + 75])
        for at in parts
    ]
    seen = [text.bert(input_ids=ids["input_ids"][at : at + 75]) for at in parts]
    return {
        "right": torch.cat([each.last_hidden_state[:, 0] for each in masked]),
        "pooling": torch.cat([each.pooler_output for each in masked]),
        "token": torch.cat([each.last_hidden_state[:, 0] for each in seen]),
    }
