"""BioViL and BioViL-T (microsoft/hi-ml): a ResNet whose places are projected one by one, and CXR-BERT.

    image   ResNet ─► BioViL-T: 1×1 convolution, beside the embedding of a missing earlier film ─► projector
            ─► patches (N, h, w, D); the film's embedding is the direction of their mean
    text    BERT ─► [CLS] ─► dense, GELU, norm, dense ─► (N, D)

Both are published as two files of weights, of the picture and of the text, in one repository: a folder is imported.
One film has no earlier one, so that BioViL-T's temporal transformer is never asked (image/model/encoder.py:
MultiImageEncoder). Read in https://github.com/microsoft/hi-ml, hi-ml-multimodal/src/health_multimodal, at b67c1d2.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from tokenizers import Regex, Tokenizer, normalizers
from torch import Tensor, nn
from torch.nn import functional

from cxrzero.cards.card import load_card
from cxrzero.clip.steps import Steps
from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.published.bert import PAD_ID, Bert, build_bert, first_token
from cxrzero.convert.published.layout import Layout, Source, fill, part
from cxrzero.convert.published.resnet import build_resnet
from cxrzero.convert.towers import Towers
from cxrzero.convert.vocabulary import read_vocabulary
from cxrzero.convert.weights import StateDict
from cxrzero.errors import ImportModelError

PLAIN, TEMPORAL = "biovil", "biovil-t"
# image/model/pretrained.py
IMAGE_FILES = {PLAIN: "biovil_image_resnet50_proj_size_128.pt", TEMPORAL: "biovil_t_image_model_proj_size_128.pt"}
TEXT_FILE = "pytorch_model.bin"
RESIZED, CROPPED = 512, {PLAIN: 480, TEMPORAL: 448}  # pixels; image/utils.py: get_image_inference
NORM_EPSILON = 1e-12  # text/model/modelling_cxrbert.py: BertProjectionHead
# Tokens; the authors read as many as there are places (512), and each prompt costs as much as the longest.
CONTEXT = 128
SCALE = 1.0  # vlp/inference_engine.py gives cosines, which test_zero_shot_classification.py compares: no temperature

TRUNK, REDUCED, ABSENT = "encoder.encoder.", "encoder.backbone_to_vit.weight", "encoder.missing_previous_emb"
PROJECTOR, HEAD = "projector.model.", "cls_projection_head."
TEXT = ("bert.", "cls.", HEAD)  # how the names of the text weights begin
# Of what is in the files, what one film and one prompt never need.
UNUSED = {
    "encoder.encoder.fc.": "the classifier of ImageNet",
    "encoder.vit_pooler.": "the transformer that compares a film with an earlier one",
    "classifier.": "a classifier",
    "cls.": "the head for masked words",
}


def is_biovil(weights: Mapping[str, Tensor]) -> bool:
    """Also the text tower alone, which is the same in both, so that somebody says what is missing."""
    return ABSENT not in weights and any(
        name in weights for name in (TRUNK + "conv1.weight", HEAD + "LayerNorm.weight")
    )


def is_biovil_t(weights: Mapping[str, Tensor]) -> bool:
    return TRUNK + "conv1.weight" in weights and ABSENT in weights


def load_biovil(weights: StateDict, source: Source) -> LoadedModel:
    return _load(PLAIN, weights, source)


def load_biovil_t(weights: StateDict, source: Source) -> LoadedModel:
    return _load(TEMPORAL, weights, source)


BIOVIL = Layout(PLAIN, is_biovil, load_biovil)
BIOVIL_T = Layout(TEMPORAL, is_biovil_t, load_biovil_t)


def _load(name: str, weights: StateDict, source: Source) -> LoadedModel:
    """Build both towers, whose tensors have no name in common.

    Raises:
        ImportModelError: a file of the two is missing, or they do not belong together.
    """
    card = load_card(name)
    words = {key: value for key, value in weights.items() if key.startswith(TEXT)}
    picture = {key: value for key, value in weights.items() if key not in words}
    if not words:
        raise ImportModelError(
            f"{source.path} holds the image tower of {card.title} alone; put {TEXT_FILE} and vocab.txt of the same "
            f"repository beside it ({card.page}), and import their folder with --as {name}"
        )
    if not picture:
        raise ImportModelError(
            f"{source.path} holds the text tower of BioViL or BioViL-T alone; put {' or '.join(IMAGE_FILES.values())} "
            "of the same repository beside it, and import their folder with --as biovil or --as biovil-t"
        )
    image = Image(picture, f"the image tower of {card.title}")
    text = Text(words, f"the text tower of {card.title}")
    if image.width != text.width:
        raise ImportModelError(
            f"{source.path}: films have embeddings of {image.width} numbers and texts of {text.width}; the two "
            "files do not belong together"
        )
    tokenizer = read_vocabulary(source, text.tokens, lower_case=True, origin=str(card.repository))
    side = CROPPED[name]
    return LoadedModel(
        model=None,
        towers=Towers(Patches(image), Mean(image), text, has_patches=True),
        architecture=_described(card.title, side),
        embed_dim=image.width,
        image_size=(side, side),
        preprocess=_steps(side),
        scoring={"rule": "softmax_pair", "scale": SCALE},
        tokenizer=_without_last_stop(tokenizer),
        context_length=min(CONTEXT, text.places),
        pad_id=PAD_ID,
        activation="ReLU (pictures), GELU (texts)",
        lineage=name,
        card=card,
        arch=None,
        stated=(
            f"architecture: {_described(card.title, side)} (by the shapes of its tensors)",
            f"text weights: the file does not tell whose they are; needed are those of {card.repository}",
            f"preprocessing: grey stretched, {RESIZED} px, the middle {side} px (hi-ml, image/utils.py)",
            *_unused({**picture, **words}),
        ),
    )


def _steps(side: int) -> Steps:
    """image/data/io.py: load_image; image/data/transforms.py: create_chest_xray_transform_for_inference."""
    return [
        {"step": "stretch", "rounding": "floor"},
        {"step": "resize_shortest", "size": RESIZED, "interpolation": "bilinear"},
        {"step": "center_crop", "height": side, "width": side},
        {"step": "rescale", "factor": 1 / 255},
    ]


def _without_last_stop(tokenizer: Tokenizer) -> Tokenizer:
    """text/data/io.py: tokenize_input_prompts takes !, ? and . from the end of a prompt."""
    no_stop = normalizers.Replace(Regex(r"[!?.]+\z"), "")
    tokenizer.normalizer = normalizers.Sequence([no_stop, *filter(None, [tokenizer.normalizer])])
    return tokenizer


def _described(title: str, side: int) -> str:
    return f"{title}: ResNet at {side} px + BERT"


def _unused(weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    found = [what for prefix, what in UNUSED.items() if any(name.startswith(prefix) for name in weights)]
    return (f"not used: {', '.join(found)}",) if found else ()


class Image(nn.Module):
    """pixel_values (N, 3, H, W) → places in the space of the texts (N, D, h, w), of any length.

    Args:
        weights: of the picture, with what of the file is not used or without.
        what: whose they are, for messages.

    Attributes:
        width: D.
    """

    def __init__(self, weights: Mapping[str, Tensor], what: str) -> None:
        super().__init__()
        own = {name: value for name, value in weights.items() if not name.startswith(tuple(UNUSED))}
        beside = {name: value for name, value in own.items() if not name.startswith((TRUNK, PROJECTOR))}
        try:
            projector = _projector(own[PROJECTOR + "0.weight"], own[PROJECTOR + "3.weight"])
            alone = OneFilm(own[REDUCED], own[ABSENT]) if ABSENT in own else nn.Identity()
        except KeyError as error:
            raise ImportModelError(f"{what} has no {error.args[0]}: it is another version of the model") from None
        self.trunk = build_resnet(part(own, TRUNK), what)
        self.alone = fill(alone, part(beside, "encoder.") if ABSENT in own else beside, what)
        self.projector = fill(projector, part(own, PROJECTOR), what)
        self.width = int(own[PROJECTOR + "3.weight"].shape[0])

    def forward(self, pixel_values: Tensor) -> Tensor:
        return torch.as_tensor(self.projector(self.alone(self.trunk(pixel_values))))


class OneFilm(nn.Module):
    """BioViL-T's places of a film without an earlier one, (N, C, h, w) → (N, 2 · R, h, w); named as in the file.

    Args:
        reduced: (R, C, 1, 1), the convolution's kernel.
        absent: (1, R, 1, 1), what stands for the difference to an earlier film.
    """

    def __init__(self, reduced: Tensor, absent: Tensor) -> None:
        super().__init__()
        self.backbone_to_vit = nn.Conv2d(reduced.shape[1], reduced.shape[0], 1, bias=False)
        self.missing_previous_emb = nn.Parameter(torch.empty_like(absent))

    def forward(self, features: Tensor) -> Tensor:
        places = self.backbone_to_vit(features)
        return torch.cat([places, self.missing_previous_emb.expand_as(places)], dim=1)


class Patches(nn.Module):
    """(N, 3, H, W) → image_embeds (N, D), patch_embeds (N, h, w, D): image/model/model.py, without its smoothing."""

    def __init__(self, image: Image) -> None:
        super().__init__()
        self.image = image

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        places = self.image(pixel_values).permute(0, 2, 3, 1)
        return functional.normalize(places.mean(dim=(1, 2)), dim=-1), functional.normalize(places, dim=-1)


class Mean(nn.Module):
    """(N, 3, H, W) → image_embeds (N, D): the direction of the mean over all places."""

    def __init__(self, image: Image) -> None:
        super().__init__()
        self.image = image

    def forward(self, pixel_values: Tensor) -> Tensor:
        return functional.normalize(self.image(pixel_values).mean(dim=(2, 3)), dim=-1)


class Text(nn.Module):
    """CXR-BERT: input_ids (N, L) → text_embeds (N, D).

    Attributes:
        tokens: of its vocabulary.
        places: tokens that it reads at most.
        width: D.
    """

    def __init__(self, weights: Mapping[str, Tensor], what: str) -> None:
        super().__init__()
        own = {name: value for name, value in weights.items() if not name.startswith(tuple(UNUSED))}
        try:
            words, places = (own[f"bert.embeddings.{name}_embeddings.weight"] for name in ("word", "position"))
            head = _head(own[HEAD + "dense_to_hidden.weight"])
        except KeyError as error:
            raise ImportModelError(f"{what} has no {error.args[0]}: it is not CXR-BERT with its projection") from None
        self.bert: Bert = build_bert(part(own, "bert."), what)
        self.head = fill(head, part(own, HEAD), what)
        self.tokens, self.places, self.width = len(words), len(places), len(own[HEAD + "dense_to_output.weight"])

    def forward(self, input_ids: Tensor) -> Tensor:
        return functional.normalize(self.head(first_token(self.bert(input_ids))), dim=-1)


def _projector(first: Tensor, last: Tensor) -> nn.Module:
    """image/model/modules.py: MLP, of each place alone."""
    hidden, features = first.shape[:2]
    return nn.Sequential(
        nn.Conv2d(features, hidden, 1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU(),
        nn.Conv2d(hidden, last.shape[0], 1),
    )


def _head(first: Tensor) -> nn.Module:
    """text/model/modelling_cxrbert.py: BertProjectionHead, by its names."""
    width, hidden = first.shape
    return nn.Sequential(
        OrderedDict(
            dense_to_hidden=nn.Linear(hidden, width),
            transform_act_fn=nn.GELU(),
            LayerNorm=nn.LayerNorm(width, eps=NORM_EPSILON),
            dense_to_output=nn.Linear(width, width),
        )
    )
