"""What one model does with a decoded picture: preprocess, encode, remember. An ensemble has several side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxrzero.backends import Encoder
from cxrzero.cache.images import FileRecord
from cxrzero.pipeline.cached import Cache
from cxrzero.pipeline.items import Frame, PixelValues

Prepare = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Embedder:
    """One model's stages.

    Attributes:
        prepare: (H, W) uint8 → (3, height, width) float32; called from several threads. Models with equal
            preprocessing share one object, and what it gives.
        encoder: (N, 3, height, width) → (N, D).
        cache: embeddings of earlier runs; None neither asks nor keeps.
    """

    prepare: Prepare
    encoder: Encoder
    cache: Cache | None = None


def prepare_missing(
    prepares: Sequence[Prepare],
    records: Sequence[FileRecord | None],
    pixels: npt.NDArray[np.uint8],
    frame: int,
    digest: int,
) -> tuple[list[PixelValues | None], list[bytes]]:
    """Preprocess a picture for the models that have no embedding of it, once per distinct preprocessing.

    Args:
        prepares: of each model.
        records: for each model what its cache knows of the file.
        pixels: (H, W) uint8, of frame number `frame` (1-based) and with that content `digest`.

    Returns:
        For each model its encoder's input, or None, and the embedding that is there, or nothing.
    """
    embeddings = [_stored(record, frame, digest) for record in records]
    done: dict[Prepare, PixelValues] = {}
    for prepare, embedding in zip(prepares, embeddings, strict=True):
        if not embedding and prepare not in done:
            done[prepare] = prepare(pixels)
    values = [None if e else done[prepare] for prepare, e in zip(prepares, embeddings, strict=True)]
    return values, embeddings


def embed(embedders: Sequence[Embedder], frames: Sequence[Frame]) -> int:
    """Encode what is missing, each model in one call; returns how many embeddings were made."""
    made = 0
    for index, embedder in enumerate(embedders):
        pending = [(frame, values) for frame in frames if (values := frame.pixel_values[index]) is not None]
        if not pending:
            continue
        image_embeds = embedder.encoder.encode_images(np.stack([values for _, values in pending]))
        for (frame, _), row in zip(pending, image_embeds, strict=True):
            frame.embeddings[index] = row.astype("<f4").tobytes()
        made += len(pending)
    for frame in frames:
        frame.pixel_values = []
    return made


def _stored(record: FileRecord | None, frame: int, digest: int) -> bytes:
    if record is None or frame > len(record.frames):
        return b""
    stored = record.frames[frame - 1]
    return stored.embedding if (stored.frame, stored.digest) == (frame, digest) else b""
