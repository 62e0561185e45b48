"""Does a model that scores by attention answer as it did when it was imported?

Hashes say that files are what model.json describes, not that they were made from one model. So an import notes the
logits of some drawn films and sentences in `provenance`, and whoever verifies asks again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cxrzero.backends import Encoder
from cxrzero.maths import Float32s
from cxrzero.model.bundle import Bundle
from cxrzero.model.model_json import TOKENIZER
from cxrzero.model.preprocess import Preprocess
from cxrzero.model.tokenizer import Tokenizer
from cxrzero.phantom import draw

EXAMPLE = "example"  # in `provenance`
FILMS = 4  # drawn, by the seeds 0, 1, …
SENTENCES = ("pneumonia", "pleural effusion", "cardiomegaly")
# In standard deviations of a logit over these films: what another processor changes is a hundredth of that.
TOLERANCE = 0.01


def example(bundle: Bundle, encoder: Encoder) -> dict[str, Any]:
    """What `provenance` notes: the logits of drawn films (rows) and sentences."""
    return {"films": FILMS, "sentences": list(SENTENCES), "logits": _logits(bundle, encoder).tolist()}


def check_scorer(bundle: Bundle, encoder: Encoder) -> tuple[bool, str]:
    """Whether its answer is that of the import, and the same when asked again; and what was found."""
    found = _logits(bundle, encoder)
    if not np.array_equal(found, _logits(bundle, encoder)):
        return False, "the same films and sentences give two results"
    if np.allclose(found, found[:1]):
        return False, "different films give one and the same logit"
    shape = f"{found.shape[0]} films × {found.shape[1]} sentences"
    provenance = bundle.card.get("provenance")
    noted = provenance.get(EXAMPLE) if isinstance(provenance, Mapping) else None
    if not isinstance(noted, Mapping) or noted.get("sentences") != list(SENTENCES) or noted.get("films") != FILMS:
        return True, f"logits of {shape}, finite, and the same when computed again; the import noted none to compare"
    expected = np.asarray(noted.get("logits"), np.float64)
    if expected.shape != found.shape:
        return False, f"model.json has logits of shape {expected.shape} for {shape}"
    off = float(np.abs(found - expected).max() / expected.std())
    if not off <= TOLERANCE:
        return False, (
            f"logits are not those of the import (off by {off:.2g} standard deviations): the graphs do not belong "
            "together, or were changed"
        )
    return True, f"logits of {shape} as the import noted them, within {off:.2g} of their standard deviation"


def check_attention(bundle: Bundle, encoder: Encoder) -> tuple[bool, str]:
    """Whether it says where it looks; shape and finite values are the encoder's own checks."""
    found = encoder.attend(_films(bundle, encoder), _texts(bundle, encoder))
    if np.allclose(found, found[:, :, :1, :1]):
        return False, "it looks at all places alike"
    return True, f"{found.shape[2]} × {found.shape[3]} places"


def _logits(bundle: Bundle, encoder: Encoder) -> Float32s:
    return encoder.score(_films(bundle, encoder), _texts(bundle, encoder))


def _films(bundle: Bundle, encoder: Encoder) -> Float32s:
    preprocess = Preprocess(bundle.preprocess, bundle.image_size)
    return encoder.encode_images(np.stack([preprocess(draw(seed).to_uint8()) for seed in range(FILMS)]))


def _texts(bundle: Bundle, encoder: Encoder) -> Float32s:
    tokenizer = Tokenizer(bundle.file(TOKENIZER), bundle.context_length, bundle.pad_id)
    return encoder.encode_texts(tokenizer(SENTENCES))
