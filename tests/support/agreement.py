"""A bundle's embeddings beside those of the library that its weights are from."""

from __future__ import annotations

import numpy as np
import onnxruntime
import torch

from cxrzero.model.bundle import load_bundle
from cxrzero.model.preprocess import Preprocess
from cxrzero.model.tokenizer import Tokenizer

PROMPTS = ["pneumonia", "no edema", "the cardiac silhouette is normal"]


def embeds(path, size=64):
    """(bundle, pixel_values, image_embeds, text_embeds) by ONNX Runtime on fixed noise and PROMPTS."""
    bundle = load_bundle(path)
    rng = np.random.default_rng(0)
    preprocess = Preprocess(bundle.preprocess, bundle.image_size)
    pixels = np.stack([preprocess(rng.integers(0, 256, (size, size + 9), np.uint8)) for _ in range(3)])
    ids = Tokenizer(bundle.file("tokenizer.json"), bundle.context_length, bundle.pad_id)(PROMPTS)
    cpu = {"providers": ["CPUExecutionProvider"]}
    images = onnxruntime.InferenceSession(path / "image_encoder.onnx", **cpu).run(
        ["image_embeds"], {"pixel_values": pixels}
    )
    texts = onnxruntime.InferenceSession(path / "text_encoder.onnx", **cpu).run(None, {"input_ids": ids})
    return bundle, torch.from_numpy(pixels), images[0], texts[0]


def assert_same(ours, theirs):
    theirs = torch.nn.functional.normalize(theirs.detach(), dim=-1).numpy()
    assert (ours * theirs).sum(axis=-1).min() >= 0.99999
    assert np.linalg.norm(ours - theirs, axis=-1).max() < 1e-3
