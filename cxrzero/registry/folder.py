"""The user's models folder: what was imported and pulled.

<models>/NAME/                   a bundle
<models>/ENSEMBLE/MEMBER/        a bundle of a registry entry of several files
<models>/imported/DIGEST/        a bundle made from a checkpoint that was named as --model, by its contents
<models>/downloads/NAME/         files as published, with pull.json
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from cxrzero.cards.card import iter_cards
from cxrzero.errors import OutputError, UsageError
from cxrzero.files import user_folder
from cxrzero.model.model_json import MODEL_JSON

IMPORTED = "imported"
DOWNLOADS = "downloads"
RESERVED = frozenset({IMPORTED, DOWNLOADS})


def models_folder() -> Path:
    """$CXRZERO_MODELS_DIR, else `cxrzero/models` in the user's data folder (XDG, ~/Library, %LOCALAPPDATA%)."""
    if chosen := os.environ.get("CXRZERO_MODELS_DIR"):
        return Path(chosen)
    return user_folder("data") / "models"


def check_name(name: str) -> str:
    """A name that may become a folder in the models folder: NAME or ENSEMBLE/MEMBER.

    Raises:
        UsageError: it could leave the models folder, be mistaken for an option, or hide a known model.
    """
    parts = name.split("/")
    if len(parts) > 2 or not all(re.fullmatch(r"\w[\w.+ -]*", part) for part in parts) or parts[0] in RESERVED:
        raise UsageError(f"{name!r} cannot be a model's name; give a --name of letters, digits, dots and dashes")
    if any(name == card.name and (card.bundled or card.ensemble) for card in iter_cards()):
        raise UsageError(f"{name!r} is the name of a known model that is not one file; give another --name")
    return name


def is_bundle(folder: Path) -> bool:
    return (folder / MODEL_JSON).is_file()


def bundles_in(folder: Path) -> list[Path]:
    """Bundle folders directly inside a folder, by the bytes of their names."""
    return sorted((path for path in _folders(folder) if is_bundle(path)), key=lambda path: os.fsencode(path.name))


def installed() -> Iterator[tuple[str, Path]]:
    """Names (NAME or ENSEMBLE/MEMBER) and folders of the bundles in the models folder, sorted."""
    root = models_folder()
    for folder in sorted(_folders(root), key=lambda path: os.fsencode(path.name)):
        if folder.name in RESERVED or folder.name.startswith("."):
            continue
        if is_bundle(folder):
            yield folder.name, folder
        for member in bundles_in(folder):
            yield f"{folder.name}/{member.name}", member


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OutputError(f"the folder {folder} cannot be read: {error.strerror}") from error
