"""CLEAR (peterhan91/CLEAR): DINOv2 ViT-B/14 at 448 pixels with a linear head, beside the text tower of CLIP.

Source: https://github.com/peterhan91/CLEAR at da2299a. Its zero-shot code asks prompt pairs as CheXzero does
(examples/benchmark/benchmark_base.py: run_zero_shot_evaluation; src/clear/zero_shot.py: run_softmax_eval); the concept
bank of the paper is another method, which needs embeddings of a large language model and is not read here.
"""

from __future__ import annotations

from collections.abc import Mapping

from open_clip.transformer import QuickGELU, TextTransformer
from torch import Tensor, nn
from torch.nn import functional

from cxrzero.cards.card import load_card
from cxrzero.clip.steps import CHEXZERO_MEAN, CHEXZERO_STD, Steps
from cxrzero.clip.tokenizer import CLIP_VOCABULARY, PAD_ID, clip_tokenizer
from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.published.dinov2 import build_dinov2, class_token_towers
from cxrzero.convert.published.layout import Layout, Source, fill, part, refuse_others, source_of
from cxrzero.convert.recognise import HEAD_WIDTH
from cxrzero.convert.weights import StateDict
from cxrzero.errors import ImportModelError

NAME = "clear"
# The image tower's attribute: in src/clear/zero_shot.py, and where the authors look at a trained model
# (examples/concepts/visualize_attention.py).
TRUNKS = ("visual.base.", "visual.backbone.")
PROJECTION = "visual.projection."
TEXT = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.", "text_projection")
# Films are kept as squares of this size (scripts/run_preprocess.py: --resolution), and so they are read
# (benchmark_our_models.py: determine_input_resolution); DINOv2's places are of 518 pixels.
SIZE = 448


class Text(nn.Module):
    """input_ids (N, L) → text_embeds (N, D) of length 1; the text's end is its highest id (src/clear/model.py)."""

    def __init__(self, weights: StateDict) -> None:
        super().__init__()
        words, projection = weights["token_embedding.weight"], weights["text_projection"]
        width = int(words.shape[1])
        transformer = TextTransformer(
            context_length=int(weights["positional_embedding"].shape[0]),
            vocab_size=int(words.shape[0]),
            width=width,
            heads=max(1, width // HEAD_WIDTH),
            layers=len({name.split(".")[2] for name in weights if name.startswith("transformer.resblocks.")}),
            output_dim=int(projection.shape[1]),
            act_layer=QuickGELU,
        )
        self.text = fill(transformer, weights, f"the text tower of {NAME}")

    def forward(self, input_ids: Tensor) -> Tensor:
        return functional.normalize(self.text(input_ids), dim=-1)


def recognises(weights: Mapping[str, Tensor]) -> bool:
    return any(f"{trunk}blocks.0.ls1.gamma" in weights for trunk in TRUNKS)


def load(weights: StateDict, source: Source) -> LoadedModel:
    """Both towers.

    Raises:
        ImportModelError: something is missing, or is of another model.
    """
    trunk = next(name for name in TRUNKS if f"{name}blocks.0.ls1.gamma" in weights)
    refuse_others(weights, (trunk, PROJECTION, *TEXT, "logit_scale"), NAME)
    words = {name: value for name, value in weights.items() if name.startswith(TEXT)}
    missing = [
        name for name in (f"{PROJECTION}weight", "token_embedding.weight", "text_projection") if name not in weights
    ]
    if missing or "positional_embedding" not in weights:
        raise ImportModelError(
            f"{source.path} has no {', '.join(missing) or 'positional_embedding'}, which {NAME} needs"
        )
    if words["token_embedding.weight"].shape[0] != CLIP_VOCABULARY:
        raise ImportModelError(f"the text tower of {NAME} reads CLIP's {CLIP_VOCABULARY:,} tokens, this one others")
    vision = build_dinov2(part(weights, trunk), NAME, SIZE)
    head = weights[f"{PROJECTION}weight"]
    projection = fill(nn.Linear(head.shape[1], head.shape[0]), part(weights, PROJECTION), f"the projection of {NAME}")
    text = Text(words)
    card = load_card(NAME)
    depth, width = len(vision.blocks), vision.cls_token.shape[-1]
    return LoadedModel(
        model=None,
        towers=class_token_towers(vision, projection, text),
        architecture=f"DINOv2 ViT {depth}x{width} at {SIZE} px + CLIP's text transformer, linear {head.shape[0]}",
        embed_dim=int(head.shape[0]),
        image_size=(SIZE, SIZE),
        preprocess=steps(),
        scoring={"rule": "softmax_pair", "scale": 1.0},
        tokenizer=clip_tokenizer(),
        context_length=int(words["positional_embedding"].shape[0]),
        pad_id=PAD_ID,
        activation="GELU (pictures), QuickGELU (texts)",
        lineage=NAME,
        card=card,
        arch=None,
        stated=(
            f"architecture: DINOv2 ViT {depth}x{width} of patches, class token and a linear head (by their shapes)",
            f"preprocessing and scoring rule: the authors' ({source_of(card, 'preprocess')})",
        ),
    )


def steps() -> Steps:
    """Films as scripts/run_preprocess.py keeps them, normalised; the Resize(448) that follows changes nothing then."""
    return [
        {"step": "resize_longest", "size": SIZE, "interpolation": "lanczos"},
        {"step": "pad_to_square", "size": SIZE, "fill": 0},
        {"step": "rescale", "factor": 1.0},
        {"step": "normalize", "mean": [CHEXZERO_MEAN] * 3, "std": [CHEXZERO_STD] * 3},
    ]


CLEAR = Layout(NAME, recognises, load)
