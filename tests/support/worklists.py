"""A worklist that was made, read again."""

from __future__ import annotations

import json
import re
from typing import Any

from cxrzero.worklist.run import Made


def data_of(made: Made) -> dict[str, Any]:
    """What the page's script is given."""
    text = made.page.read_text(encoding="utf-8")
    (inside,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    found: dict[str, Any] = json.loads(inside)
    return found
