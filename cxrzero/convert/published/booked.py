"""MedKLIP and MAVL put together: what is alike in both, around what each of them names differently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from cxrzero.cards.card import load_card
from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.published.bert import PAD_ID
from cxrzero.convert.published.book import LENGTH, read_book
from cxrzero.convert.published.clinical_bert import read_clinical_bert
from cxrzero.convert.published.decoder import CLASSES, SCORING, QuestionScorer, decoder_of
from cxrzero.convert.published.layout import Source
from cxrzero.convert.published.parts import check_joints, linear_of
from cxrzero.convert.published.places import Places, steps, trunk_of
from cxrzero.convert.published.sentences import Sentences, SentenceTokens
from cxrzero.convert.towers import AttentionTowers

SIZE, GRID = 224, (14, 14)  # `Resize([224, 224])`, and the stride 16 of a trunk without its last stage
LAYERS_LOOKED = 4  # of which both take the mean for their maps


@dataclass(frozen=True)
class Booked:
    """What tells one of the two from the other.

    Attributes:
        name: of its card.
        trunk, first: where the ResNet's tensors and the first layer's stand.
        between: the activation after the first layer.
        aspects: the file with more sentences of each finding, or None.
        sentences: of a question.
        looked: of which of them the map is the mean.
        activation: in words.
    """

    name: str
    title: str
    trunk: str
    first: str
    between: nn.Module
    aspects: str | None
    sentences: int
    looked: tuple[int, ...]
    activation: str


def load_booked(kind: Booked, weights: Mapping[str, Tensor], source: Source, unused: list[str]) -> LoadedModel:
    """Build the model of these weights, of the text encoder and of the book that the user brings.

    Args:
        unused: parts that are there and decide no score.

    Raises:
        ImportModelError: something is missing, or belongs to another model.
    """
    title = kind.title
    text = read_clinical_bert(source, title)
    book = read_book(source, title, text.tokenizer, kind.aspects)
    trunk = trunk_of(weights, kind.trunk, f"the ResNet of {title}")
    first, second, asked, head = (
        linear_of(weights, prefix, title)
        for prefix in (kind.first, "res_l2.", "disease_embedding_layer.", "classifier.")
    )
    decoder = decoder_of(weights, "decoder.", title)
    check_joints(
        {
            "the ResNet": (trunk.channels, first.in_features),
            "the first layer": (first.out_features, second.in_features),
            "res_l2": (second.out_features, decoder.width),
            "the text encoder": (text.width, asked.in_features),
            "disease_embedding_layer": (asked.out_features, decoder.width),
            "the decoder": (kind.sentences * decoder.width, head.in_features),
            "classifier": (head.out_features, CLASSES),
        },
        title,
    )
    towers = AttentionTowers(
        image=Places(trunk, first, kind.between, second, nn.Identity()),
        text=SentenceTokens(Sentences(kind.sentences, LENGTH, text.end, PAD_ID), text.bert, asked),
        scorer=QuestionScorer(decoder, head, GRID, LAYERS_LOOKED, kind.looked),
        has_attention=True,
    )
    asks = "its description" if kind.sentences == 1 else f"{kind.sentences} sentences"
    return LoadedModel(
        model=None,
        towers=towers,
        architecture=f"{title}: ResNet of three stages, Bio_ClinicalBERT, decoder of {len(decoder.layers)} layers",
        embed_dim=None,
        image_size=(SIZE, SIZE),
        preprocess=steps(SIZE, "bilinear"),
        scoring={**SCORING, "companions": book.companions},
        tokenizer=text.tokenizer,
        context_length=kind.sentences * LENGTH,
        pad_id=PAD_ID,
        activation=kind.activation,
        lineage=kind.name,
        card=load_card(kind.name),
        arch=None,
        book=book.prompts,
        files=(text.path, *book.files),
        sentences=kind.sentences,
        stated=(
            f"text encoder: {text.path.name} (the checkpoint holds none)",
            f"book: {len(book.companions)} findings, each asked by {asks}, all in every question",
            *(f"not used: {prefix}* (no part of the scores by attention)" for prefix in unused),
        ),
    )
