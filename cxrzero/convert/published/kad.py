"""KAD (Zhang et al., Nature Communications 2023): places of a ResNet-50 or ViT, and a decoder that is asked by names.

From xiaoman-zhang/KAD at 591d999, A3_CLIP: models/clip_tqn.py, models/vit.py, test_chexpert.py, test_chestxray14.py and
dataset/test_dataset.py. The map is plot_visualize_512.py's: the last layer's weights. `decoder_norm` is one layer that
goes over the places, over the questions, and at the end over the answers (`TQN_Model.forward`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cxrzero.cards.card import load_card
from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.published.bert import PAD_ID, WORDS, Bert, build_bert
from cxrzero.convert.published.decoder import CLASSES, SCORING, Decoder, QuestionScorer, decoder_of
from cxrzero.convert.published.layout import Layout, Source, part
from cxrzero.convert.published.parts import check_joints, check_parts, linear_of
from cxrzero.convert.published.places import Places, steps, trunk_of
from cxrzero.convert.published.vit import build_vit, picture_size
from cxrzero.convert.towers import AttentionTowers
from cxrzero.convert.vocabulary import read_vocabulary
from cxrzero.convert.weights import StateDict
from cxrzero.errors import AmbiguousModelError, ImportModelError

NAME, TITLE = "kad", "KAD"
ORIGIN = "xmcmic/Med-KEBERT"  # `--bert_model_name` of its README; text is lower-cased (`do_lower_case=True`)
CONTEXT = 64  # chosen here: its authors pad to 256 and mask what they pad, its findings are a few words
# What its authors ask for a film without a finding (test_padchest.py); every other label is asked by its own words.
BOOK = {"no finding": "normal"}
DENSENET = "image_encoder.dense_l1."
RESNET = ("image_encoder.res_features.", "image_encoder.res_l1.", "image_encoder.res_l2.")
VIT = ("image_encoder.patch_embedding.", "image_encoder.transformer.", "image_encoder.positional_embedding.")
TEXT = ("text_encoder.bert_model.", "text_encoder.mlp_embed.0.", "text_encoder.mlp_embed.2.")
DECODER = ("model.decoder_norm.", "model.decoder.", "model.mlp_head.0.")
# The same tensors by the names of the networks that they were taken from, and temperatures of training.
AGAIN = ("image_encoder.resnet.", "image_encoder.vit.", "image_encoder.class_token")
TEMPERATURES = ("text_encoder.logit_scale", "model.logit_scale")


class KadText(nn.Module):
    """input_ids (L, S) → text_tokens (L, 1, D): BERT's pooled token, two layers, the decoder's norm."""

    def __init__(self, bert: Bert, first: nn.Linear, second: nn.Linear, norm: nn.Module) -> None:
        super().__init__()
        self.bert, self.first, self.second, self.norm = bert, first, second, norm

    def forward(self, input_ids: Tensor) -> Tensor:
        pooled = nn.functional.gelu(self.first(self.bert.pooled(input_ids)))
        return torch.as_tensor(self.norm(self.second(pooled)))[:, None]


def recognises(weights: Mapping[str, Tensor]) -> bool:
    """By the text encoder, which no other published model names so."""
    return any(name.startswith("text_encoder.mlp_embed.") for name in weights)


def load(weights: StateDict, source: Source) -> LoadedModel:
    if any(name.startswith(DENSENET) for name in weights):
        raise ImportModelError(f"these weights of {TITLE} have a DenseNet; its ResNet and ViT are what cxrzero reads")
    has_vit = any(name.startswith(VIT[0]) for name in weights)
    check_parts(weights, (*(VIT if has_vit else RESNET), *TEXT, *DECODER), (*AGAIN, *TEMPERATURES), TITLE)
    decoder = decoder_of(weights, "model.decoder.", TITLE)
    size, how = _size(weights, source, has_vit)
    image, grid = _image(weights, size, has_vit, decoder)
    bert = build_bert(part(weights, "text_encoder.bert_model."), TITLE, pooler=True)
    words, width = weights[f"text_encoder.bert_model.{WORDS}"].shape
    tokenizer = read_vocabulary(source, words, lower_case=True, origin=ORIGIN)
    first, second = (linear_of(weights, f"text_encoder.mlp_embed.{number}.", TITLE) for number in (0, 2))
    head = linear_of(weights, "model.mlp_head.0.", TITLE)
    check_joints(
        {
            "the text encoder": (width, first.in_features),
            "mlp_embed.0": (first.out_features, second.in_features),
            "mlp_embed.2": (second.out_features, decoder.width),
            "the decoder": (decoder.width, head.in_features),
            "mlp_head": (head.out_features, CLASSES),
        },
        TITLE,
    )
    towers = AttentionTowers(
        image=image,
        text=KadText(bert, first, second, decoder.norm),
        scorer=QuestionScorer(decoder, head, grid, layers_looked=1),
        has_attention=True,
    )
    trunk = "ViT" if has_vit else "ResNet"
    return LoadedModel(
        model=None,
        towers=towers,
        architecture=f"{TITLE}: {trunk} at {size} pixels, BERT, decoder of {len(decoder.layers)} layers",
        embed_dim=None,
        image_size=(size, size),
        preprocess=steps(size, "bicubic"),
        scoring=dict(SCORING),
        tokenizer=tokenizer,
        context_length=CONTEXT,
        pad_id=PAD_ID,
        activation="ReLU, GELU in the text tower",
        lineage=NAME,
        card=load_card(NAME),
        arch=None,
        book=BOOK,
        stated=(f"architecture: {trunk}, pictures of {size} pixels ({how})",),
    )


def _size(weights: Mapping[str, Tensor], source: Source, has_vit: bool) -> tuple[int, str]:
    """Pixels of a side, and how they are known: KAD-512 and KAD-1024 have the same tensors."""
    if has_vit:
        return picture_size(part(weights, "image_encoder.")), "by the places of its ViT"
    if not any(name.startswith("image_encoder.res_features.7.") for name in weights):
        return 224, "by its ResNet, which has no last stage"
    stated = source.config.get("img_res")
    if type(stated) is int and stated > 0:
        return stated, "as its configuration says"
    # The authors' folders are KAD_512/best_valid.pt and KAD_1024/best_valid.pt.
    path = source.path.absolute()
    found = set(re.findall(r"(?<!\d)(?:512|1024)(?!\d)", f"{path.parent.name} {path.name}"))
    if len(found) != 1:
        raise AmbiguousModelError(
            f"{source.path} does not say for which size of pictures it was trained, and KAD-512 and KAD-1024 have the "
            "same tensors: give the file, or its folder, a name that holds 512 or 1024"
        )
    return int(found.pop()), "by the name of the file or its folder"


def _image(
    weights: Mapping[str, Tensor], size: int, has_vit: bool, decoder: Decoder
) -> tuple[nn.Module, tuple[int, int]]:
    """The picture's tower and the grid of its places."""
    if has_vit:
        vit = build_vit(part(weights, "image_encoder."), f"the ViT of {TITLE}")
        check_joints({"the ViT": (vit.vit.embed_dim, decoder.width)}, TITLE)
        return nn.Sequential(vit, decoder.norm), vit.grid
    trunk = trunk_of(weights, "image_encoder.res_features.", f"the ResNet of {TITLE}")
    first, second = (linear_of(weights, f"image_encoder.{layer}.", TITLE) for layer in ("res_l1", "res_l2"))
    check_joints(
        {
            "the ResNet": (trunk.channels, first.in_features),
            "res_l1": (first.out_features, second.in_features),
            "res_l2": (second.out_features, decoder.width),
        },
        TITLE,
    )
    side = size // (16 if size == 224 else 32)
    return Places(trunk, first, nn.ReLU(), second, decoder.norm), (side, side)


KAD = Layout(NAME, recognises, load)
