"""What is kept of a film for its maps: the models' inputs, a small picture to draw on, and where it all lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cxrzero.errors import CxrzeroError, ImageError
from cxrzero.heatmap.overlay import SIDE
from cxrzero.heatmap.places import Lines, lines_of
from cxrzero.images.radiograph import Facts, GreyImage, Radiograph, StoredFrame
from cxrzero.model.geometry import Geometry, Size
from cxrzero.pipeline.decode_file import Decode, unforeseen
from cxrzero.pipeline.items import Failure
from cxrzero.sources import ImageRef


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """One frame, without its full-size pixels.

    Attributes:
        size: (H, W) of the upright picture.
        stored: the frame as its file has it.
        fitted: for each model (h, w) uint8, after its geometry.
        picture: upright, at most SIDE pixels a side; None where nobody draws.
    """

    ref: ImageRef
    frame: int
    facts: Facts
    flags: frozenset[str]
    size: Size
    stored: StoredFrame
    fitted: tuple[GreyImage, ...]
    picture: GreyImage | None = None

    def lines(self, geometry: Geometry, image_size: Size | None = None) -> Lines:
        """See `cxrzero.heatmap.places.lines_of`."""
        return lines_of(geometry, self.size, image_size)


def film_of(ref: ImageRef, radiograph: Radiograph, geometries: Sequence[Geometry], *, draw: bool) -> Film:
    """What is kept of a decoded frame.

    Args:
        geometries: of each model; those that are alike are one object, and fit once.
        draw: keep a picture for overlays.
    """
    pixels = radiograph.pixels
    height, width = pixels.shape
    done: dict[Geometry, GreyImage] = {}
    for geometry in geometries:
        if geometry not in done:
            done[geometry] = geometry(pixels)
    return Film(
        ref,
        radiograph.frame,
        radiograph.facts,
        radiograph.flags,
        (height, width),
        radiograph.stored or StoredFrame(height, width),
        tuple(done[geometry] for geometry in geometries),
        small(pixels) if draw else None,
    )


def films_in(
    ref: ImageRef,
    decode: Decode,
    geometries: Sequence[Geometry],
    *,
    draw: bool,
    is_wanted: Callable[[int], bool] = lambda frame: True,
) -> Iterator[Film | Failure]:
    """A file's frames one by one, and at the end a failure if there is one; what goes wrong in it is never raised.

    Args:
        is_wanted: of a frame's number.
    """
    if ref.error is not None:
        yield Failure(ref, ref.error)
        return
    frame = None
    try:
        for radiograph in decode(ref):
            frame = radiograph.frame
            if is_wanted(frame):
                yield film_of(ref, radiograph, geometries, draw=draw)
    except ImageError as error:
        yield Failure(ref, error, None if frame is None else frame + 1)
    except CxrzeroError:
        raise
    except Exception as error:  # as `cxrzero.pipeline.decode_file.items_of`: one strange file must not end a run
        yield Failure(ref, unforeseen(error))


def small(pixels: GreyImage) -> GreyImage:
    """The picture with at most SIDE pixels a side; never enlarged."""
    height, width = pixels.shape
    ratio = SIDE / max(height, width)
    if ratio >= 1:
        return pixels
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
