"""The result of a search as one HTML file with thumbnails inside: nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cxrzero._version import __version__
from cxrzero.display.counts import counted
from cxrzero.display.page import escape, page
from cxrzero.display.pictures import breakable, embedded, film, thumbnail
from cxrzero.errors import ImageError
from cxrzero.files import write_whole
from cxrzero.images.radiograph import Radiograph
from cxrzero.search.archive import Hit


def write_contact_sheet(
    path: Path, title: str, hits: Sequence[Hit], decode: Callable[[str], Iterator[Radiograph]]
) -> None:
    """Write the sheet: the thumbnail, rank, cosine and path of each hit, and nothing from the header.

    Raises:
        OutputError: it cannot be written.
    """
    films = "".join(_film(hit, decode) for hit in hits)
    body = f"""<header><h1>{escape(title)}</h1>
<p class="soft">{counted(len(hits), "image")}, the nearest first, with the cosine similarity of each</p>
<p><span class="device">Research use only. Not a medical device.</span></p>
</header>
<main><div class="films">{films}</div></main>
<footer>cxrzero {__version__}. Burned-in text stays visible in the pictures.</footer>"""
    write_whole(path, page(f"Search: {title}", body))


def _film(hit: Hit, decode: Callable[[str], Iterator[Radiograph]]) -> str:
    frame = f", frame {hit.row.frame}" if hit.row.frame not in (None, 1) else ""
    caption = (
        f'<div class="row"><b>{hit.rank}</b><span>{hit.cosine:.4f}</span></div>'
        f"<small>{breakable(hit.row.path)}{frame}</small>"
    )
    return film(_picture(hit, decode), caption)


def _picture(hit: Hit, decode: Callable[[str], Iterator[Radiograph]]) -> str:
    try:
        for radiograph in decode(hit.row.path):
            if radiograph.frame == hit.row.frame:
                return embedded(thumbnail(radiograph.pixels), f"rank {hit.rank}")
    except ImageError as error:
        return escape(f"no longer readable ({error.code})")
    return "no longer there"
