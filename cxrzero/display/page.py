"""Text on its way to an HTML page."""

from __future__ import annotations

import html

from cxrzero.display.visible import visible


def escape(text: str) -> str:
    """Plain text as markup: nothing in it is markup, and nothing acts unseen (`visible`)."""
    return html.escape(visible(text))
