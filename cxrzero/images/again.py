"""A film that was read before, read again for a small picture of it."""

from __future__ import annotations

import os
from dataclasses import replace

from cxrzero.display.pictures import thumbnail
from cxrzero.images import decode
from cxrzero.images.radiograph import DecodeOptions

# JPEG films are decoded at a fraction of their size, never below this.
LEAST_SIDE = 512


def thumbnail_of(path: str, frame: int, longer_side: int, options: DecodeOptions) -> bytes | None:
    """JPEG of a frame of the file as it is now; None where there is no such file, or none that can be read."""
    if not os.path.isfile(path):
        return None
    options = replace(options, fast_side=options.fast_side or LEAST_SIDE)
    try:
        for radiograph in decode(path, options):
            if radiograph.frame == frame:
                return thumbnail(radiograph.pixels, longer_side)
    except Exception:  # of any kind, as of `cxrzero.pipeline.decode_file`: the row says what is wrong with a film
        return None
    return None
