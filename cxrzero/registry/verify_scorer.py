"""Does a model that scores by attention answer as it did when it was imported (`cxrzero.convert.example`)?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cxrzero.backends import Encoder
from cxrzero.convert.example import EXAMPLE, FILMS, SENTENCES, example_rows
from cxrzero.display.counts import counted
from cxrzero.maths import Float32s
from cxrzero.model.bundle import Bundle

# In standard deviations of the logits: what another processor changes is a hundredth of that.
TOLERANCE = 0.01


def check_scorer(bundle: Bundle, encoder: Encoder) -> tuple[bool, str]:
    """Whether its answer is that of the import, and the same when asked again; and what was found."""
    rows = example_rows(bundle, encoder)
    found = encoder.score(*rows)
    if not np.array_equal(found, encoder.score(*rows)):
        return False, "the same films and sentences give two results"
    if np.allclose(found, found[:1]):
        return False, "different films give one and the same logit"
    shape = f"{counted(found.shape[0], 'film')} × {counted(found.shape[1], 'sentence')}"
    provenance = bundle.card.get("provenance")
    noted = provenance.get(EXAMPLE) if isinstance(provenance, Mapping) else None
    if not isinstance(noted, Mapping) or (noted.get("films"), noted.get("sentences")) != (FILMS, list(SENTENCES)):
        return True, f"logits of {shape}, finite, and the same when computed again; the import noted none to compare"
    return _compare(found, noted.get("logits"), shape)


def check_attention(bundle: Bundle, encoder: Encoder) -> tuple[bool, str]:
    """Whether it says where it looks; shape and finite values are the encoder's own checks."""
    found = encoder.attend(*example_rows(bundle, encoder))
    if np.allclose(found, found[:, :, :1, :1]):
        return False, "it looks at all places alike"
    return True, f"{found.shape[2]} × {found.shape[3]} places"


def _compare(found: Float32s, logits: object, shape: str) -> tuple[bool, str]:
    try:
        expected = np.array(logits, np.float64)
    except (TypeError, ValueError):
        expected = np.empty(0)
    if expected.shape != found.shape or not expected.std() > 0:
        return False, f"model.json does not note the logits of {shape} as an import does"
    off = float(np.abs(found - expected).max() / expected.std())
    if not off <= TOLERANCE:
        return False, (
            f"logits are not those of the import (off by {off:.2g} of their standard deviation): the graphs do not "
            "belong together, or something else than the files was changed"
        )
    return True, f"logits of {shape} as the import noted them, within {off:.2g} of their standard deviation"
