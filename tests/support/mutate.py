"""Valid files to start from, and ways to break them; the same number always gives the same broken file."""

from __future__ import annotations

import io
import struct
from functools import cache
from random import Random
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from tests.support.dicomfile import SECONDARY_CAPTURE, SYNTAXES, As, dicom_bytes
from tests.support.tifffiles import written

PICTURE = (np.add.outer(np.arange(48) ** 2, np.arange(40) * 3) % 4096).astype(np.uint16)
COLOUR = (np.stack([PICTURE, PICTURE[:, ::-1], PICTURE[::-1]], axis=-1) // 16).astype(np.uint8)

# Values at which readers of 16- and 32-bit numbers break.
NUMBERS = (0, 1, 2, 7, 8, 9, 255, 256, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)
LONG_NUMBERS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0x10000, 0x1000000)


@cache
def dicom_seeds() -> tuple[bytes, ...]:
    """A file per transfer syntax, and one per thing that a header may ask for."""
    eight = (PICTURE // 16).astype(np.uint8)
    lut = {"LUTDescriptor": [64, 10, 16], "LUTData": [i * 1000 for i in range(64)]}
    palette: dict[str, Any] = {
        f"{name}PaletteColorLookupTable{part}": value
        for name in ("Red", "Green", "Blue")
        for part, value in (("Descriptor", [256, 0, 8]), ("Data", As("OW", bytes(range(256)))))
    }
    rgb: dict[str, Any] = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0,
           "SOPClassUID": SECONDARY_CAPTURE, "Modality": "OT"}  # fmt: skip
    return (
        *(dicom_bytes(PICTURE, name, BitsStored=12) for name in SYNTAXES if name != "jpeg_baseline"),
        dicom_bytes(eight, "jpeg_baseline"),
        dicom_bytes(PICTURE, preamble=False, BitsStored=12),
        dicom_bytes([PICTURE, PICTURE[::-1]], "rle", BitsStored=12),
        dicom_bytes([PICTURE, PICTURE[::-1]], "jpegls", BitsStored=12),
        dicom_bytes(PICTURE.astype(np.int16) - 2000, RescaleSlope="1.5", RescaleIntercept="-7", WindowCenter="100",
                    WindowWidth="900", VOILUTFunction="SIGMOID", PixelSpacing=["0.2", "0.1"]),
        dicom_bytes(PICTURE, ModalityLUTSequence=[lut], VOILUTSequence=[lut], PixelPaddingValue=5,
                    PixelPaddingRangeLimit=50, PhotometricInterpretation="MONOCHROME1"),
        dicom_bytes(eight, PhotometricInterpretation="PALETTE COLOR", **palette),
        dicom_bytes([PICTURE, PICTURE[::-1]], BitsStored=12, ShutterShape=["RECTANGULAR", "CIRCULAR", "POLYGONAL"],
                    ShutterLeftVerticalEdge="2", ShutterRightVerticalEdge="38", ShutterUpperHorizontalEdge="3",
                    ShutterLowerHorizontalEdge="44", CenterOfCircularShutter=["24", "20"],
                    RadiusOfCircularShutter="23", VerticesOfThePolygonalShutter=["1", "1", "48", "1", "30", "40"],
                    SharedFunctionalGroupsSequence=[{"FrameVOILUTSequence": [{"VOILUTSequence": [lut]}]}],
                    PerFrameFunctionalGroupsSequence=[{}, {"PixelMeasuresSequence": [{"PixelSpacing": "0,2\\0,1"}]}]),
        *(dicom_bytes(COLOUR, name, **rgb) for name in ("explicit", "rle", "jpeg_baseline", "jpeg2000", "jpegls")),
    )  # fmt: skip


@cache
def raster_seeds() -> tuple[bytes, ...]:
    """A file per raster format and depth."""

    def saved(image: Image.Image, **how: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, **how)  # type: ignore[arg-type]
        return buffer.getvalue()

    grey, rgb, deep = (
        Image.fromarray((PICTURE // 16).astype(np.uint8)),
        Image.fromarray(COLOUR),
        Image.fromarray(PICTURE),
    )
    return (
        *(saved(grey, format=f) for f in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000")),
        *(saved(rgb, format=f) for f in ("PNG", "JPEG", "TIFF", "BMP")),
        saved(rgb, format="JPEG", progressive=True), saved(rgb.convert("CMYK"), format="JPEG"),
        saved(deep, format="PNG"), saved(deep, format="TIFF"), saved(grey, format="TIFF", compression="tiff_lzw"),
        saved(rgb.quantize(16), format="PNG"), saved(rgb.convert("RGBA"), format="PNG"),
        saved(grey, format="GIF", save_all=True, append_images=[grey.rotate(90)]),
        written(PICTURE, byteorder=">", compression="zlib", predictor=2, tile=(16, 32)),
        written(PICTURE.astype(np.float32), bigtiff=True, compression="lzw", predictor=3, rowsperstrip=7),
        written(np.moveaxis(COLOUR, -1, 0), photometric="rgb", planarconfig="separate", compression="packbits"),
        written(COLOUR.astype(np.uint16), photometric="rgb", compression="jpeg2000", tile=(32, 32)),
        written(COLOUR, photometric="ycbcr", compression="jpeg", subsampling=(2, 2)),
        bytes(imagecodecs.jpeg2k_encode(COLOUR.astype(np.uint16), codecformat="jp2")),
    )  # fmt: skip


def mutant(seeds: tuple[bytes, ...], number: int) -> bytes:
    """Broken file number `number`."""
    random = Random(number)
    return broken(random.choice(seeds), random, seeds)


def broken(content: bytes, random: Random, seeds: tuple[bytes, ...] = ()) -> bytes:
    """The content with a few things done to it; pieces of other seeds are put in where there are some."""
    data = bytearray(content)
    ways = (_flip, _flip, _number, _number, _cut, _drop, _repeat, _splice if seeds else _repeat)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        random.choice(ways)(data, random, seeds)
    return bytes(data)


def _place(data: bytearray, random: Random, room: int) -> int:
    """Anywhere, but half of the time in the first kilobyte, where the header is."""
    end = max(1, len(data) - room)
    return random.randrange(min(1024, end)) if random.random() < 0.5 else random.randrange(end)


def _flip(data: bytearray, random: Random, seeds: tuple[bytes, ...]) -> None:
    for _ in range(random.choice((1, 2, 8, 32))):
        if data:
            data[_place(data, random, 1)] ^= 1 << random.randrange(8)


def _number(data: bytearray, random: Random, seeds: tuple[bytes, ...]) -> None:
    order = random.choice("<>")
    if random.random() < 0.6:
        at, new = _place(data, random, 2), struct.pack(order + "H", random.choice(NUMBERS))
    else:
        at, new = _place(data, random, 4), struct.pack(order + "I", random.choice(LONG_NUMBERS))
    data[at : at + len(new)] = new


def _cut(data: bytearray, random: Random, seeds: tuple[bytes, ...]) -> None:
    del data[_place(data, random, 1) :]


def _drop(data: bytearray, random: Random, seeds: tuple[bytes, ...]) -> None:
    at = _place(data, random, 1)
    del data[at : at + random.choice((1, 2, 4, 8, 64, 512))]


def _repeat(data: bytearray, random: Random, seeds: tuple[bytes, ...]) -> None:
    at = _place(data, random, 1)
    piece = data[at : at + random.choice((1, 2, 8, 64, 512))]
    data[at:at] = piece * random.choice((1, 2, 50))


def _splice(data: bytearray, random: Random, seeds: tuple[bytes, ...]) -> None:
    other = random.choice(seeds)
    at = _place(data, random, 1)
    data[at:] = other[min(at, len(other)) :]
