"""The result of a search as one HTML file with thumbnails inside: nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxrzero.display.counts import counted
from cxrzero.display.page import escape
from cxrzero.errors import ImageError
from cxrzero.files import write_whole
from cxrzero.images.radiograph import Radiograph
from cxrzero.search.archive import Hit

THUMBNAIL_PIXELS = 256  # the longer side
JPEG_QUALITY = 85

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>cxrzero search</title><style>
:root{color-scheme:dark}
body{margin:0;padding:1.5rem;font:15px/1.4 system-ui,sans-serif;background:#14171a;color:#e6e8ea}
h1{font-size:1.25rem;margin:0 0 .25rem;overflow-wrap:anywhere}p{margin:0 0 1rem;color:#a9b1b8}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(14rem,1fr));gap:1rem}
figure{margin:0;background:#1e2327;border-radius:6px;overflow:hidden}
.picture{background:#000;height:256px;display:flex;align-items:center;justify-content:center;color:#a9b1b8}
img{max-width:100%;max-height:100%;display:block}
figcaption{padding:.5rem .7rem;overflow-wrap:anywhere}b{float:left;margin-right:.6rem}
span{display:block;text-align:right;font-variant-numeric:tabular-nums;color:#a9b1b8}small{display:block;margin-top:.2rem}
</style></head><body>
"""


def write_contact_sheet(
    path: Path, title: str, hits: Sequence[Hit], decode: Callable[[str], Iterator[Radiograph]]
) -> None:
    """Write the sheet: the thumbnail, rank, cosine and path of each hit, and nothing from the header.

    Raises:
        OutputError: it cannot be written.
    """
    figures = "\n".join(_figure(hit, decode) for hit in hits)
    page = (
        f"{HEAD}<h1>{escape(title)}</h1>\n"
        f"<p>{counted(len(hits), 'image')}, the nearest first, with the cosine similarity of each. "
        "Research use only: not a medical device. "
        f"Burned-in text stays visible in the pictures.</p>\n<main>\n{figures}\n</main></body></html>\n"
    )
    write_whole(path, page)


def _figure(hit: Hit, decode: Callable[[str], Iterator[Radiograph]]) -> str:
    name = escape(hit.row.path).replace("/", "/<wbr>")  # breaks between folders
    frame = f", frame {hit.row.frame}" if hit.row.frame not in (None, 1) else ""
    return (
        f'<figure><div class="picture">{_picture(hit, decode)}</div>'
        f"<figcaption><b>{hit.rank}</b><span>{hit.cosine:.4f}</span><small>{name}{frame}</small></figcaption></figure>"
    )


def _picture(hit: Hit, decode: Callable[[str], Iterator[Radiograph]]) -> str:
    try:
        for radiograph in decode(hit.row.path):
            if radiograph.frame == hit.row.frame:
                data = base64.b64encode(thumbnail(radiograph.pixels)).decode("ascii")
                return f'<img alt="rank {hit.rank}" src="data:image/jpeg;base64,{data}">'
    except ImageError as error:
        return escape(f"no longer readable ({error.code})")
    return "no longer there"


def thumbnail(pixels: npt.NDArray[np.uint8]) -> bytes:
    """(H, W) uint8 → JPEG whose longer side has at most 256 pixels."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
