"""One chunk of images, decoded into a store by whichever process has time. Loads no torch: workers start fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxrzero.errors import ImageError
from cxrzero.files import sha256_of
from cxrzero.images import decode
from cxrzero.images.radiograph import GreyImage
from cxrzero.model.preprocess import Preprocess
from cxrzero.pipeline.decode_file import digest_of, unforeseen

Geometry = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of an image once it was decoded.

    Attributes:
        sha256: of the file's bytes; "" if they could not be read.
        digest: of the decoded picture before any preprocessing, hexadecimal: the same for the same pixels.
        flags: of `cxrzero.images.flags`.
        error: why there is no picture, `code: message`; None where there is one.
    """

    sha256: str
    digest: str
    flags: tuple[str, ...]
    error: str | None

    def as_list(self) -> list[Any]:
        return list(asdict(self).values())


@dataclass(frozen=True, slots=True)
class DecodeChunk:
    """Rows of a store and the files that belong there.

    Attributes:
        number: of the chunk.
        array: the store's pixels.npy.
        rows: of the array, beside `paths`.
        geometry: a bundle's preprocessing up to `rescale`.
    """

    number: int
    array: Path
    rows: tuple[int, ...]
    paths: tuple[Path, ...]
    geometry: Geometry

    def run(self) -> tuple[int, dict[int, ImageFacts]]:
        """Decode into the array; what is known of each row."""
        pixels = np.load(self.array, mmap_mode="r+")
        fit = Fit(self.geometry)
        facts = {row: _store(path, fit, pixels[row]) for row, path in zip(self.rows, self.paths, strict=True)}
        pixels.flush()
        return self.number, facts


class Fit:
    """Geometry alone.

    Attributes:
        size: (height, width) of the result.
    """

    def __init__(self, geometry: Geometry) -> None:
        last = geometry[-1]
        self.size = (int(last.get("height", last.get("size", 0))), int(last.get("width", last.get("size", 0))))
        self._preprocess = Preprocess([*geometry, {"step": "rescale", "factor": 1.0}], self.size)

    def __call__(self, pixels: GreyImage) -> GreyImage:
        return self._preprocess.fit(pixels)


def _store(path: Path, fit: Fit, place: GreyImage) -> ImageFacts:
    """The first frame: a radiograph has one."""
    sha256 = ""
    try:
        sha256 = sha256_of(path)
        radiograph = next(decode(path))
        place[:] = fit(radiograph.pixels)
    except ImageError as error:
        return ImageFacts(sha256, "", (), str(error))
    except OSError as error:
        return ImageFacts(sha256, "", (), f"unreadable: {error.strerror or type(error).__name__}")
    except Exception as error:  # one strange file must not end the decoding of a million; it is named with its reason
        return ImageFacts(sha256, "", (), str(unforeseen(error)))
    return ImageFacts(sha256, f"{digest_of(radiograph.pixels):016x}", tuple(sorted(radiograph.flags)), None)
