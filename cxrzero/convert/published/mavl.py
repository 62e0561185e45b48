"""MAVL (Phan et al., CVPR 2024): MedKLIP's decoder, asked for each finding by a description and eight visual aspects.

From HieuPhan33/CVPR2024_MAVL at 6a5eacd, Zero-shot_classification: models/model_MAVL.py (`decoder: cross`), test.py in
the mode "feature", which its figures for CheXpert, NIH and PadChest's seen findings come from, and dataset/dataset.py.
The map is that of Zero-shot_grounding/test.py: the mean of the four layers' weights over the sentences 0, 6, 7 and 8.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.published.booked import Booked, load_booked
from cxrzero.convert.published.clinical_bert import without_text_encoder
from cxrzero.convert.published.layout import Layout, Source, fill, part
from cxrzero.convert.published.parts import check_parts
from cxrzero.convert.weights import StateDict

NAME, TITLE = "mavl", "MAVL"
ASPECTS = "gpt4_mimic.json"  # `concept_book` of its configurations, Pretrain/concept_gen
SLOPE = "res_l1.1."  # of the PReLU between the two layers, one for all channels
PARTS = ("disease_embedding_layer.", "backbone.", "res_l1.0.", SLOPE, "res_l2.", "decoder.", "classifier.")
# Its pooled picture and their temperatures score by cosine (the mode "text"), `location_emb` says where a finding is.
UNUSED = ("pool.", "temp", "location_emb.")


def recognises(weights: Mapping[str, Tensor]) -> bool:
    """By what neither KAD (no book) nor MedKLIP (`res_features`) has."""
    return "disease_embedding_layer.weight" in weights and any(name.startswith("backbone.") for name in weights)


def load(weights: StateDict, source: Source) -> LoadedModel:
    weights = without_text_encoder(weights, source)
    unused = check_parts(weights, PARTS, UNUSED, TITLE)
    kind = Booked(
        name=NAME,
        title=TITLE,
        trunk="backbone.",
        first="res_l1.0.",
        between=fill(nn.PReLU(), part(weights, SLOPE), f"the activation of {TITLE}"),
        aspects=ASPECTS,
        sentences=9,
        looked=(0, 6, 7, 8),
        activation="PReLU and ReLU, GELU in the text tower",
    )
    return load_booked(kind, weights, source, unused)


MAVL = Layout(NAME, recognises, load)
