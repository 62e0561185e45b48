"""Rows of the prediction table as text, for the queue to keep: what `pack` took, `unpack` gives back to the bit."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from cxrzero.images.radiograph import Facts
from cxrzero.node.queue import Object
from cxrzero.prediction import Prediction

_MAPPINGS = ("scores", "cos_pos", "cos_neg", "sd", "calibrated", "decision")
_TEXTS = ("status", "error", "code")


def pack(rows: Sequence[Prediction]) -> str:
    """The rows of one file, without its path, and without the mappings that are empty."""
    packed: list[dict[str, Any]] = []
    for row in rows:
        kept = {name: dict(found) for name in _MAPPINGS if (found := getattr(row, name))}
        texts = {name: text for name in _TEXTS if (text := getattr(row, name))}
        packed.append({"frame": row.frame, "facts": list(row.facts), "flags": sorted(row.flags), **texts, **kept})
    # JSON writes a float by the shortest decimals that read as the same one
    return json.dumps({"labels": list(rows[0].labels) if rows else [], "rows": packed}, separators=(",", ":"))


def shown_path(each: Object) -> str:
    """What stands for an object's path in tables: where it was found, or of what was sent our own digest.

    Without a study, what was sent has a folder of its own: tables of studies take films of one folder for one.
    """
    return each.source or (each.file if each.study != each.digest else os.path.join(each.file, each.file))


def unpack(text: str, path: str) -> list[Prediction]:
    """The rows again, as those of the file at `path`."""
    if not text:
        return []
    packed = json.loads(text)
    labels = dict.fromkeys(packed["labels"])
    return [
        Prediction(
            path,
            labels,
            frame=row["frame"],
            facts=Facts(*row["facts"]),
            flags=frozenset(row["flags"]),
            **{name: row.get(name, "") for name in _TEXTS},
            **{name: row.get(name, {}) for name in _MAPPINGS},
        )
        for row in packed["rows"]
    ]
