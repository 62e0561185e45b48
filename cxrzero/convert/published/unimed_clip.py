"""UniMed-CLIP (mbzuai-oryx): CLIP's vision transformer with QuickGELU, and BiomedBERT with a projection of two layers.

    image   ViT ─► class token ─► projection
    text    BERT ─► [CLS] ─► dense, GELU, dense

Read in https://github.com/mbzuai-oryx/UniMed-CLIP at 6f09177: src/open_clip, a fork of open_clip whose text encoder has
another name and whose files come without open_clip_config.json.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import Tensor, nn

from cxrzero.cards.card import load_card
from cxrzero.clip.steps import clip_steps
from cxrzero.convert.cleaning import with_cleaning
from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.published.bert import PAD_ID, build_bert, first_token
from cxrzero.convert.published.layout import Layout, Source, fill, part, refuse_others
from cxrzero.convert.recognise import exponentiated_scale, vision_cfg
from cxrzero.convert.towers import open_clip_towers
from cxrzero.convert.vocabulary import read_vocabulary
from cxrzero.convert.weights import StateDict
from cxrzero.errors import ImportModelError

NAME = "unimed-clip"
VOCABULARY = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"  # README.md; that of the large one is the same
CONTEXT = 256  # README.md: HFTokenizer(…, context_length=256), which fills up every prompt
VISUAL, BERT, PROJECTION = "visual.", "text_encoder.transformer.", "text_encoder.proj."
MLP_RATIO = 4.0  # src/open_clip/model.py: CLIPVisionCfg


def is_unimed_clip(weights: Mapping[str, Tensor]) -> bool:
    return BERT + "embeddings.word_embeddings.weight" in weights and PROJECTION + "2.weight" in weights


def load_unimed_clip(weights: StateDict, source: Source) -> LoadedModel:
    """Build both towers.

    Raises:
        ImportModelError: tensors are missing, or there are others.
    """
    card = load_card(NAME)
    model = Clip(weights, NAME)
    size = model.visual.image_size[0]
    tokenizer = read_vocabulary(source, model.text.tokens, lower_case=True, origin=VOCABULARY)
    described = f"{card.title}: ViT patch {model.visual.patch_size[0]} at {size} px, QuickGELU + BERT"
    return LoadedModel(
        model=None,
        towers=open_clip_towers(model),
        architecture=described,
        embed_dim=model.visual.output_dim,
        image_size=(size, size),
        preprocess=clip_steps(size),  # src/open_clip/transform.py: image_transform(is_train=False)
        scoring={"rule": "softmax_pair", "scale": exponentiated_scale(weights)},  # README.md: Quick Start
        tokenizer=with_cleaning(tokenizer, "whitespace"),  # src/open_clip/tokenizer.py: HFTokenizer
        context_length=min(CONTEXT, model.text.places),
        pad_id=PAD_ID,
        activation="QuickGELU",
        lineage=NAME,
        card=card,
        arch=None,
        stated=(
            f"architecture: {described} (by the shapes of its tensors)",
            "preprocessing: of OpenAI's CLIP (UniMed-CLIP, src/open_clip/transform.py)",
        ),
    )


UNIMED_CLIP = Layout(NAME, is_unimed_clip, load_unimed_clip)


class Clip(nn.Module):
    """Both towers by open_clip's names, as `cxrzero.convert.towers.open_clip_towers` takes them.

    Args:
        weights: of the file.
        what: whose they are, for messages.
    """

    def __init__(self, weights: Mapping[str, Tensor], what: str) -> None:
        super().__init__()
        refuse_others(weights, (VISUAL, BERT, PROJECTION, "logit_scale"), what)
        self.visual = _vision_transformer(part(weights, VISUAL), what)
        self.text = Text(part(weights, BERT), part(weights, PROJECTION), what)


class Text(nn.Module):
    """input_ids (N, L) → (N, D), of any length (src/open_clip/hf_model.py: HFTextEncoder, proj_type "mlp").

    Attributes:
        tokens: of its vocabulary.
        places: tokens that it reads at most.
    """

    def __init__(self, bert: StateDict, projection: StateDict, what: str) -> None:
        super().__init__()
        self.bert = build_bert(bert, what)
        if "0.weight" not in projection:
            raise ImportModelError(f"{what} has no {PROJECTION}0.weight, half of the projection of its texts")
        (hidden, width), embed_dim = projection["0.weight"].shape, len(projection["2.weight"])
        proj = nn.Sequential(nn.Linear(width, hidden, bias=False), nn.GELU(), nn.Linear(hidden, embed_dim, bias=False))
        self.proj = fill(proj, projection, what)
        self.tokens = len(bert["embeddings.word_embeddings.weight"])
        self.places = len(bert["embeddings.position_embeddings.weight"])

    def forward(self, input_ids: Tensor) -> Tensor:
        return torch.as_tensor(self.proj(first_token(self.bert(input_ids))))


def _vision_transformer(weights: StateDict, what: str) -> VisionTransformer:
    try:
        cfg, embed_dim = vision_cfg(weights), weights["proj"].shape[1]
    except KeyError as error:
        raise ImportModelError(f"{what} has no {VISUAL}{error.args[0]}: the image tower is missing") from None
    visual = VisionTransformer(
        image_size=cfg["image_size"],
        patch_size=cfg["patch_size"],
        width=cfg["width"],
        layers=cfg["layers"],
        heads=cfg["width"] // cfg["head_width"],
        mlp_ratio=MLP_RATIO,
        output_dim=embed_dim,
        act_layer=QuickGELU,
    )
    return fill(visual, weights, what)
