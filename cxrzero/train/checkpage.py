"""What a model will really be shown: augmented pictures beside the texts drawn for them, as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cxrzero._version import __version__
from cxrzero.display.counts import counted
from cxrzero.display.page import escape, page
from cxrzero.display.pictures import breakable, embedded, film, thumbnail
from cxrzero.files import write_whole


@dataclass(frozen=True)
class Seen:
    """One image of a batch: its name, (H, W) uint8 after augmentation, and the texts drawn for it."""

    image: str
    pixels: npt.NDArray[np.uint8]
    texts: list[str]


def write_page(path: Path, source: str, seen: Sequence[Seen], suspects: Sequence[Seen]) -> None:
    """Write the page; nothing in it is loaded from elsewhere.

    Args:
        suspects: pictures that do not look like a chest X-ray, not augmented.

    Raises:
        OutputError: it cannot be written.
    """
    doubtful = (
        "<section><h2>Do these show a chest?</h2><p>They do not look like chest X-rays. Take out those that are none."
        f"</p>{_films(suspects)}</section>"
        if suspects
        else ""
    )
    body = f"""<header><h1>Check of {escape(source)}</h1>
<p class="soft">{counted(len(seen), "training image")} as the model sees them, each with the texts drawn for it</p>
<p><span class="device">Pictures and texts of patients: keep this page only where the data may be kept.</span></p>
</header>
<main class="enlarged">
<section>{_films(seen)}</section>
{doubtful}
</main>
<footer>cxrzero {__version__}. Research use only: not a medical device.</footer>"""
    write_whole(path, page(f"Check of {source}", body))


def _films(seen: Sequence[Seen]) -> str:
    return f'<div class="films">{"".join(map(_film, seen))}</div>'


def _film(seen: Seen) -> str:
    texts = "".join(f"<p>{escape(text)}</p>" for text in seen.texts)
    return film(embedded(thumbnail(seen.pixels), seen.image), f"{texts}<small>{breakable(seen.image)}</small>")
