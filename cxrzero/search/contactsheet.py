"""The result of a search as one HTML file with thumbnails inside: nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cxrzero._version import __version__
from cxrzero.display.counts import counted
from cxrzero.display.page import escape, page
from cxrzero.display.pictures import breakable, embedded, film, link, thumbnail
from cxrzero.embeddings.ask import Hit
from cxrzero.errors import ImageError
from cxrzero.files import write_whole
from cxrzero.images.radiograph import Radiograph
from cxrzero.pipeline.items import RunStats

Decode = Callable[[str], Iterator[Radiograph]]


@dataclass(frozen=True, slots=True)
class Searched:
    """What was searched, for the head of the sheet.

    Attributes:
        text: the sentence; empty where `like` is given.
        like: path of the example image.
        model, fingerprint: who compared.
        stats: of the rows that were looked at.
        created: in UTC.
    """

    text: str
    model: str
    fingerprint: str
    stats: RunStats
    created: datetime
    like: str | None = None


def write_contact_sheet(path: Path, searched: Searched, hits: Sequence[Hit], decode: Decode) -> None:
    """Write the sheet: the thumbnail, rank, cosine and path of each hit, a link to it, and nothing from the header.

    Raises:
        OutputError: it cannot be written.
    """
    title = f"Films like {Path(searched.like).name}" if searched.like else searched.text
    stats = searched.stats
    left_out = "".join(
        f", {n:,} {what}" for n, what in ((stats.failed, "could not be read"), (stats.skipped, "skipped")) if n
    )
    body = f"""<header><h1>{escape(title)}</h1>
<p class="soft">The nearest {len(hits):,} of {counted(stats.ok, "image")}{left_out}
 · {escape(searched.model)} · {searched.created:%Y-%m-%d %H:%M} UTC</p>
<p><span class="device">Research use only. Not a medical device.</span></p>
{_query(searched, path.parent, decode)}</header>
<main><div class="films">{"".join(_film(hit, path.parent, decode) for hit in hits)}</div></main>
<footer>The number beside a rank is the cosine similarity of the film and what was asked: it orders films and is no
probability. Burned-in text stays visible in the pictures.<br>
cxrzero {__version__}, model {escape(searched.model)} <code>{escape(searched.fingerprint)}</code></footer>"""
    write_whole(path, page(f"Search: {title}", body))


def _query(searched: Searched, folder: Path, decode: Decode) -> str:
    """The example image; none of a sentence."""
    if searched.like is None:
        return ""
    caption = f"Looked for films like this one<small>{_name(searched.like, folder)}</small>"
    return f'<div class="query">{film(_picture(searched.like, None, "What was looked for", decode), caption)}</div>\n'


def _film(hit: Hit, folder: Path, decode: Decode) -> str:
    frame = f", frame {hit.row.frame}" if hit.row.frame not in (None, 1) else ""
    caption = (
        f'<div class="row"><b>{hit.rank}</b><span>{hit.cosine:.4f}</span></div>'
        f"<small>{_name(hit.row.path, folder)}{frame}</small>"
    )
    return film(_picture(hit.row.path, hit.row.frame, f"Rank {hit.rank}", decode), caption)


def _name(path: str, folder: Path) -> str:
    return f'<a href="{link(path, folder)}">{breakable(path)}</a>'


def _picture(path: str, frame: int | None, alt: str, decode: Decode) -> str:
    """A frame of a film, the first one for None, or what is to be said in its place."""
    try:
        for radiograph in decode(path):
            if frame in (None, radiograph.frame):
                return embedded(thumbnail(radiograph.pixels), alt)
    except ImageError as error:
        return escape(f"no longer readable ({error.code})")
    return "no longer there"
