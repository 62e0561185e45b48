"""CXR-CLIP (K. You et al., MICCAI 2023), with a ResNet-50 or a Swin Transformer. github.com/Soombit-ai/cxr-clip

What stands here was read in its code at commit 3118885:

    network        cxrclip/model/clip.py, modules/image_encoder.py and projection.py; configs/model/clip_*_clinical.yaml
    preprocessing  data/data_utils.py: transform_image; configs/transform/*.yaml, split "test" (CLAHE is of training);
                   evaluator.py: ImageNet's mean and deviation for the ResNet, 0.5 for the Swin Transformer
    text           evaluator.py: encode_text
    scoring        evaluator.py: zeroshot_binary, a softmax of two cosines without logit_scale

The Swin Transformer's embedding is that of its *first place*, the upper left corner of what the last stage sees
(clip.py: encode_image takes [:, 0], where a ViT has its class token). The weights were trained so. No other place was
ever projected; this model has no patches, and its heatmaps cover the film instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from cxrzero.cards.card import load_card
from cxrzero.clip.steps import Steps
from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.published.bert import PAD_ID, WORDS, first_token, last_token, mean_of_tokens
from cxrzero.convert.published.layout import Layout, Source, part
from cxrzero.convert.published.projected import Pooling, check_parts, pair, projection_of, text_tower
from cxrzero.convert.published.resnet import build_resnet
from cxrzero.convert.published.swin import build_swin
from cxrzero.convert.weights import StateDict
from cxrzero.errors import ImportModelError

RESNET, SWIN = "cxr-clip-resnet50", "cxr-clip-swin-tiny"
TRUNKS = {RESNET: "image_encoder.resnet.", SWIN: "image_encoder.image_encoder."}
TEXT = "text_encoder.text_encoder."
IMAGE_PROJECTION, TEXT_PROJECTION = "image_projection.projection.", "text_projection.projection."
SIDE = 224  # base.image_size of configs/eval_clip.yaml
NORMALISATION = {RESNET: ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), SWIN: ([0.5] * 3, [0.5] * 3)}
# What no tensor tells. The configuration beside the weights does; these are its values in configs/.
POOLING, CONTEXT = "eos", 256
POOLINGS: dict[str, Pooling] = {
    "eos": lambda bert, ids: last_token(bert(ids), bert.mask(ids)),
    "bos": lambda bert, ids: first_token(bert(ids)),
    "mean": lambda bert, ids: mean_of_tokens(bert(ids), bert.mask(ids)),
}


def steps(name: str) -> Steps:
    """torchvision's Resize (of Pillow's picture, bilinear) and CenterCrop, then ToTensor and Normalize."""
    mean, std = NORMALISATION[name]
    return [
        {"step": "resize_shortest", "size": SIDE, "interpolation": "bilinear"},
        {"step": "center_crop", "height": SIDE, "width": SIDE},
        {"step": "rescale", "factor": 1 / 255},
        {"step": "normalize", "mean": mean, "std": std},
    ]


def _load(name: str, weights: StateDict, source: Source) -> LoadedModel:
    check_parts(weights, (TRUNKS[name], TEXT, IMAGE_PROJECTION, TEXT_PROJECTION), ("logit_scale",), name)
    pooling, context, known = _stated(source.config, name)
    text = text_tower(weights, TEXT, TEXT_PROJECTION, POOLINGS[pooling], context, source, name)
    own, what = part(weights, TRUNKS[name]), f"the image tower of {name}"
    trunk = build_resnet(own, what) if name == RESNET else build_swin(own, SIDE, what)
    projection = projection_of(weights, IMAGE_PROJECTION, trunk.channels, name)
    activation = "ReLU" if name == RESNET else "GELU"
    return LoadedModel(
        model=None,
        towers=pair(trunk, projection, text, name, by_mean=name == RESNET),
        architecture=f"{trunk.architecture} + {text.architecture}",
        embed_dim=projection.out_features,
        image_size=(SIDE, SIDE),
        preprocess=steps(name),
        scoring={"rule": "softmax_pair", "scale": 1.0},
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
            f"preprocessing: {SIDE} pixels, mean {NORMALISATION[name][0]} (evaluator.py and configs/transform)",
            f"text: pooled by {pooling!r}, at most {text.context} tokens, lower-cased ({known})",
        ),
    )


def _stated(config: Mapping[str, Any], name: str) -> tuple[str, int, str]:
    """Pooling and most tokens of a text, by the configuration beside the weights or, without one, by configs/."""
    pooling, context = _at(config, "model", "text_encoder", "pooling"), _at(config, "base", "text_max_length")
    known = "configs/ of the authors' code" if pooling is None else "the config in the file"
    pooling, context = POOLING if pooling is None else pooling, CONTEXT if context is None else context
    if not isinstance(pooling, str) or pooling not in POOLINGS:
        raise ImportModelError(
            f"the config in this file of {name} pools texts by {pooling!r}, none of {', '.join(POOLINGS)}"
        )
    if type(context) is not int or context < 1:
        raise ImportModelError(f"the config in this file of {name} states a text_max_length of {context!r}")
    return pooling, context, known


def _at(config: Any, *keys: str) -> Any:
    for key in keys:
        config = config.get(key) if isinstance(config, Mapping) else None
    return config


def _has_resnet(weights: Mapping[str, Tensor]) -> bool:
    # Without a tower of pictures too, so that _load can say that it is missing.
    is_kad = any(name.startswith("text_encoder.mlp_embed.") for name in weights)  # its ResNet is named alike
    has_trunk = f"{TRUNKS[RESNET]}conv1.weight" in weights and not is_kad
    return has_trunk or (f"{TEXT}{WORDS}" in weights and not _has_swin(weights))


def _has_swin(weights: Mapping[str, Tensor]) -> bool:
    return f"{TRUNKS[SWIN]}encoder.layers.0.blocks.0.attention.self.relative_position_bias_table" in weights


CXR_CLIP_RESNET = Layout(RESNET, _has_resnet, partial(_load, RESNET))
CXR_CLIP_SWIN = Layout(SWIN, _has_swin, partial(_load, SWIN))
