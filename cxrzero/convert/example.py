"""What an import notes of a model that scores by attention: its logits of some drawn films and sentences.

Hashes say that files are what model.json describes, not that they were made from one model: whoever verifies asks
again. Needs no torch.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrzero.backends import Encoder
from cxrzero.images.radiograph import GreyImage
from cxrzero.maths import Float32s
from cxrzero.model.bundle import Bundle
from cxrzero.model.model_json import TOKENIZER
from cxrzero.model.preprocess import Preprocess
from cxrzero.model.tokenizer import Tokenizer
from cxrzero.phantom import draw, sample_findings

EXAMPLE = "example"  # in `provenance`
FILMS = 4
SENTENCES = ("pneumonia", "pleural effusion", "cardiomegaly")
# Pixels: enough for films that differ, and drawn in a tenth of a second.
SIDE = 256


def drawn(number: int) -> list[GreyImage]:
    """Drawn radiographs, each with findings of its own; always the same."""
    return [_drawn(seed) for seed in range(number)]


@functools.cache
def _drawn(seed: int) -> GreyImage:
    return draw(seed, SIDE, sample_findings(np.random.default_rng(seed))).to_uint8()


def example_rows(bundle: Bundle, encoder: Encoder) -> tuple[Float32s, Float32s]:
    """What the encoders give of the films and of the sentences."""
    preprocess = Preprocess(bundle.preprocess, bundle.image_size)
    pixel_values: npt.NDArray[np.float32] = np.stack([preprocess(film) for film in drawn(FILMS)])
    tokenizer = Tokenizer(bundle.file(TOKENIZER), bundle.context_length, bundle.pad_id)
    return encoder.encode_images(pixel_values), encoder.encode_texts(tokenizer(SENTENCES))


def noted(bundle: Bundle, encoder: Encoder) -> dict[str, Any]:
    """The entry: the logits of films (rows) and sentences."""
    logits = encoder.score(*example_rows(bundle, encoder))
    return {"films": FILMS, "sentences": list(SENTENCES), "logits": logits.tolist()}
