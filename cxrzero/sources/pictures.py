"""A picture that a Python program has, in whatever form, and what is none.

Nothing is imported here to find out what a value is: a value can only be of a library that the program has imported.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from cxrzero.errors import ImageError, ImageInputError
from cxrzero.images import decode, decode_content

if TYPE_CHECKING:
    from cxrzero.images.codecs import DecodeFrame
    from cxrzero.images.radiograph import DecodeOptions, Radiograph


class PillowImage(Protocol):
    """What is used of a PIL.Image.Image."""

    def getexif(self) -> Any: ...


class Tensor(Protocol):
    """What is used of a torch.Tensor."""

    def detach(self) -> Any: ...


class DicomDataset(Protocol):
    """What is used of a pydicom.Dataset."""

    def get_item(self, key: Any) -> Any: ...


class Table(Protocol):
    """What is used of a datasets.Dataset: it gives rows, each a mapping."""

    @property
    def column_names(self) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


# (black, white): the numbers of a floating point picture that are shown black and white.
ValueRange: TypeAlias = tuple[float, float]
# What one image may be, by their libraries' names: those are not imported for a type. A pair is (name, image).
Unnamed: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | PillowImage | npt.NDArray[Any] | Tensor
    | DicomDataset | Mapping[str, Any]
)  # fmt: skip
Image: TypeAlias = Unnamed | tuple[str, Unnamed]
Images: TypeAlias = Image | Iterable[Image] | Table

ACCEPTED = (
    "a path, the bytes of an image file, an open binary file, a Pillow image, a NumPy array or torch tensor of shape "
    "(H, W) or (H, W, 3), a pydicom Dataset, a row (mapping) with one image, a pair (name, image), or an iterable of "
    "these"
)
DEPTHS = "uint8, uint16, or floating point with value_range=(black, white)"
CONTENT_BYTES = 32  # of BLAKE2b, as `cxrzero.cache.contents` has for files
ORIENTATION = 274  # EXIF 2.32


@dataclass(frozen=True, slots=True)
class Picture:
    """What was given in place of a path; looked at when it is decoded.

    Attributes:
        value: path of a file with another name, bytes, binary file, Pillow image, array or pydicom Dataset.
        value_range: of a floating point array.
    """

    value: Any
    value_range: ValueRange | None = None

    def decode(self, options: DecodeOptions | None = None, decoder: DecodeFrame | None = None) -> Iterator[Radiograph]:
        """Decode every frame, in order, to what a file of the same picture gives.

        Raises:
            ImageError: as of a file; see `cxrzero.images.memory` for what is in no file.
        """
        value = self.value
        if isinstance(value, str):
            yield from decode(value, options, decoder)
        elif isinstance(value, bytes):
            yield from decode_content(value, options, decoder)
        elif isinstance(value, np.ndarray):
            from cxrzero.images.memory import decode_array

            yield decode_array(value, self.value_range, options)
        elif _is("PIL.Image", "Image", value):
            from cxrzero.images.memory import decode_pillow

            yield decode_pillow(value, options)
        elif _is("pydicom.dataset", "Dataset", value):
            from cxrzero.images.memory import decode_dataset

            yield from decode_dataset(value, options, decoder)
        else:
            yield from decode_content(read_file(value), options, decoder)

    def content(self) -> bytes | None:
        """BLAKE2b of all that its decoding depends on; of bytes the same as of a file of them (`cxrzero.cache`). None
        where that cannot be told: of an image that cannot be loaded, and of a file object."""
        value = self.value
        if isinstance(value, bytes):
            return hashlib.blake2b(value, digest_size=CONTENT_BYTES).digest()
        if isinstance(value, np.ndarray):
            return _digest(b"array", (value.dtype.str, value.shape, self.value_range), np.ascontiguousarray(value).data)
        try:
            if _is("PIL.Image", "Image", value):
                return _digest(b"pillow", *_of_pillow(value))
            if _is("pydicom.dataset", "Dataset", value):
                from cxrzero.images.memory import written

                return _digest(b"dataset", (), written(value))
        except Exception:  # of any kind, as its decoder will say: a row then tells what is wrong with it
            return None
        return None


def picture_of(value: Any, name: str, *, column: str | None = None, value_range: ValueRange | None = None) -> Picture:
    """Take a value that is no path as a picture.

    Args:
        name: of the value, for messages.
        column: of a row, which of its values is the image; None: the one that is.
        value_range: what is black and what is white in floating point pictures.

    Raises:
        ImageInputError: it is none.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return Picture(bytes(value))
    if _is("PIL.Image", "Image", value) or _is("pydicom.dataset", "Dataset", value):
        return Picture(value)
    if _is("torch", "Tensor", value):
        value = _array_of(value)
    if isinstance(value, np.ndarray):
        return _of_array(value, name, value_range)
    if isinstance(value, Mapping):
        return _of_row(value, name, column, value_range)
    if callable(getattr(value, "read", None)):
        return Picture(value)
    raise ImageInputError(f"{name} is of type {type(value).__name__}; give {ACCEPTED}")


def is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike)


def is_pair(value: Any) -> bool:
    """Whether it is (name, image)."""
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)


def is_one_picture(value: Any) -> bool:
    """Whether it is, or was meant to be, one picture, and not many in a row."""
    alone = (bytes, bytearray, memoryview, np.ndarray, Mapping)
    if isinstance(value, alone) or callable(getattr(value, "read", None)):
        return True
    is_named = is_pair(value) and not is_path(value[1])
    is_iterable = hasattr(value, "__iter__") or hasattr(value, "__getitem__")
    return is_named or any(_is(*home, value) for home in _LIBRARIES) or not is_iterable


def _of_array(array: np.ndarray[Any, Any], name: str, value_range: ValueRange | None) -> Picture:
    shape = f"{name} has the shape {array.shape}"
    if array.ndim == 3 and array.shape[0] == 1 and array.shape[2] != 3:
        raise ImageInputError(f"{shape}: its first axis is no picture's; give image[0]")
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[2] != 3:
        raise ImageInputError(f"{shape}: colours come last; give numpy.moveaxis(image, 0, -1)")
    if array.ndim == 3 and array.shape[2] == 4:
        raise ImageInputError(
            f"{shape}: what a fourth channel means is not known; give image[..., :3] if it is opacity"
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ImageInputError(f"{shape}; a picture has (H, W), or (H, W, 3) as a colour file. Give several as a list")
    if array.dtype.kind == "f":
        return _of_floats(array, name, value_range)
    if array.dtype.kind != "u" or array.dtype.itemsize > 2:
        raise ImageInputError(f"{name} is of {array.dtype}; a picture is of {DEPTHS}")
    return Picture(array)


def _of_floats(array: np.ndarray[Any, Any], name: str, value_range: ValueRange | None) -> Picture:
    if value_range is None:
        raise ImageInputError(
            f"{name} is of {array.dtype}, of which nobody knows what is black and what is white; say it, for example "
            "value_range=(0.0, 1.0)"
        )
    if array.ndim != 2:
        raise ImageInputError(f"{name} has the shape {array.shape}; a floating point picture has (H, W)")
    return Picture(array, value_range)


def check_value_range(value_range: Any) -> ValueRange | None:
    """Raises ImageInputError: it is not two finite numbers, the first one smaller."""
    if value_range is None:
        return None
    try:
        low, high = map(float, value_range)
    except (TypeError, ValueError):
        low = high = np.nan
    if not (np.isfinite([low, high]).all() and low < high):
        raise ImageInputError("value_range must be two numbers, what is black and then what is white, as (0.0, 1.0)")
    return low, high


def _of_row(row: Mapping[Any, Any], name: str, column: str | None, value_range: ValueRange | None) -> Picture:
    """Of a row of a table, such as Hugging Face `datasets` gives, or of what it has for an image: bytes or a path."""
    if column is not None:
        if column not in row:
            raise ImageInputError(f"{name} has no column {column!r}; it has {_listed(row)}")
        return _of_cell(row[column], f"{name}, column {column!r}", value_range)
    if is_encoded(row):
        return _of_cell(row, name, value_range)
    columns = [key for key, value in row.items() if _is_image(value)]
    if len(columns) != 1:
        found = f"several images, in {', '.join(map(repr, columns))}" if columns else "no image"
        raise ImageInputError(f"{name} has {found}; name one with column=. It has {_listed(row)}")
    return _of_cell(row[columns[0]], f"{name}, column {columns[0]!r}", value_range)


def _of_cell(value: Any, name: str, value_range: ValueRange | None) -> Picture:
    if is_encoded(value):  # an image that `datasets` does not decode
        value = value["path"] if value["bytes"] is None else value["bytes"]
    if is_path(value):
        return Picture(os.fspath(value))
    if isinstance(value, Mapping):
        raise ImageInputError(f"{name} is a {type(value).__name__}, which is no image")
    return picture_of(value, name, value_range=value_range)


def is_encoded(value: Any) -> bool:
    """Whether it is an image as `datasets` holds it: {"bytes", "path"}, of which one is there."""
    return (
        isinstance(value, Mapping) and value.keys() == {"bytes", "path"} and any(v is not None for v in value.values())
    )


def _is_image(value: Any) -> bool:
    """Whether a cell of a row can only be an image; texts and lists of numbers are something else there."""
    if isinstance(value, np.ndarray) or _is("torch", "Tensor", value):
        return value.ndim in (2, 3)
    is_of_library = _is("PIL.Image", "Image", value) or _is("pydicom.dataset", "Dataset", value)
    return is_of_library or isinstance(value, bytes) or is_encoded(value)


def _listed(row: Mapping[Any, Any]) -> str:
    return ", ".join(repr(key) for key in list(row)[:20]) or "no column"


_LIBRARIES = (("PIL.Image", "Image"), ("pydicom.dataset", "Dataset"), ("torch", "Tensor"))


def _is(module: str, name: str, value: Any) -> bool:
    """Whether a value is an instance of a class whose module the program may have imported."""
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and isinstance(value, found)


def _array_of(tensor: Any) -> np.ndarray[Any, Any]:
    """A torch tensor's numbers in NumPy; bfloat16, which NumPy does not have, as float32, which is exact."""
    tensor = tensor.detach().cpu()
    return np.asarray((tensor.float() if tensor.dtype.is_floating_point and tensor.itemsize == 2 else tensor).numpy())


def _of_pillow(image: Any) -> tuple[tuple[Any, ...], bytes]:
    """What a Pillow image's pixels mean, and the pixels."""
    image.load()
    palette = image.palette.tobytes() if image.palette else b""
    means = image.mode, image.size, palette, image.info.get("transparency"), image.getexif().get(ORIENTATION)
    return (*means, getattr(image, "is_animated", False)), image.tobytes()


def _digest(kind: bytes, means: tuple[Any, ...], content: Any) -> bytes:
    """Of a picture that no file has; `kind` keeps it apart from all files."""
    digest = hashlib.blake2b(repr(means).encode(), digest_size=CONTENT_BYTES, person=kind)
    digest.update(content)
    return digest.digest()


def read_file(file: IO[bytes]) -> bytes:
    """The bytes of an open file, from where it stands to its end.

    Raises:
        ImageError: "unreadable".
    """
    try:
        content = file.read()
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise ImageError("unreadable", f"the file object cannot be read ({type(error).__name__})") from None
    if not isinstance(content, bytes | bytearray):
        raise ImageError("unreadable", "the file object gives text; open it with mode 'rb'")
    return bytes(content)
