"""Images decoded once, at training resolution, so that an epoch never waits for a decoder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxrzero.bundle import sha256_of
from cxrzero.errors import ImageError, UsageError
from cxrzero.images import decode
from cxrzero.images.radiograph import GreyImage
from cxrzero.train.pairs import SHOWN, Pairs


@dataclass(frozen=True)
class ImageStore:
    """The pictures of a run.

    Attributes:
        pixels: (N, size, size) uint8, in the order of the pairs; a memory map.
        fingerprint: sha256 over the rows of the pairs and the bytes of every image file.
    """

    pixels: npt.NDArray[np.uint8]
    fingerprint: str


def resize(pixels: GreyImage, size: int) -> GreyImage:
    """Squash to a square as the bundle's preprocessing does: Pillow bicubic (antialiased) on 8-bit grey."""
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC))


def data_fingerprint(pairs: Pairs, file_sha256: list[str]) -> str:
    """One hash for everything that a run learns from.

    Args:
        file_sha256: of each image's bytes, in the order of `pairs.images`.
    """
    digest = hashlib.sha256(pairs.rows_sha256.encode())
    for name, value in zip(pairs.images, file_sha256, strict=True):
        digest.update(f"{name}\x1f{value}\x1e".encode())
    return digest.hexdigest()


def open_store(pairs: Pairs, folder: Path, size: int, on_image: Callable[[int, int], None]) -> ImageStore:
    """Decode every image into `folder`, or reuse what an earlier run with the same files and size left there.

    Args:
        on_image: told (done, total) now and then.

    Raises:
        UsageError: images cannot be decoded; all are named.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stats = [path.stat() for path in pairs.paths]
    state = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in zip(pairs.images, stats, strict=True)]
    key = hashlib.sha256(json.dumps([size, state]).encode()).hexdigest()
    facts, array = folder / "store.json", folder / "pixels.npy"
    if facts.is_file() and array.is_file():
        stored = json.loads(facts.read_text("utf-8"))
        if stored["key"] == key:
            return ImageStore(np.load(array, mmap_mode="r"), data_fingerprint(pairs, stored["file_sha256"]))
    hashes = _decode_all(pairs, array, size, on_image)
    # Written last: a store without this file is not used.
    _write_text(facts, json.dumps({"key": key, "file_sha256": hashes}))
    return ImageStore(np.load(array, mmap_mode="r"), data_fingerprint(pairs, hashes))


def _decode_all(pairs: Pairs, array: Path, size: int, on_image: Callable[[int, int], None]) -> list[str]:
    total = len(pairs.paths)
    pixels = np.lib.format.open_memmap(array, mode="w+", dtype=np.uint8, shape=(total, size, size))
    hashes, unreadable = [], []
    for i, path in enumerate(pairs.paths):
        try:
            hashes.append(sha256_of(path))
            pixels[i] = resize(_decode(path), size)
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
