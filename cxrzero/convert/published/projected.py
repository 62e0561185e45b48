"""Dual encoders of which each tower ends in one matrix: a picture's places beside BERT's tokens, pooled and projected.

Their BERT is Bio_ClinicalBERT, tuned and inside the checkpoint; the user brings its vocabulary. Texts are lower-cased
although its words are not: the repository has no tokenizer_config.json, and transformers' `AutoTokenizer` then makes a
`BertTokenizerFast` of vocab.txt, whose `do_lower_case` is true where nothing says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from cxrzero.convert.published.bert import Bert, build_bert
from cxrzero.convert.published.layout import Source, fill, part, refuse_others
from cxrzero.convert.published.resnet import ResNet
from cxrzero.convert.published.swin import Swin
from cxrzero.convert.towers import Towers
from cxrzero.convert.vocabulary import read_vocabulary
from cxrzero.errors import ImportModelError

CLINICAL_BERT = "emilyalsentzer/Bio_ClinicalBERT"
Pooling = Callable[[Bert, Tensor], Tensor]


class _Projected(nn.Module):
    def __init__(self, trunk: ResNet | Swin, projection: nn.Linear) -> None:
        super().__init__()
        self.trunk, self.projection = trunk, projection


class MeanOfPlaces(_Projected):
    """(N, 3, H, W) → image_embeds (N, D), in the order in which its authors compute: mean, then projection."""

    def forward(self, pixel_values: Tensor) -> Tensor:
        return functional.normalize(self.projection(self.trunk.places(pixel_values).mean(dim=(1, 2))), dim=-1)


class ProjectedPlaces(_Projected):
    """The same numbers in another order, for mean and projection are linear: also patch_embeds (N, h, w, D)."""

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        patches = self.projection(self.trunk.places(pixel_values))
        return functional.normalize(patches.mean(dim=(1, 2)), dim=-1), functional.normalize(patches, dim=-1)


class FirstPlace(_Projected):
    """(N, 3, H, W) → image_embeds (N, D), of the upper left place alone."""

    def forward(self, pixel_values: Tensor) -> Tensor:
        return functional.normalize(self.projection(self.trunk.places(pixel_values)[:, 0, 0]), dim=-1)


class ProjectedText(nn.Module):
    """input_ids (N, L) → text_embeds (N, D); `pooling` makes one row of what BERT says of the tokens."""

    def __init__(self, bert: Bert, pooling: Pooling, projection: nn.Linear) -> None:
        super().__init__()
        self.bert, self.pooling, self.projection = bert, pooling, projection

    def forward(self, input_ids: Tensor) -> Tensor:
        return functional.normalize(self.projection(self.pooling(self.bert, input_ids)), dim=-1)


@dataclass(frozen=True)
class TextTower:
    """A text tower with its tokenizer, and how many tokens it takes at most."""

    encoder: ProjectedText
    tokenizer: Tokenizer
    context: int
    architecture: str


def text_tower(
    weights: Mapping[str, Tensor], bert: str, projection: str, pooling: Pooling, context: int, source: Source, what: str
) -> TextTower:
    """A Bio_ClinicalBERT and its matrix.

    Args:
        bert, projection: prefixes of their tensors' names.
        context: tokens that the authors' call of the tokenizer leaves.
        what: the model, for messages.

    Raises:
        ImportModelError: a tensor or the vocabulary is missing, or they do not belong together.
    """
    model = build_bert(part(weights, bert), what)
    config: Any = model.model.config
    matrix = projection_of(weights, projection, config.hidden_size, what)
    tokenizer = read_vocabulary(source, config.vocab_size, lower_case=True, origin=CLINICAL_BERT)
    architecture = f"BERT {config.num_hidden_layers}x{config.hidden_size}"
    encoder = ProjectedText(model, pooling, matrix)
    return TextTower(encoder, tokenizer, min(context, config.max_position_embeddings), architecture)


def check_parts(weights: Mapping[str, Tensor], needed: tuple[str, ...], ignored: tuple[str, ...], what: str) -> None:
    """That each part of a model is there, by the beginning of its tensors' names, and that nothing else is.

    Raises:
        ImportModelError: names what is missing, or of no part.
    """
    missing = [prefix for prefix in needed if not any(name.startswith(prefix) for name in weights)]
    if missing:
        raise ImportModelError(
            f"{what} is not whole: these weights have no {', '.join(f'{each}*' for each in missing)}"
        )
    refuse_others(weights, (*needed, *ignored), what)


def projection_of(weights: Mapping[str, Tensor], prefix: str, width: int, what: str) -> nn.Linear:
    """The matrix below a prefix, for a tower that gives rows of `width`, and its bias where it has one.

    Raises:
        ImportModelError: it is not there, or is of another width.
    """
    own = part(weights, prefix)
    rows = own["weight"].shape[0] if "weight" in own and own["weight"].ndim else 0
    return fill(nn.Linear(width, rows, bias="bias" in own), own, f"{prefix}weight of {what}")


def pair(trunk: ResNet | Swin, projection: nn.Linear, text: TextTower, what: str, *, by_mean: bool) -> Towers:
    """Both towers; where a picture's embedding is the projected mean of its places, each place is a patch.

    Raises:
        ImportModelError: they end in different spaces.
    """
    widths = projection.out_features, text.encoder.projection.out_features
    if widths[0] != widths[1]:
        raise ImportModelError(f"{what}: pictures are projected to {widths[0]} numbers and texts to {widths[1]}")
    if by_mean:
        return Towers(ProjectedPlaces(trunk, projection), MeanOfPlaces(trunk, projection), text.encoder, True)
    first = FirstPlace(trunk, projection)
    return Towers(first, first, text.encoder, False)
