"""A path as tables write it (`cxrzero.prediction.printable_path`), read back."""

from __future__ import annotations

import os
import re

# A byte of a name that is not UTF-8.
_BYTE = re.compile(rb"\\x([89a-f][0-9a-f])")


def unprinted(path: str) -> str:
    """The path with the bytes that are written as backslashes; a name that has backslashes itself is another then."""
    coded = path.encode("utf-8", "backslashreplace")
    return os.fsdecode(_BYTE.sub(lambda found: bytes([int(found[1], 16)]), coded))
