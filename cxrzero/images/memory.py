"""Pictures that are in memory → the radiographs that files of them would give: the same pixels, flags and facts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.ImageFile import ImageFile
from pydicom import dcmwrite
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from cxrzero.errors import ImageError
from cxrzero.images import decode, decode_content
from cxrzero.images.chain import apply_range, to_grey
from cxrzero.images.detectors import judged
from cxrzero.images.dicom_file import KEYWORDS, PIXEL_TAGS
from cxrzero.images.quiet import ignore_warnings_of
from cxrzero.images.radiograph import DecodeOptions, Radiograph
from cxrzero.images.raster import BROKEN, radiograph_of, radiograph_of_pillow
from cxrzero.images.raster_samples import RasterSamples

if TYPE_CHECKING:
    from cxrzero.images.codecs import DecodeFrame

# (black, white): the numbers of a floating point picture that are shown black and white.
ValueRange = tuple[float, float]

# What decoding looks at: the attributes of a header, and Pixel Data, Float Pixel Data or Double Float Pixel Data.
_TAGS = sorted({tag for name in KEYWORDS if (tag := tag_for_keyword(name)) is not None} | PIXEL_TAGS)


def decode_array(
    samples: npt.NDArray[Any], value_range: ValueRange | None = None, options: DecodeOptions | None = None
) -> Radiograph:
    """Make of an array what a file of it would be.

    Args:
        samples: (H, W) uint8, as an 8-bit grey PNG; (H, W) uint16, as a 16-bit one, of which the lowest grey becomes
            black and the highest white; (H, W, 3) of either, as a colour file; (H, W) floating point.
        value_range: what is black and what is white in a floating point picture.

    Raises:
        ImageError: "no_pixel_data" without pixels, "corrupt_image" for values that are not finite, "out_of_range" for
            those outside `value_range`, "too_many_pixels".
    """
    options = options or DecodeOptions()
    if not samples.size:
        raise ImageError("no_pixel_data", "the picture has no pixels")
    if samples.shape[0] * samples.shape[1] > options.max_pixels:
        raise ImageError("too_many_pixels", f"the picture has {samples.shape[1]} × {samples.shape[0]} pixels")
    if value_range is not None:
        samples = _eight_bits(samples, value_range)
    native = np.ascontiguousarray(samples, samples.dtype.newbyteorder("="))
    bands = native[..., np.newaxis] if native.ndim == 2 else native
    stored = RasterSamples(bands, 8 * native.dtype.itemsize, "grey" if native.ndim == 2 else "rgb")
    return judged(radiograph_of(stored, "array", "numpy", 1, set(), options))


def _eight_bits(values: npt.NDArray[Any], value_range: ValueRange) -> npt.NDArray[np.uint8]:
    """(H, W) floats → uint8, black and white as stated. A picture that was divided by 255 becomes what it was."""
    low, high = value_range
    if not np.isfinite(values).all():
        raise ImageError("corrupt_image", "the picture holds values that are not finite numbers")
    least, most = float(values.min()), float(values.max())
    if least < low or most > high:
        raise ImageError(
            "out_of_range",
            f"the picture's values span {least:g} to {most:g}, outside the value_range {low:g} to {high:g}",
        )
    return to_grey(apply_range(values, low, high))


def decode_pillow(image: Image.Image, options: DecodeOptions | None = None) -> Radiograph:
    """Make of a Pillow image what a file of it would be.

    An image that was opened by the name of its file, and of which nobody has looked at a pixel yet, is read from that
    file: Pillow halves the depth of 16-bit colour, and turns a TIFF that it maps into memory wrongly (Pillow 13.0).

    Raises:
        ImageError: "corrupt_image" for an image whose file is closed, cut off or broken, "no_pixel_data",
            "too_many_pixels".
    """
    if not image.width or not image.height:
        raise ImageError("no_pixel_data", "the picture has no pixels")
    options = options or DecodeOptions()
    if (path := _unread_file(image)) is not None:
        return next(decode(path, options))
    try:
        return judged(radiograph_of_pillow(image, options))
    except BROKEN as error:
        # Of an image that was opened and not loaded Pillow reads the file only now.
        what = f"Pillow cannot load this image ({type(error).__name__}): its file is closed, cut off or broken"
        raise ImageError("corrupt_image", what) from None


def _unread_file(image: Image.Image) -> str | None:
    """The file of an image that is open and was not loaded; its first page, as a file's."""
    if not isinstance(image, ImageFile) or not image.tile or image.fp is None or image.tell():
        return None
    return os.fsdecode(image.filename) if image.filename and os.path.isfile(image.filename) else None


def decode_dataset(
    dataset: Dataset, options: DecodeOptions | None = None, decoder: DecodeFrame | None = None
) -> Iterator[Radiograph]:
    """Decode every frame of a pydicom Dataset, as `cxrzero.images.decode` does of the file that it was read from.

    The attributes that decoding needs are written to memory as pydicom holds them; no other is looked at.

    Raises:
        ImageError: "bad_header" if pydicom cannot write them; else as `decode`.
    """
    yield from decode_content(written(dataset), options, decoder)


def written(dataset: Dataset) -> bytes:
    """A DICOM file of what decoding needs of a dataset. Raises ImageError: "bad_header"."""
    ignore_warnings_of("pydicom")
    needed = Dataset()
    needed.preamble, needed.file_meta = bytes(128), FileMetaDataset()
    needed.file_meta.TransferSyntaxUID = _transfer_syntax(dataset)
    buffer = BytesIO()
    try:
        for tag in _TAGS:
            if tag in dataset:
                needed[tag] = dataset.get_item(tag)  # as it was read, where nobody has looked at it yet
        dcmwrite(buffer, needed, enforce_file_format=False)
    except Exception as error:  # what pydicom raises for values that it cannot write shares no base class
        raise ImageError("bad_header", f"pydicom cannot write this dataset ({type(error).__name__})") from None
    return buffer.getvalue()


def _transfer_syntax(dataset: Dataset) -> UID:
    """What the dataset states; of one without file meta information the encoding that it was read in, and of one that
    was made in memory, where nothing is encoded yet, any."""
    meta = getattr(dataset, "file_meta", None)
    if meta is not None and "TransferSyntaxUID" in meta:
        return UID(meta.TransferSyntaxUID)
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRBigEndian if little is False else ExplicitVRLittleEndian
