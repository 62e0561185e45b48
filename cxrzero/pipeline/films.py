"""Films that go to the encoder as they are, where it fits them itself: Pillow's resize is a third of a film's work.

They are larger than fitted ones, and memory is to stay flat. So only small films go whole, only the first frame of a
file, and of processes only what has a place in shared memory. What is fitted before has the same bits, so that both
may be in one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cxrzero.backends import Encoder
from cxrzero.images.radiograph import GreyImage
from cxrzero.model.geometry import Geometry
from cxrzero.model.resample import fits_on_device
from cxrzero.pipeline.items import Preprocessing

# Of a film that goes whole: 1024 × 1024 and somewhat more, the usual size of public archives. At calls of 256 and with
# 16 processes there are at most 320 in shared memory and, of two batches, 512 in the command: 1.1 GB. Films of
# 2048 × 1792 would be 3 GB. With 0 none goes whole, for measurements.
MOST_BYTES = 5 * 2**18


@dataclass(frozen=True, slots=True, eq=False)
class Films:
    """A preprocessing that leaves the geometry to the encoder if a film is small enough.

    Attributes:
        fit: the geometry, for the others.
        most_bytes: of a film that is left as it is.
    """

    fit: Geometry
    most_bytes: int

    def __call__(self, pixels: GreyImage) -> GreyImage:
        return pixels if pixels.nbytes <= self.most_bytes else self.fit(pixels)


def takes_films(encoder: Encoder, geometry: Geometry) -> bool:
    """Whether films are given whole to an encoder that takes fitted ones."""
    return MOST_BYTES > 0 and encoder.takes_films and fits_on_device(geometry)


def all_fitted(preprocessings: Sequence[Preprocessing]) -> list[Preprocessing]:
    """The same, but none leaves films as they are."""
    return [each.fit if isinstance(each, Films) else each for each in preprocessings]
