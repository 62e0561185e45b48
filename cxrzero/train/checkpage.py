"""What a model will really be shown: augmented pictures beside the texts drawn for them, as one HTML file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cxrzero.display.counts import counted
from cxrzero.display.page import escape
from cxrzero.files import write_whole
from cxrzero.search.contactsheet import HEAD, thumbnail

# What the model sees is small: enlarged, with every pixel visible.
STYLE = ".picture img{width:100%;height:100%;object-fit:contain;image-rendering:pixelated}main{margin-bottom:2rem}"
_HEAD = HEAD.replace("cxrzero search", "cxrzero train --check").replace("</style>", f"{STYLE}\n</style>")


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
    page = (
        f"{_HEAD}<h1>{escape(source)}</h1>\n"
        f"<p>{counted(len(seen), 'training image')} as the model sees them, each with the texts drawn for "
        "it. These are pictures and texts of patients: keep this page only where the data may be kept.</p>\n"
        f"{_figures(seen)}"
        + (
            "<h1>Do these show a chest?</h1>\n<p>They do not look like chest X-rays. Take out those that are "
            f"none.</p>\n{_figures(suspects)}"
            if suspects
            else ""
        )
        + "</body></html>\n"
    )
    write_whole(path, page)


def _figures(seen: Sequence[Seen]) -> str:
    return "<main>\n" + "\n".join(map(_figure, seen)) + "\n</main>\n"


def _figure(seen: Seen) -> str:
    data = base64.b64encode(thumbnail(seen.pixels)).decode("ascii")
    texts = "".join(f"<p>{escape(text)}</p>" for text in seen.texts)
    name = escape(seen.image)
    return (
        f'<figure><div class="picture"><img alt="{name}" src="data:image/jpeg;base64,{data}"></div>'
        f"<figcaption>{texts}<small>{name}</small></figcaption></figure>"
    )
