"""What one model does with a decoded picture: preprocess, encode, remember. An ensemble has several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from cxrzero.backends import Encoder
from cxrzero.cache.images import FileRecord
from cxrzero.model.geometry import Geometry
from cxrzero.model.values import ValueSteps
from cxrzero.pipeline.cached import Cache
from cxrzero.pipeline.films import as_they_go
from cxrzero.pipeline.items import Frame, Input, Preprocessing


@dataclass(frozen=True, slots=True)
class Embedder:
    """One model's stages after preprocessing.

    Attributes:
        cache: embeddings of earlier runs; None neither asks nor keeps.
        steps: of an encoder that is given fitted pictures, what it does with them first; None where it is given
            pixel_values.
        geometry: of one that is given films, what it does with them before that; None where they are fitted.
        dtype: of the numbers that are scored and kept, which hold exactly what the encoder gives.
    """

    encoder: Encoder
    cache: Cache | None = None
    steps: ValueSteps | None = None
    geometry: Geometry | None = None
    dtype: str = "<f4"

    def encode(self, inputs: Sequence[Input]) -> npt.NDArray[np.float32]:
        """Embed pictures in one call: (N, F)."""
        if self.steps is None:
            return self.encoder.encode_images(np.stack(cast(Sequence[npt.NDArray[np.float32]], inputs)))
        pictures = cast(Sequence[npt.NDArray[np.uint8]], inputs)
        if self.geometry is None:
            return self.encoder.encode_fitted(pictures, self.steps)
        return self.encoder.encode_films(pictures, self.geometry, self.steps)


def inputs_of(
    preprocessings: Sequence[Preprocessing],
    records: Sequence[FileRecord | None],
    pixels: npt.NDArray[np.uint8],
    frame: int,
    digest: int,
) -> tuple[list[Input | None], list[bytes]]:
    """Preprocess a picture for the models that have no embedding of it, once per distinct preprocessing.

    Args:
        preprocessings: of each model.
        records: for each model what its cache knows of the file.
        pixels: (H, W) uint8, of frame number `frame` (1-based) and with that content `digest`.

    Returns:
        For each model its encoder's input, or None, and the embedding that is there, or nothing.
    """
    preprocessings = as_they_go(preprocessings, pixels, frame)
    embeddings = [_stored(record, frame, digest) for record in records]
    done: dict[Preprocessing, Input] = {}
    for preprocess, embedding in zip(preprocessings, embeddings, strict=True):
        if not embedding and preprocess not in done:
            done[preprocess] = preprocess(pixels)
    inputs = [None if e else done[preprocess] for preprocess, e in zip(preprocessings, embeddings, strict=True)]
    return inputs, embeddings


def embed(embedders: Sequence[Embedder], frames: Sequence[Frame]) -> int:
    """Encode what is missing, each model in one call; returns how many embeddings were made."""
    made = 0
    for index, embedder in enumerate(embedders):
        pending = [(frame, each) for frame in frames if (each := frame.inputs[index]) is not None]
        if not pending:
            continue
        image_embeds = embedder.encode([each for _, each in pending])
        for (frame, _), row in zip(pending, image_embeds, strict=True):
            frame.embeddings[index] = row.astype(embedder.dtype).tobytes()
        made += len(pending)
    for frame in frames:
        frame.inputs = []
    return made


def _stored(record: FileRecord | None, frame: int, digest: int) -> bytes:
    if record is None or frame > len(record.frames):
        return b""
    stored = record.frames[frame - 1]
    return stored.embedding if (stored.frame, stored.digest) == (frame, digest) else b""
