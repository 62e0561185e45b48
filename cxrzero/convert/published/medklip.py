"""MedKLIP (Wu et al., ICCV 2023): places of a ResNet-50, and a decoder that is asked a book of 75 descriptions.

From MediaBrain-SJTU/MedKLIP at 8e60b03, Sample_zero-shot_Classification_CXR14: models/model_MedKLIP.py, test.py and
dataset/dataset.py. The map is that of Sample_Zero-Shot_Grounding_RSNA/test.py: the mean of the four layers' weights.
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
from cxrzero.convert.published.layout import Layout, Source
from cxrzero.convert.published.parts import check_parts, linear_of
from cxrzero.convert.published.places import Places, steps, trunk_of
from cxrzero.convert.published.sentences import Sentences, SentenceTokens
from cxrzero.convert.towers import AttentionTowers
from cxrzero.convert.weights import StateDict

NAME, TITLE = "medklip", "MedKLIP"
SIZE, GRID = 224, (14, 14)  # `Resize([224, 224])`, and the stride 16 of a trunk without its last stage
PARTS = ("disease_embedding_layer.", "res_features.", "res_l1.", "res_l2.", "decoder.", "classifier.")
OF_TRAINING = ("cl_fc.",)  # the head of its contrastive loss: in the test's network, too, and used nowhere there


def recognises(weights: Mapping[str, Tensor]) -> bool:
    """By what neither KAD (no book) nor MAVL (`backbone`) has."""
    return "disease_embedding_layer.weight" in weights and any(name.startswith("res_features.") for name in weights)


def load(weights: StateDict, source: Source) -> LoadedModel:
    weights = without_text_encoder(weights, source)
    ignored = check_parts(weights, PARTS, OF_TRAINING, TITLE)
    text = read_clinical_bert(source, TITLE)
    book = read_book(source, TITLE, text.tokenizer)
    trunk = trunk_of(weights, "res_features.", f"the ResNet of {TITLE}")
    first, second, asked, head = (
        linear_of(weights, f"{layer}.", TITLE)
        for layer in ("res_l1", "res_l2", "disease_embedding_layer", "classifier")
    )
    one = Sentences(1, LENGTH, text.end, PAD_ID)
    decoder = decoder_of(weights, "decoder.", TITLE)
    towers = AttentionTowers(
        image=Places(trunk, first, nn.ReLU(), second, nn.Identity()),
        text=SentenceTokens(one, text.bert, asked),
        scorer=QuestionScorer(decoder, head, GRID, layers_looked=4),
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
        context_length=LENGTH,
        pad_id=PAD_ID,
        activation="ReLU, GELU in the text tower",
        lineage=NAME,
        card=load_card(NAME),
        arch=None,
        book=book.prompts,
        files=(text.path, *book.files),
        stated=(
            f"text encoder: {text.path.name} (the checkpoint holds none)",
            f"book: {len(book.companions)} findings, each asked by its description, all in every question",
            *(f"not used: {prefix}* (of training alone)" for prefix in ignored),
        ),
    )


MEDKLIP = Layout(NAME, recognises, load)
