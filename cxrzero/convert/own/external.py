"""Numbers of a graph that lie in other files: of the graph's folder, as long as they must be, and nowhere else.

ONNX lets a tensor name any path. A file that somebody sends could have the import copy a private file of this machine
into a bundle that is passed on.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, numpy_helper

from cxrzero.errors import ImportModelError
from cxrzero.model.weights import DTYPES

KEYS = {"location", "offset", "length", "checksum", "basepath"}


def is_external(tensor: TensorProto) -> bool:
    """Whether it says so in any way; readers differ in which they look at."""
    return tensor.data_location == TensorProto.EXTERNAL or bool(tensor.external_data)


def check_external(tensor: TensorProto, graph: Path) -> Path:
    """The file of a tensor, after everything about it was found right.

    Raises:
        ImportModelError: it may not be read, or has not as many numbers as the shape says.
    """
    return _place(tensor, graph)[0]


def values_of(tensor: TensorProto, graph: Path) -> npt.NDArray[Any]:
    """The numbers of a tensor, wherever they are; those of another file are mapped, and read when used.

    Raises:
        ImportModelError: they are not what the tensor says.
    """
    if is_external(tensor):
        file, offset = _place(tensor, graph)
        dtype, shape = np.dtype(DTYPES[tensor.data_type]), tuple(tensor.dims)
        return np.memmap(file, dtype, "r", offset, shape) if math.prod(shape) else np.zeros(shape, dtype)
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise ImportModelError(f"{graph}: the numbers of {tensor.name[:80]!r} are damaged ({error})") from error


def _place(tensor: TensorProto, graph: Path) -> tuple[Path, int]:
    """The file and where the numbers begin in it."""
    name = tensor.name[:80]
    stated = {each.key: each.value for each in tensor.external_data}
    if tensor.data_location != TensorProto.EXTERNAL or not set(stated) <= KEYS or "location" not in stated:
        raise ImportModelError(f"{graph}: {name!r} does not name its file as ONNX says; save the model again")
    file = _inside(stated["location"], graph, name)
    numbers = [stated.get(key, "0") for key in ("offset", "length")]
    if not all(re.fullmatch("[0-9]{1,19}", each) for each in numbers):
        raise ImportModelError(f"{graph}: offset and length of {name!r} must be whole numbers")
    if tensor.data_type not in DTYPES:
        raise ImportModelError(
            f"{graph}: {name!r} has numbers of a type that cannot lie in a file of weights "
            f"({TensorProto.DataType.Name(tensor.data_type)}); save the model in float32 or float16"
        )
    offset, length = map(int, numbers)
    needed = math.prod(tensor.dims) * np.dtype(DTYPES[tensor.data_type]).itemsize
    there = file.stat().st_size
    if length not in (0, needed) or offset + needed > there:
        raise ImportModelError(
            f"{graph}: {name!r} needs {needed:,} bytes from {offset:,} on of {file.name}, which has {there:,}: "
            "a truncated download, or a file of another model"
        )
    return file, offset


def _inside(location: str, graph: Path, name: str) -> Path:
    """The file that a location names, if it is one of the graph's own folder."""
    parts = PurePosixPath(location).parts
    leads_out = PurePosixPath(location).is_absolute() or ".." in parts or "\\" in location or "\0" in location
    if not parts or leads_out or PureWindowsPath(location).drive:
        raise ImportModelError(
            f"{graph}: {name!r} is in {location[:80]!r}; numbers may lie in files of the graph's own folder only"
        )
    folder = Path(os.path.realpath(graph.parent))
    file = Path(os.path.realpath(graph.parent / location))
    if not file.is_relative_to(folder):
        raise ImportModelError(
            f"{graph}: {location[:80]!r}, with the numbers of {name!r}, is a link out of the folder; copy the folder "
            "with what its links lead to (cp -rL), and import the copy"
        )
    if not file.is_file():
        raise ImportModelError(f"{graph}: its file of weights {location[:80]!r} is not beside it; fetch it, too")
    return file
