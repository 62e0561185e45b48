"""--refit: the projection of a run's kept weights, fitted once more to all that is known of the training images.

What the loss has learned by example is then read from the features as well as a linear layer can, with every truth of
every training image counted at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from open_clip.model import CustomTextCLIP

from cxrzero.maths import Ints
from cxrzero.train.data.pairs import Pairs
from cxrzero.train.material import Material
from cxrzero.train.model.erase import Floats
from cxrzero.train.model.readout import Images, Texts, fit_readout
from cxrzero.train.model.weights import Projection

OTHER_SIDE = {"left": "right", "right": "left"}


def refit(model: CustomTextCLIP, features: Floats, images: Ints, material: Material) -> dict[str, int]:
    """Fit the projection; what it was fitted to.

    Args:
        features: (N, F) what the projection is given of the images.
        images: (N,) indices into `Pairs.images`.
    """
    pairs = material.pairs
    used = np.unique(np.concatenate([pairs.true_texts[image] for image in images]))
    drawn = _drawn(pairs, images)[used]
    texts = Texts(
        material.validator.text_embeds(model, [pairs.texts[text] for text in used]).astype(np.float64),
        drawn / drawn.sum(),
        mirrored([pairs.texts[text] for text in used]),
    )
    embeds = Projection.of(model)(features)
    known = Images(features, embeds, _said(pairs, images, used, texts), _groups(pairs, images), _weights(pairs, images))
    Projection(*fit_readout(known, texts)).put_into(model)
    return {"images": len(images), "texts": len(used)}


def mirrored(texts: Sequence[str]) -> Ints:
    """(M, 2) numbers of texts that differ by left and right alone."""
    numbers = {text: number for number, text in enumerate(texts)}
    others = ((number, numbers.get(_mirror(text), number)) for text, number in numbers.items())
    return np.array([pair for pair in others if pair[0] < pair[1]], np.int64).reshape(-1, 2)


def _mirror(text: str) -> str:
    return " ".join(OTHER_SIDE.get(word, word) for word in text.split(" "))


def _drawn(pairs: Pairs, images: Ints) -> Floats:
    """(T,) how often each text is drawn, relative to others."""
    texts = np.concatenate([pairs.true_texts[image] for image in images])
    weights = np.concatenate([pairs.weights[image] for image in images])
    return np.bincount(texts, weights=weights, minlength=len(pairs.texts)).astype(np.float64)


def _said(pairs: Pairs, images: Ints, used: Ints, texts: Texts) -> Floats:
    """(N, D)."""
    rows = []
    for image in images:
        places = np.searchsorted(used, pairs.true_texts[image])
        rows.append((pairs.truths[image] * texts.weights[places]) @ texts.embeds[places])
    return np.stack(rows)


def _groups(pairs: Pairs, images: Ints) -> Ints:
    return np.unique([pairs.groups[image] for image in images], return_inverse=True)[1].astype(np.int64)


def _weights(pairs: Pairs, images: Ints) -> Floats:
    """(N,) between counting each image once and counting it as often as it is drawn."""
    return np.sqrt([pairs.weights[image].max() for image in images])
