"""From a file to upright grey pixels (uint8, bright = dense) with facts and flags.

Importing this package or its `sniff` loads neither NumPy nor Pillow nor pydicom: folders are listed with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrzero.errors import ImageError, SkippedImage
from cxrzero.images.sniff import HEAD_BYTES, Kind, kind_of, kind_of_bytes

if TYPE_CHECKING:
    from cxrzero.images.codecs import DecodeFrame
    from cxrzero.images.radiograph import DecodeOptions, Facts, GreyImage, Radiograph, Step

__all__ = ["DecodeOptions", "Facts", "GreyImage", "Radiograph", "Step", "decode", "decode_content", "kind_of"]

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def decode(
    path: AnyPath, options: DecodeOptions | None = None, decoder: DecodeFrame | None = None
) -> Iterator[Radiograph]:
    """Decode every frame of one image file, in order.

    Safe to call from many threads. Frames are decoded one by one as the iterator advances.

    Args:
        path: a DICOM, PNG, JPEG, TIFF, BMP, GIF, WebP or JPEG 2000 file; bytes for names that are not UTF-8.
        options: how to decode; `DecodeOptions()` when left out.
        decoder: of compressed DICOM frames, such as `cxrzero.images.nvjpeg2000.GpuFrames`; None is the processor.

    Yields:
        One Radiograph per frame.

    Raises:
        SkippedImage: readable, but nothing to score: "no_pixels", "not_projection_radiography", "not_chest_modality",
            "dicomdir".
        ImageError: every other reason, see docs/images.md for the codes. Both carry `facts` where the header was read.
    """
    file = Path(os.fsdecode(path))
    kind = kind_of(file)
    yield from _radiographs(file, kind, kind is None and file.stat().st_size == 0, options, decoder)


def decode_content(
    content: bytes, options: DecodeOptions | None = None, decoder: DecodeFrame | None = None
) -> Iterator[Radiograph]:
    """Decode every frame of an image file whose bytes are in memory: to the same, and with the same errors, as `decode`
    does of a file that has these bytes."""
    yield from _radiographs(content, kind_of_bytes(content[:HEAD_BYTES]), not content, options, decoder)


def _radiographs(
    source: Path | bytes, kind: Kind | None, is_empty: bool, options: DecodeOptions | None, decoder: DecodeFrame | None
) -> Iterator[Radiograph]:
    from cxrzero.images.detectors import judged
    from cxrzero.images.radiograph import DecodeOptions

    if kind is None:
        if is_empty:
            raise ImageError("empty_file", "the file is empty")
        raise ImageError("not_an_image", "the content is not that of a known image format")
    if kind == "dicomdir":
        raise SkippedImage("dicomdir", "a DICOMDIR lists images and holds none; give it as an input, not as an image")
    yield from map(judged, _frames(source, kind, options or DecodeOptions(), decoder))


def _frames(
    source: Path | bytes, kind: Kind, options: DecodeOptions, decoder: DecodeFrame | None
) -> Iterator[Radiograph]:
    if kind == "dicom":
        from cxrzero.images.dicom import decode_dicom

        opened = BytesIO(source) if isinstance(source, bytes) else source
        yield from decode_dicom(opened, options, decoder) if decoder else decode_dicom(opened, options)
    else:
        from cxrzero.images.raster import decode_raster

        yield decode_raster(source, kind, options)


def __getattr__(name: str) -> Any:
    """The types of `cxrzero.images.radiograph`, imported when first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cxrzero.images import radiograph

    return getattr(radiograph, name)
