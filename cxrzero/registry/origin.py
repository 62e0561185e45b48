"""A bundle → the published weights that it was made from: ONNX files cannot be trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cxrzero.convert.lineage import OPEN_CLIP
from cxrzero.convert.own.asked import LINEAGE as OWN
from cxrzero.errors import NoInputError
from cxrzero.files import sha256_of
from cxrzero.model.bundle import load_bundle
from cxrzero.registry.folder import DOWNLOADS, models_folder

OPEN_CLIP_ARCH = "open_clip "  # before open_clip's name, in model.json's architecture


@dataclass(frozen=True)
class Origin:
    """Where a bundle came from, as `load_model` takes it.

    Attributes:
        path: file or folder with the same names and sha256 as on the day of the import.
        lineage: of a file; None for a folder.
        arch: open_clip's name, where a file's shapes do not tell its activation; else None.
    """

    path: Path
    lineage: str | None
    arch: str | None


def find_origin(bundle: Path) -> Origin:
    """Look in the bundle's folder, beside it, and among the downloads of `cxrzero models pull`.

    Raises:
        BundleError: it is not a bundle.
        NoInputError: the source is not stated or not there; says what to look for.
    """
    card = load_bundle(bundle).card
    provenance = card.get("provenance") or {}
    source: dict[str, str] = provenance.get("source") or {}
    if provenance.get("lineage") == OWN:
        raise NoInputError(
            f"the encoders of {bundle} came as ONNX files, which cannot be trained on; start from the weights "
            "that they were exported from"
        )
    if not source:
        raise NoInputError(
            f"{bundle} holds ONNX files, which cannot be trained on, and states no source; start from the run "
            "folder or the weights that it was made from"
        )
    folder = next((place for place in _places(bundle, source) if _holds(place, source)), None)
    if folder is None:
        names = ", ".join(f"{name} (sha256 {digest[:16]}…)" for name, digest in source.items())
        raise NoInputError(
            f"{bundle} was made from {names}, which is neither in it, nor beside it, nor in {models_folder()}; "
            "give the path of these weights"
        )
    if len(source) > 1:
        return Origin(folder, None, None)
    lineage = provenance.get("lineage")
    arch = str(card["architecture"])
    stated = lineage == OPEN_CLIP.name and arch.startswith(OPEN_CLIP_ARCH)
    return Origin(folder / next(iter(source)), lineage, arch.removeprefix(OPEN_CLIP_ARCH) if stated else None)


def _places(bundle: Path, source: dict[str, str]) -> Iterator[Path]:
    """Folders in which the source may lie."""
    downloads = models_folder() / DOWNLOADS
    folders = [bundle, bundle.resolve().parent, *(sorted(downloads.iterdir()) if downloads.is_dir() else [])]
    for folder in (folder for folder in folders if folder.is_dir()):
        yield from (folder, *sorted(path for path in folder.iterdir() if path.is_dir()))


def _holds(place: Path, source: dict[str, str]) -> bool:
    return all((place / name).is_file() for name in source) and all(
        sha256_of(place / name) == digest for name, digest in source.items()
    )
