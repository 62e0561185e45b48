"""The frame of every HTML page: one look, and nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html
from importlib.resources import files

from cxrzero.display.visible import visible

LOOK, BEHAVIOUR = "page.css", "page.js"


def escape(text: str) -> str:
    """Plain text as markup: nothing in it is markup, and nothing acts unseen (`visible`)."""
    return html.escape(visible(text))


def page(title: str, body: str, *, wide: bool = False, images: str = "data:", style: str = "", script: str = "") -> str:
    """A whole page, from the doctype to </html>.

    Its policy allows the styles and scripts that are put in here, by their hashes, and no other: what got into `body`
    unescaped would still not run.

    Args:
        title: plain text.
        body: markup: <header>, <main> and <footer>. It has no style attributes, for the policy does not allow them;
            data for a script go into <script type="application/json">.
        wide: let it be as wide as the window.
        images: where pictures may come from, as the policy's img-src says it.
        style, script: what this page alone needs beside page.css and page.js.
    """
    styles, scripts = (
        [each for each in (_own(name), more) if each] for name, more in ((LOOK, style), (BEHAVIOUR, script))
    )
    policy = (
        f"default-src 'none'; style-src {_hashes(styles)}; script-src {_hashes(scripts)}; img-src {images}; "
        "base-uri 'none'; form-action 'none'"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(title)}</title>
{"".join(f"<style>{each}</style>" for each in styles)}
</head>
<body{' class="wide"' if wide else ""}>
{body}
{"".join(f"<script>{each}</script>" for each in scripts)}
</body>
</html>
"""


def _own(name: str) -> str:
    return files("cxrzero.display").joinpath(name).read_text(encoding="utf-8")


def _hashes(sources: list[str]) -> str:
    digests = (hashlib.sha256(each.encode("utf-8")).digest() for each in sources)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode('ascii')}'" for digest in digests)
