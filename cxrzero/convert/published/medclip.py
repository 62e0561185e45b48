"""MedCLIP (Z. Wang et al., EMNLP 2022), with a ResNet-50 or a Swin Transformer ("ViT"). github.com/RyanWangZf/MedCLIP

What stands here was read in its code at commit 9c3396f:

    network        medclip/modeling_medclip.py: MedCLIPVisionModel, MedCLIPVisionModelViT, MedCLIPTextModel
    preprocessing  medclip/dataset.py: ZeroShotImageDataset, of the evaluation: a black square, bilinear to 224 pixels.
                   MedCLIPProcessor of the README resizes by bicubic, and needs transformers 4.24
    text           medclip/prompts.py: process_class_prompts
    scoring        PromptClassifier and evaluator.py: σ of the scaled cosine, no negative prompts; the scale as
                   compute_logits clamps it

Its text tower averages hidden states over all tokens *with the padding*, so that its authors' embedding of a text
depends on the longest text beside it. Here each text is on its own, as it is there when it comes alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from cxrzero.cards.card import load_card
from cxrzero.clip.steps import Steps
from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.published.bert import PAD_ID, WORDS, Bert, mean_of_tokens
from cxrzero.convert.published.layout import Layout, Source, part
from cxrzero.convert.published.projected import check_parts, pair, projection_of, text_tower
from cxrzero.convert.published.resnet import build_resnet
from cxrzero.convert.published.swin import build_swin
from cxrzero.convert.weights import StateDict
from cxrzero.errors import ImportModelError

RESNET, SWIN = "medclip-resnet50", "medclip-vit"
TRUNK, TEXT = "vision_model.model.", "text_model.model."
IMAGE_PROJECTION = {RESNET: f"{TRUNK}fc.", SWIN: "vision_model.projection_head."}
TEXT_PROJECTION = "text_model.projection_head."
SIDE = 224
MEAN, STD = 0.5862785803043838, 0.27950088968644304  # medclip/constants.py
CONTEXT = 77
LAYERS = (1, 2, -1)  # hidden states that are averaged; 0 is that of the embeddings
MAX_LOGIT_SCALE = 4.6052

STEPS: Steps = [
    {"step": "expand_to_square", "minimum": SIDE, "fill": 0},
    {"step": "resize", "height": SIDE, "width": SIDE, "interpolation": "bilinear"},
    {"step": "rescale", "factor": 1 / 255},
    {"step": "normalize", "mean": [MEAN] * 3, "std": [STD] * 3},
]


def _mean_of_layers(bert: Bert, input_ids: Tensor) -> Tensor:
    states, mask = bert.hidden_states(input_ids), bert.mask(input_ids)
    return torch.stack([mean_of_tokens(states[layer], mask) for layer in LAYERS]).mean(dim=0)


def _load(name: str, weights: StateDict, source: Source) -> LoadedModel:
    check_parts(weights, (TRUNK, TEXT, IMAGE_PROJECTION[name], TEXT_PROJECTION, "logit_scale"), (), name)
    text = text_tower(weights, TEXT, TEXT_PROJECTION, _mean_of_layers, CONTEXT, source, name)
    own, what = part(weights, TRUNK), f"the image tower of {name}"
    trunk = build_resnet(own, what) if name == RESNET else build_swin(own, SIDE, what)
    projection = projection_of(weights, IMAGE_PROJECTION[name], trunk.channels, name)
    activation = "ReLU" if name == RESNET else "GELU"
    return LoadedModel(
        model=None,
        towers=pair(trunk, projection, text, name, by_mean=True),
        architecture=f"{trunk.architecture} + {text.architecture}",
        embed_dim=projection.out_features,
        image_size=(SIDE, SIDE),
        preprocess=STEPS,
        scoring={"rule": "sigmoid", "scale": scale_of(weights["logit_scale"]), "bias": 0.0},
        tokenizer=text.tokenizer,
        context_length=text.context,
        pad_id=PAD_ID,
        activation=activation,
        lineage=name,
        card=load_card(name),
        arch=None,
        stated=(
            f"architecture: {trunk.architecture} + {text.architecture} (by the shapes of their tensors)",
            f"activation: {activation} of the image tower, GELU of the text tower (the authors' networks)",
            f"preprocessing: a black square, bilinear to {SIDE} pixels (dataset.py: ZeroShotImageDataset)",
            f"text: mean of the hidden states {LAYERS} over its tokens, at most {text.context}, lower-cased",
        ),
    )


def scale_of(logit_scale: Tensor) -> float:
    """Clamped as the authors do before each use, then exponentiated.

    Raises:
        ImportModelError: it is no finite number.
    """
    scale = float(logit_scale) if logit_scale.numel() == 1 else math.nan
    if not math.isfinite(scale):
        raise ImportModelError(f"logit_scale {scale} is not finite: the weights are damaged")
    return math.exp(min(max(scale, 0.0), MAX_LOGIT_SCALE))


def _has_resnet(weights: Mapping[str, Tensor]) -> bool:
    # Without a tower of pictures too, so that _load can say that it is missing.
    return f"{TRUNK}conv1.weight" in weights or (f"{TEXT}{WORDS}" in weights and not _has_swin(weights))


def _has_swin(weights: Mapping[str, Tensor]) -> bool:
    return f"{TRUNK}encoder.layers.0.blocks.0.attention.self.relative_position_bias_table" in weights


MEDCLIP_RESNET = Layout(RESNET, _has_resnet, partial(_load, RESNET))
MEDCLIP_VIT = Layout(SWIN, _has_swin, partial(_load, SWIN))
