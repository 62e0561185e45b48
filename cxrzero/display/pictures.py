"""Films as small pictures, and as parts of a page."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxrzero.display.page import escape
from cxrzero.places.members import file_of

THUMBNAIL_PIXELS = 256  # the longer side
JPEG_QUALITY = 85


def thumbnail(pixels: npt.NDArray[np.uint8], longer_side: int = THUMBNAIL_PIXELS) -> bytes:
    """(H, W) uint8 → JPEG, made smaller where it is larger."""
    return jpeg(Image.fromarray(pixels), longer_side)


def jpeg(picture: Image.Image, longer_side: int) -> bytes:
    """A picture as JPEG, made smaller where it is larger."""
    picture = picture.copy()
    picture.thumbnail((longer_side, longer_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def embedded(picture: bytes, alt: str, kind: str = "jpeg") -> str:
    """A picture that the page carries; `alt`, plain text, is read out for it."""
    data = base64.b64encode(picture).decode("ascii")
    return f'<img alt="{escape(alt)}" src="data:image/{kind};base64,{data}">'


def enlargeable(picture: str) -> str:
    """A picture (markup) that page.js shows as large as the window on a click."""
    return f'<button type="button" class="enlarge">{picture}</button>'


def film(picture: str, caption: str) -> str:
    """A film for a grid of class "films"; both are markup, `picture` an image or what is said in its place."""
    return f'<figure class="film"><div class="picture">{picture}</div><figcaption>{caption}</figcaption></figure>'


def breakable(path: str) -> str:
    """A path as markup whose lines may break between folders."""
    return escape(path).replace("/", "/<wbr>")


def link(path: str, folder: Path) -> str:
    """The address of a file for a page in `folder`: relative, so that both can be moved together.

    Of a film in a .zip or .tar file it is that file's, since nothing else can be opened.
    """
    path = file_of(path)
    try:
        path = os.path.relpath(path, folder)
    except ValueError:  # Windows: on another drive
        return Path(os.path.abspath(path)).as_uri()
    return quote(os.fsencode(path.replace(os.sep, "/")))
