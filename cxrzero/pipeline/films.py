"""Films that go to the encoder as they are, where it fits them itself: Pillow's resize is a third of a film's work.

They are larger than fitted ones, and memory is to stay flat. So only small films go whole, only the first frame of a
file, and of processes only what has a place in shared memory. Films of a new size cost the encoder more than they save
the decoders, so only films of usual sizes go whole. What is fitted before has the same bits, so that both may be in one
batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cxrzero.backends import Encoder
from cxrzero.images.radiograph import GreyImage
from cxrzero.model.geometry import Geometry, Size
from cxrzero.model.resample import fits_on_device
from cxrzero.pipeline.items import Preprocessing

# Of a film that goes whole: 1024 × 1024 and somewhat more, the usual size of public archives. At calls of 256 and with
# 16 processes there are at most 320 in shared memory and, of two batches, 512 in the command: 1.1 GB. Films of
# 2048 × 1792 would be 3 GB. With 0 none goes whole, for measurements.
MOST_BYTES = 5 * 2**18

# Sizes that a decoding process remembers. On an H200 with 16 decoders (benchmarks/results/gpu.jsonl, "whole" and
# "fit"), films of one size went whole at 1,105 a second, and fitted by the decoders at 788. Where each has a size of
# its own, the taps of its resize cost the encoder's process 1.4 to 2.3 ms, which is 427 to 690 films a second: those
# had better be fitted. That process keeps the taps of 512 passes (`cxrzero.backends.torch.fit`), two for each size: of
# all sizes that 16 decoders remember, if no two are the same. Of more than these 256, mixed, fewer than 16 films of 256
# go whole, and their taps cost less than 0.15 ms a film.
USUAL_SIZES = 16


@dataclass(slots=True, eq=False)
class Films:
    """A preprocessing that leaves the geometry to the encoder, for films that are `as_they_go` whole.

    Attributes:
        fit: the geometry, for the others.
        most_bytes: of a film that goes whole.
        recent: sizes of films that were small enough, the last one first; each process has its own.
    """

    fit: Geometry
    most_bytes: int
    recent: tuple[Size, ...] = field(default=(), repr=False)

    def __call__(self, pixels: GreyImage) -> GreyImage:
        return pixels

    def takes(self, pixels: GreyImage) -> bool:
        """Whether it is small enough, and its size one of the last USUAL_SIZES; remembers the size."""
        if pixels.nbytes > self.most_bytes:
            return False
        size = pixels.shape[0], pixels.shape[1]
        recent = self.recent  # replaced as a whole: of threads that do this at once, one may forget a size
        self.recent = (size, *(each for each in recent if each != size))[:USUAL_SIZES]
        return size in recent


def as_they_go(preprocessings: Sequence[Preprocessing], pixels: GreyImage, frame: int) -> Sequence[Preprocessing]:
    """What is done to frame number `frame` (1-based) of a file: the same, or no model is given it whole.

    One picture of a file is in memory as it is, however many frames are ahead. Models share it, so it goes whole to all
    of them or to none; the first one that takes films decides.
    """
    first = next((each for each in preprocessings if isinstance(each, Films)), None)
    if first is None or (frame == 1 and first.takes(pixels)):
        return preprocessings
    return all_fitted(preprocessings)


def takes_films(encoder: Encoder, geometry: Geometry) -> bool:
    """Whether films are given whole to an encoder that takes fitted ones."""
    return MOST_BYTES > 0 and encoder.takes_films and fits_on_device(geometry)


def all_fitted(preprocessings: Sequence[Preprocessing]) -> list[Preprocessing]:
    """The same, but none leaves films as they are."""
    return [each.fit if isinstance(each, Films) else each for each in preprocessings]
