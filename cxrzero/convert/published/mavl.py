"""MAVL (Phan et al., CVPR 2024): MedKLIP's decoder, asked for each finding by a description and eight visual aspects.

From HieuPhan33/CVPR2024_MAVL at 6a5eacd, Zero-shot_classification: models/model_MAVL.py (`decoder: cross`), test.py in
the mode "feature", which its figures for CheXpert, NIH and PadChest's seen findings come from, and dataset/dataset.py.
The map is that of Zero-shot_grounding/test.py: the mean of the four layers' weights over the sentences 0, 6, 7 and 8.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from cxrzero.cards.card import load_card
from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.published.bert import PAD_ID
from cxrzero.convert.published.book import LENGTH, read_book
from cxrzero.convert.published.clinical_bert import read_clinical_bert, without_text_encoder
from cxrzero.convert.published.decoder import SCORING, QuestionScorer, decoder_of
from cxrzero.convert.published.layout import Layout, Source, fill, part
from cxrzero.convert.published.parts import check_parts, linear_of
from cxrzero.convert.published.places import Places, steps, trunk_of
from cxrzero.convert.published.sentences import Sentences, SentenceTokens
from cxrzero.convert.towers import AttentionTowers
from cxrzero.convert.weights import StateDict
from cxrzero.errors import ImportModelError

NAME, TITLE = "mavl", "MAVL"
ASPECTS = "gpt4_mimic.json"  # `concept_book` of its configurations, Pretrain/concept_gen
SENTENCES = 9  # the description, then eight aspects
LOOKED = (0, 6, 7, 8)
SIZE, GRID = 224, (14, 14)  # `Resize([224, 224])`, and the stride 16 of a trunk without its last stage
PARTS = ("disease_embedding_layer.", "backbone.", "res_l1.0.", "res_l1.1.", "res_l2.", "decoder.", "classifier.")
# Its pooled picture and their temperatures score by cosine (the mode "text"), `location_emb` says where a finding is.
IGNORED = ("pool.", "temp", "location_emb.")


def recognises(weights: Mapping[str, Tensor]) -> bool:
    """By what neither KAD (no book) nor MedKLIP (`res_features`) has."""
    return "disease_embedding_layer.weight" in weights and any(name.startswith("backbone.") for name in weights)


def load(weights: StateDict, source: Source) -> LoadedModel:
    weights = without_text_encoder(weights, source)
    ignored = check_parts(weights, PARTS, IGNORED, TITLE)
    text = read_clinical_bert(source, TITLE)
    book = read_book(source, TITLE, text.tokenizer, ASPECTS)
    trunk = trunk_of(weights, "backbone.", f"the ResNet of {TITLE}")
    first, second, asked, head = (
        linear_of(weights, f"{layer}.", TITLE)
        for layer in ("res_l1.0", "res_l2", "disease_embedding_layer", "classifier")
    )
    decoder = decoder_of(weights, "decoder.", TITLE)
    if head.in_features != SENTENCES * asked.out_features:
        raise ImportModelError(
            f"the classifier of these weights reads {head.in_features} numbers, that of {TITLE} {SENTENCES} sentences "
            f"of {asked.out_features}: it is another version of it"
        )
    towers = AttentionTowers(
        image=Places(trunk, first, _prelu(weights), second, nn.Identity()),
        text=SentenceTokens(Sentences(SENTENCES, LENGTH, text.end, PAD_ID), text.bert, asked),
        scorer=QuestionScorer(decoder, head, GRID, layers_looked=4, sentences_looked=LOOKED),
        has_attention=True,
    )
    return LoadedModel(
        model=None,
        towers=towers,
        architecture=f"{TITLE}: ResNet of three stages, Bio_ClinicalBERT, decoder of {len(decoder.layers)} layers",
        embed_dim=None,
        image_size=(SIZE, SIZE),
        preprocess=steps(SIZE, "bilinear"),
        scoring={**SCORING, "companions": book.companions},
        tokenizer=text.tokenizer,
        context_length=SENTENCES * LENGTH,
        pad_id=PAD_ID,
        activation="PReLU and ReLU, GELU in the text tower",
        lineage=NAME,
        card=load_card(NAME),
        arch=None,
        book=book.prompts,
        files=(text.path, *book.files),
        sentences=SENTENCES,
        stated=(
            f"text encoder: {text.path.name} (the checkpoint holds none)",
            f"book: {len(book.companions)} findings, each asked by {SENTENCES} sentences, all in every question",
            *(f"not used: {prefix}* (no part of the scores by attention)" for prefix in ignored),
        ),
    )


def _prelu(weights: Mapping[str, Tensor]) -> nn.PReLU:
    """The activation between the two layers, with one slope for all channels."""
    return fill(nn.PReLU(), part(weights, "res_l1.1."), f"the activation of {TITLE}")


MAVL = Layout(NAME, recognises, load)
