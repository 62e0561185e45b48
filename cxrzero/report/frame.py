"""What every report has around its sections: the head, what to read first, the foot."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

from cxrzero._version import __version__
from cxrzero.display.page import escape, page
from cxrzero.evaluate.caveats import Caveat

LOUD = ' class="loud"'


def report_page(
    title: str, facts: Sequence[str], sections: Iterable[str], numbers: str, created: datetime.datetime | None
) -> str:
    """The whole page.

    Args:
        facts: what stands under the title, in HTML.
        sections: in HTML; an empty one is left out.
        numbers: names of the files that have the numbers in full precision.
        created: shown as the time of the evaluation; None leaves it out.
    """
    when = [f"{created:%Y-%m-%d %H:%M} UTC"] if created else []
    body = f"""<header>
<h1>{escape(title)}</h1>
<p class="soft">{" · ".join([*facts, *when])}</p>
<p><span class="device">Research use only. Not a medical device.</span></p>
</header>
<main>
{chr(10).join(filter(None, sections))}
</main>
<footer>cxrzero {__version__}. Numbers in full precision are in {escape(numbers)} beside this page.
Not a medical device: nothing here may guide the care of a patient.</footer>"""
    return page(title, body)


def read_first(warnings: Sequence[Caveat]) -> str:
    """What to know before any number."""
    if not warnings:
        return ""
    items = "".join(f"<li{LOUD if each.is_loud else ''}>{escape(each.text)}</li>" for each in warnings)
    return f'<section class="warnings" aria-label="Read this first"><b>Read this first</b><ul>{items}</ul></section>'
