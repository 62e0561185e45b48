"""Images decoded once, at training resolution, so that an epoch never waits for a decoder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrzero.bundle import sha256_of
from cxrzero.errors import ImageError, UsageError
from cxrzero.images import decode
from cxrzero.images.radiograph import GreyImage
from cxrzero.preprocess import Preprocess
from cxrzero.train.pairs import SHOWN, Pairs


@dataclass(frozen=True)
class ImageStore:
    """The pictures of a run.

    Attributes:
        pixels: (N, H, W) uint8, in the order of the pairs; a memory map.
        fingerprint: sha256 over the rows of the pairs and the bytes of every image file.
    """

    pixels: npt.NDArray[np.uint8]
    fingerprint: str


def data_fingerprint(pairs: Pairs, file_sha256: list[str]) -> str:
    """One hash for everything that a run learns from.

    Args:
        file_sha256: of each image's bytes, in the order of `pairs.images`.
    """
    digest = hashlib.sha256(pairs.rows_sha256.encode())
    for name, value in zip(pairs.images, file_sha256, strict=True):
        digest.update(f"{name}\x1f{value}\x1e".encode())
    return digest.hexdigest()


def open_store(
    pairs: Pairs, folder: Path, geometry: Sequence[Mapping[str, Any]], on_image: Callable[[int, int], None]
) -> ImageStore:
    """Decode every image into `folder`, or reuse what an earlier run with the same files and geometry left there.

    Args:
        geometry: a bundle's preprocessing up to `rescale`, so that all pictures have one size.
        on_image: told (done, total) now and then.

    Raises:
        UsageError: images cannot be decoded; all are named.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stats = [path.stat() for path in pairs.paths]
    state = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in zip(pairs.images, stats, strict=True)]
    key = hashlib.sha256(json.dumps([list(map(dict, geometry)), state]).encode()).hexdigest()
    facts, array = folder / "store.json", folder / "pixels.npy"
    if facts.is_file() and array.is_file():
        stored = json.loads(facts.read_text("utf-8"))
        if stored["key"] == key:
            return ImageStore(np.load(array, mmap_mode="r"), data_fingerprint(pairs, stored["file_sha256"]))
    hashes = _decode_all(pairs, array, _Fit(geometry), on_image)
    # Written last: a store without this file is not used.
    _write_text(facts, json.dumps({"key": key, "file_sha256": hashes}))
    return ImageStore(np.load(array, mmap_mode="r"), data_fingerprint(pairs, hashes))


class _Fit:
    """Geometry alone."""

    def __init__(self, geometry: Sequence[Mapping[str, Any]]) -> None:
        size = next(
            (step.get("height", step.get("size")), step.get("width", step.get("size"))) for step in reversed(geometry)
        )
        self.size: tuple[int, int] = (int(size[0]), int(size[1]))
        self._preprocess = Preprocess([*geometry, {"step": "rescale", "factor": 1.0}], self.size)

    def __call__(self, pixels: GreyImage) -> GreyImage:
        return self._preprocess.fit(pixels)


def _decode_all(pairs: Pairs, array: Path, fit: _Fit, on_image: Callable[[int, int], None]) -> list[str]:
    total = len(pairs.paths)
    pixels = np.lib.format.open_memmap(array, mode="w+", dtype=np.uint8, shape=(total, *fit.size))
    hashes, unreadable = [], []
    for i, path in enumerate(pairs.paths):
        try:
            hashes.append(sha256_of(path))
            pixels[i] = fit(_decode(path))
        except (ImageError, OSError) as error:
            unreadable.append(f"{path}: {error}")
        if i % 100 == 99 or i == total - 1:
            on_image(i + 1, total)
    pixels.flush()
    if unreadable:
        more = f"\n  and {len(unreadable) - SHOWN} more" if len(unreadable) > SHOWN else ""
        raise UsageError(f"{len(unreadable)} image(s) cannot be read:\n  " + "\n  ".join(unreadable[:SHOWN]) + more)
    return hashes


def _decode(path: Path) -> GreyImage:
    """The first frame: a radiograph has one."""
    return next(decode(path)).pixels


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, path)
