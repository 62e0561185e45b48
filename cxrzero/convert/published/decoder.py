"""The decoder that KAD, MAVL and MedKLIP score with: questions look at each other and at the places of the film.

All three took DETR's decoder in its pre-norm form (KAD A3_CLIP/models/transformer_decoder.py: forward_pre, commit
591d999; MAVL Zero-shot_classification/models/transformer.py, 6a5eacd; MedKLIP, 8e60b03). In every layer the questions
first attend to each other, which is why what a label gets depends on the labels that are asked with it. No position is
added to places or questions: none of the three passes `pos` or `query_pos`. Names of modules are the published ones.
CARZero has the same without questions that look at each other (`CrossLayer`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrzero.convert.published.layout import fill, part
from cxrzero.errors import ImportModelError

# Stated by the code of all three (`TransformerDecoderLayer(d_model, 4, …)`, `H: 4`); no tensor tells it.
HEADS = 4
# All questions in one call; σ of the logit is what their test scripts take of the softmax, class 1 of 2.
CLASSES = 2  # absent, present
SCORING = {"rule": "scorer", "scale": 1.0, "bias": 0.0, "pairs": False, "labels": "together"}


class Attention(nn.Module):
    """nn.MultiheadAttention's numbers by its names, batch first, with the weights averaged over the heads.

    Its own module is not taken, as its trace holds the numbers of films and questions fast.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, asking: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        """(N, L, D) and (N, T, D) → what is found (N, L, D), and the weights (N, L, T), rows of sum 1."""
        query_weight, *rest_weight = self.in_proj_weight.chunk(3)
        query_bias, *rest_bias = self.in_proj_bias.chunk(3)
        query = _heads(functional.linear(asking, query_weight, query_bias))
        key, value = (
            _heads(functional.linear(asked, weight, bias)) for weight, bias in zip(rest_weight, rest_bias, strict=True)
        )
        weights = (query * (1 / math.sqrt(query.shape[-1])) @ key.transpose(-2, -1)).softmax(dim=-1)
        found = (weights @ value).transpose(1, 2).flatten(2)
        return self.out_proj(found), weights.mean(dim=1)


def _heads(tokens: Tensor) -> Tensor:
    """(N, L, D) → (N, heads, L, D / heads)."""
    return tokens.unflatten(-1, (HEADS, tokens.shape[-1] // HEADS)).transpose(1, 2)


class CrossLayer(nn.Module):
    """Pre-norm: each of two parts reads normalised questions and adds to them; the places are not normalised."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.multihead_attn = Attention(width)
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, questions: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """(N, L, D) and (N, T, D) → questions (N, L, D), and where each looked (N, L, T)."""
        found, weights = self.multihead_attn(self.norm2(questions), places)
        questions = questions + found
        return questions + self.linear2(functional.relu(self.linear1(self.norm3(questions)))), weights


class DecoderLayer(CrossLayer):
    """Before these two parts, one in which the questions look at each other."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(width, hidden)
        self.self_attn, self.norm1 = Attention(width), nn.LayerNorm(width)

    def forward(self, questions: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """As `CrossLayer`."""
        normed = self.norm1(questions)
        return super().forward(questions + self.self_attn(normed, normed)[0], places)


class Decoder(nn.Module):
    """Layers one after another, then a norm."""

    def __init__(self, width: int, hidden: int, layers: int, kind: type[CrossLayer] = DecoderLayer) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.ModuleList(kind(width, hidden) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, questions: Tensor, places: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(N, L, D) and (N, T, D) → answers (N, L, D), and of each layer where the questions looked (N, L, T)."""
        looked = []
        for layer in self.layers:
            questions, weights = layer(questions, places)
            looked.append(weights)
        return self.norm(questions), looked


class QuestionScorer(nn.Module):
    """Scores places against questions of `sentences` sentences each, whose answers one linear layer reads side by side.

    The logit is that of "present" less that of "absent": its σ is the softmax of the two.

    Args:
        layers_looked: how many of the last layers' weights are the map: KAD draws the last one's, MAVL and MedKLIP the
            mean of four.
        sentences_looked: of which sentences of a question the map is the mean.
        grid: (h, w) of the places.
    """

    def __init__(
        self,
        decoder: Decoder,
        head: nn.Linear,
        grid: tuple[int, int],
        layers_looked: int,
        sentences_looked: tuple[int, ...] = (0,),
    ) -> None:
        super().__init__()
        self.decoder, self.head, self.grid = decoder, head, grid
        self.layers_looked, self.sentences_looked = layers_looked, sentences_looked

    def forward(self, image_tokens: Tensor, text_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(N, T, D) and (L, sentences, D) → logits (N, L), attention (N, L, h, w)."""
        questions = text_tokens.flatten(0, 1)
        answers, looked = self.decoder(questions.expand(image_tokens.shape[0], -1, -1), image_tokens)
        sentences = self.head.in_features // answers.shape[-1]
        classes = self.head(answers.unflatten(1, (-1, sentences)).flatten(2))
        weights = torch.stack(looked[-self.layers_looked :]).mean(dim=0).unflatten(1, (-1, sentences))
        attention = weights[:, :, list(self.sentences_looked)].mean(dim=2)
        return classes[..., 1] - classes[..., 0], attention.unflatten(-1, self.grid)


def decoder_of(weights: Mapping[str, Tensor], prefix: str, what: str) -> Decoder:
    """A decoder with the numbers below `prefix`, its sizes read from their shapes.

    Raises:
        ImportModelError: they are those of another decoder.
    """
    own = part(weights, prefix)
    layers = {name.split(".")[1] for name in own if name.startswith("layers.")}
    first = own.get("layers.0.linear1.weight")
    if first is None or first.ndim != 2 or first.shape[1] % HEADS:
        raise ImportModelError(f"the decoder of {what} has no first layer as it should be")
    return fill(Decoder(first.shape[1], first.shape[0], len(layers)), own, f"the decoder of {what}")
