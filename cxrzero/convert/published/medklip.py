"""MedKLIP (Wu et al., ICCV 2023): places of a ResNet-50, and a decoder that is asked a book of 75 descriptions.

From MediaBrain-SJTU/MedKLIP at 8e60b03, Sample_zero-shot_Classification_CXR14: models/model_MedKLIP.py, test.py and
dataset/dataset.py. The map is that of Sample_Zero-Shot_Grounding_RSNA/test.py: the mean of the four layers' weights.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.published.booked import Booked, load_booked
from cxrzero.convert.published.clinical_bert import without_text_encoder
from cxrzero.convert.published.layout import Layout, Source
from cxrzero.convert.published.parts import check_parts
from cxrzero.convert.weights import StateDict

NAME, TITLE = "medklip", "MedKLIP"
PARTS = ("disease_embedding_layer.", "res_features.", "res_l1.", "res_l2.", "decoder.", "classifier.")
OF_TRAINING = ("cl_fc.",)  # the head of its contrastive loss: in the test's network, too, and used nowhere there


def recognises(weights: Mapping[str, Tensor]) -> bool:
    """By what neither KAD (no book) nor MAVL (`backbone`) has."""
    return "disease_embedding_layer.weight" in weights and any(name.startswith("res_features.") for name in weights)


def load(weights: StateDict, source: Source) -> LoadedModel:
    weights = without_text_encoder(weights, source)
    unused = check_parts(weights, PARTS, OF_TRAINING, TITLE)
    kind = Booked(
        name=NAME,
        title=TITLE,
        trunk="res_features.",
        first="res_l1.",
        between=nn.ReLU(),
        aspects=None,
        sentences=1,
        looked=(0,),
        activation="ReLU, GELU in the text tower",
    )
    return load_booked(kind, weights, source, unused)


MEDKLIP = Layout(NAME, recognises, load)
