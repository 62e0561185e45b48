"""What a user's encoders are tried on: drawn films, noise and sentences, as the graph takes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import helper

from cxrzero.convert.own.asked import OwnEncoders
from cxrzero.convert.own.ends import End, ImageGraph, TextGraph
from cxrzero.convert.own.steps import Steps
from cxrzero.convert.own.trial import Feed
from cxrzero.convert.own.words import Words
from cxrzero.phantom import draw

LABELS = ("pneumonia", "pleural effusion", "enlarged heart")
MOST = 2  # sentences of a side: large text encoders take a second for each
FILM_SIDE = 320  # pixels, of what is drawn


def pictures(steps: Steps) -> npt.NDArray[np.float32]:
    """(4, 3, H, W): three drawn radiographs as the encoder will see them, and noise."""
    noise = np.random.default_rng(0).integers(0, 256, (FILM_SIDE, FILM_SIDE), dtype=np.uint8)
    films = [draw(seed, FILM_SIDE).to_uint8() for seed in (0, 1, 2)]
    return np.stack([steps.preprocess(film) for film in (*films, noise)])


def sentences(asked: OwnEncoders, words: Words) -> list[str]:
    templates = (*asked.templates.positive[:MOST], *asked.templates.negative[:MOST])
    return [*(template.replace("{}", label) for template in templates for label in LABELS), words.longest()]


def picture_feeds(image: ImageGraph, pixels: npt.NDArray[np.float32]) -> Iterator[Feed]:
    """Each picture of (M, 3, H, W) as the user's graph takes it, as often as its batch is fixed to."""
    pixels = pixels[:, : image.channels]
    if image.channels_last:
        pixels = np.moveaxis(pixels, 1, -1)
    for picture in pixels:
        yield {image.input.name: _filled(picture, image.input)}


def text_feeds(text: TextGraph, ids: npt.NDArray[np.int64], is_token: npt.NDArray[np.bool_]) -> Iterator[Feed]:
    """Each text (M, L) as the user's graph takes it; masks are known here, not derived."""
    for row, mask in zip(ids, is_token, strict=True):
        given = [(text.ids, row), (text.mask, mask), (text.kinds, np.zeros_like(row))]
        yield {end.name: _filled(values, end) for end, values in given if end is not None}


def _filled(one: npt.NDArray[Any], end: End) -> npt.NDArray[Any]:
    dtype = helper.tensor_dtype_to_np_dtype(end.dtype)
    return np.ascontiguousarray(np.repeat(one[None], end.fixed_batch or 1, axis=0).astype(dtype))
