"""A CLIP of transformers, exported as its users export it, gives as a bundle what transformers gives."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from cxrzero.backends import open_encoder
from cxrzero.model.model_json import TOKENIZER
from cxrzero.model.tokenizer import Tokenizer
from tests.convert.own.conftest import Import
from tests.support import needs
from tests.support.ownencoders import CONTEXT, ROWS, STEPS, Pair

needs.modules("torch", "transformers")

import torch  # noqa: E402
from transformers import CLIPConfig, CLIPModel  # noqa: E402

SIDE, PROJECTED, END = 32, 24, 3  # its end token, with which it pads, too


class Images(torch.nn.Module):
    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, pixel_values: Any) -> Any:
        return self.clip.visual_projection(self.clip.vision_model(pixel_values=pixel_values).pooler_output)


class Texts(torch.nn.Module):
    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        found = self.clip.text_model(input_ids=input_ids, attention_mask=attention_mask)
        return self.clip.text_projection(found.pooler_output)


@pytest.fixture(scope="module")
def clip() -> Any:
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokens = {"vocab_size": ROWS, "max_position_embeddings": CONTEXT, "bos_token_id": 2}
    text = small | tokens | {"eos_token_id": END, "pad_token_id": END, "projection_dim": PROJECTED}
    vision = small | {"image_size": SIDE, "patch_size": 8, "projection_dim": PROJECTED}
    torch.manual_seed(0)
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=PROJECTED)).eval()


def export(module: Any, inputs: dict[str, Any], path: Any, axes: dict[int, str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=["embeds"],
            dynamic_axes=dict.fromkeys(inputs, axes),
            opset_version=17,
            dynamo=False,
        )


def unit(rows: Any) -> Any:
    return torch.nn.functional.normalize(rows, dim=-1).numpy()


@torch.no_grad()
def test_a_clip_of_transformers(clip: Any, pair: Pair, imported: Import) -> None:
    ids = torch.tensor([[2, 5, 6, END, END, END], [2, 8, 9, 10, 11, END]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    pixels = torch.rand(2, 3, SIDE, SIDE)
    export(Images(clip), {"pixel_values": pixels}, pair.image_file, {0: "batch"})
    export(Texts(clip), {"input_ids": ids, "attention_mask": mask}, pair.text_file, {0: "batch", 1: "length"})
    pair.write_steps([STEPS[0] | {"height": SIDE, "width": SIDE}, *STEPS[1:]])
    bundle, lines = imported(pair, pad_id=END)
    assert not any("NOTE" in line for line in lines)
    backends: tuple[Any, ...] = ("onnxruntime", "torch")
    for backend in backends:
        encoder = open_encoder(bundle, backend, "cpu")
        np.testing.assert_allclose(encoder.encode_images(pixels.numpy()), unit(Images(clip)(pixels)), atol=1e-6)
        padded = Tokenizer(bundle.file(TOKENIZER), CONTEXT, END)(["pneumonia", "pleural effusion"])
        padded[:, :6], padded[:, 6:] = ids.numpy(), END
        np.testing.assert_allclose(encoder.encode_texts(padded), unit(Texts(clip)(ids, mask)), atol=1e-6)
