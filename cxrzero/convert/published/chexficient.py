"""CheXficient (cwangrun/CheXficient): DINOv2 ViT-B/14 at 378 pixels and Bio_ClinicalBERT, a linear head on each.

Source: https://github.com/cwangrun/CheXficient at 93b55e9 (models_clip.py; clipeval/eval_zeroshot.py; README.md).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

from cxrzero.cards.card import load_card
from cxrzero.clip.steps import clip_steps
from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.published.bert import PAD_ID, Bert, build_bert, last_token
from cxrzero.convert.published.dinov2 import build_dinov2, class_token_towers
from cxrzero.convert.published.layout import Layout, Source, fill, part, refuse_others, source_of
from cxrzero.convert.vocabulary import read_vocabulary
from cxrzero.convert.weights import StateDict
from cxrzero.errors import ImportModelError

NAME = "chexficient"
VISION, TEXT = "image_encoder.model.", "text_encoder.model."
HEADS = {"image": "image_projection.projection.", "text": "text_projection.projection."}
# What training keeps in the model: its scale, and the prototypes that chose the pairs to learn from.
OF_TRAINING = (
    "logit_scale",
    "prototype",
    "step_count",
    "batch_prototype_updates",
    "batch_update_weight_stats",
    "pending_",
)
MAX_TOKENS = 256  # configs.py: max_bert_length
ORIGIN = "emilyalsentzer/Bio_ClinicalBERT"


class Text(nn.Module):
    """input_ids (N, L) → text_embeds (N, D) of length 1, by the last token that is not padding (encode_text)."""

    def __init__(self, bert: Bert, projection: nn.Module) -> None:
        super().__init__()
        self.bert, self.projection = bert, projection

    def forward(self, input_ids: Tensor) -> Tensor:
        last = last_token(self.bert(input_ids), self.bert.mask(input_ids))
        return functional.normalize(self.projection(last), dim=-1)


def recognises(weights: Mapping[str, Tensor]) -> bool:
    has_vision = f"{VISION}blocks.0.ls1.gamma" in weights
    return has_vision or ("prototypes" in weights and f"{HEADS['text']}weight" in weights)


def load(weights: StateDict, source: Source) -> LoadedModel:
    """Both towers, with the vocabulary that the user brings.

    Raises:
        ImportModelError: something is missing, or is of another model.
    """
    refuse_others(weights, (VISION, TEXT, *HEADS.values(), *OF_TRAINING), NAME)
    vision = build_dinov2(part(weights, VISION), NAME)
    bert = build_bert(part(weights, TEXT), NAME)
    heads = {tower: _head(part(weights, prefix), tower) for tower, prefix in HEADS.items()}
    words = bert.model.get_input_embeddings().num_embeddings
    tokenizer = read_vocabulary(source, words, lower_case=True, origin=ORIGIN)
    card = load_card(NAME)
    depth, width, size = len(vision.blocks), vision.cls_token.shape[-1], vision.grid * vision.patch
    embed_dim = int(heads["text"].out_features)
    return LoadedModel(
        model=None,
        towers=class_token_towers(vision, heads["image"], Text(bert, heads["text"])),
        architecture=f"DINOv2 ViT {depth}x{width} at {size} px + BERT, linear {embed_dim}",
        embed_dim=embed_dim,
        image_size=(size, size),
        preprocess=clip_steps(size),  # README.md and main.py: get_val_transform, with CLIP's mean and deviation
        scoring={"rule": "softmax_pair", "scale": 1.0},
        tokenizer=tokenizer,
        context_length=min(MAX_TOKENS, bert.model.config.max_position_embeddings),
        pad_id=PAD_ID,
        activation="GELU",
        lineage=NAME,
        card=card,
        arch=None,
        stated=(
            f"architecture: DINOv2 ViT {depth}x{width} and BERT, a linear head on each (by their shapes)",
            f"preprocessing and scoring rule: the authors' ({source_of(card, 'preprocess')})",
            f"tokenizer: {words:,} word pieces of {ORIGIN}, lower case",
            "ignored among the weights: what training keeps to choose its pairs",
        ),
    )


def _head(weights: StateDict, tower: str) -> nn.Linear:
    if "weight" not in weights:
        raise ImportModelError(f"the {tower} tower of {NAME} has no projection")
    rows, columns = weights["weight"].shape
    return fill(nn.Linear(columns, rows), weights, f"the {tower} projection of {NAME}")


CHEXFICIENT = Layout(NAME, recognises, load)
