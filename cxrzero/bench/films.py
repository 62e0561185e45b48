"""The pictures of a benchmark: the user's own files, or phantoms where none are given."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

from cxrzero.backends.base import cpu_count
from cxrzero.display.counts import counted
from cxrzero.errors import ImageError, NoInputError
from cxrzero.images.radiograph import DecodeOptions, GreyImage
from cxrzero.sources import ImageRef, check_paths, find_images
from cxrzero.sources.reader import Reader

# Phantoms of the size that public collections have; a handful is enough, since none is read twice within a breath.
DRAWN = 8
DRAWN_SIDE = 1024


@dataclass(frozen=True, slots=True)
class Films:
    """What is measured with.

    Attributes:
        refs: the files; each was read once, so that the disk's cache holds them.
        pixels: the first frame of each, (H, W) uint8.
        unreadable: files left out because they cannot be scored.
        drawn: whether they are phantoms.
    """

    refs: tuple[ImageRef, ...]
    pixels: tuple[GreyImage, ...]
    unreadable: int
    drawn: bool

    @property
    def megapixels(self) -> float:
        """Size of the median film."""
        return median(each.size for each in self.pixels) / 1e6


def open_films(paths: Sequence[str], limit: int, options: DecodeOptions) -> Films:
    """Read up to `limit` files of what `paths` name.

    Raises:
        NoInputError: a path does not exist, or nothing there can be scored.
    """
    check_paths(paths)
    return _read(list(islice(find_images(paths), limit)), options, drawn=False)


def draw_films(folder: Path, limit: int, side: int = DRAWN_SIDE) -> Films:
    """Draw phantoms as 8-bit PNG into `folder`: (side, side) pixels, DRAWN of them at most."""
    from PIL import Image

    from cxrzero.phantom import draw

    def make(seed: int) -> None:
        Image.fromarray(draw(seed, side).to_uint8()).save(folder / f"{seed:02}.png")

    with ThreadPoolExecutor(cpu_count()) as pool:
        list(pool.map(make, range(min(limit, DRAWN))))
    return _read(list(find_images([str(folder)])), DecodeOptions(), drawn=True)


def _read(refs: Sequence[ImageRef], options: DecodeOptions, *, drawn: bool) -> Films:
    readable, pixels, reader = [], [], Reader()
    for ref in refs:
        try:
            if ref.error is not None:
                raise ref.error
            pixels.append(next(reader.decode(ref, options)).pixels)
            readable.append(ref)
        except ImageError:
            continue
    if not readable:
        raise NoInputError(
            f"of {counted(len(refs), 'file')} none can be scored; give others, or give none to have films drawn"
        )
    return Films(tuple(readable), tuple(pixels), len(refs) - len(readable), drawn)
