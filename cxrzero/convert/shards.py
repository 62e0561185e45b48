"""Weights in several files: an index beside them names the file of each tensor, as large models are published."""

from __future__ import annotations

import json
from pathlib import Path

from cxrzero.errors import ImportModelError

INDEX = ".index.json"  # how an index's name ends
MAX_INDEX_BYTES = 64 * 2**20  # of ten thousand tensors it is one megabyte


def is_index(path: Path) -> bool:
    return path.name.endswith(INDEX)


def read_index(path: Path) -> dict[str, Path]:
    """Tensor → the file that holds it, beside the index.

    Raises:
        ImportModelError: it is no index, names a file elsewhere, or one that is not there.
    """
    try:
        if path.stat().st_size > MAX_INDEX_BYTES:
            raise ImportModelError(f"{path} is larger than {MAX_INDEX_BYTES:,} bytes: it is no index of weights")
        places = json.loads(path.read_text("utf-8"))["weight_map"]
        found = {str(name): str(file) for name, file in places.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ImportModelError(f"{path} does not say which file holds which tensor ({type(error).__name__})") from error
    for file in sorted(set(found.values())):
        if Path(file).name != file or "\\" in file:
            raise ImportModelError(f"{path} names {file[:80]!r}; weights lie beside their index")
        if not path.with_name(file).is_file():
            raise ImportModelError(f"{path.with_name(file)} is missing, one of the files of {path.name}; fetch it, too")
    return {name: path.with_name(file) for name, file in found.items()}


def files_of(source: Path) -> list[Path]:
    """A file of weights, and of an index the files that it names as well."""
    return [source, *sorted(set(read_index(source).values()))] if is_index(source) else [source]
