"""`state/studies.jsonl`: a line for each study that was scored, for programs to follow."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cxrzero.files import cannot_write
from cxrzero.prediction import Prediction
from cxrzero.tables.studies import Studies

FILE_NAME = "studies.jsonl"


def line_of(study: str, scored_at: str, rows: Sequence[Prediction]) -> str:
    """What there is to say of a study: by UIDs, without identities; its scores as `predict --by study` joins them."""
    labels = list(rows[0].labels) if rows else []
    joined = Studies(labels)
    for row in rows:
        joined.add(row)
    summary = next(joined.rows())
    content: dict[str, Any] = {
        "scored_at": scored_at,
        "study": study,
        "sop_instance_uids": list(dict.fromkeys(uid for row in rows if (uid := row.facts.sop_instance_uid))),
        "images_used": summary["images_used"],
        "images_left_out": summary["images_left_out"],
        "left_out_reasons": summary["left_out_reasons"],
        "scores": {label: summary[label] for label in labels},
    }
    return json.dumps(content, ensure_ascii=False) + "\n"


def write_lines(path: Path, end: int, lines: Sequence[str]) -> int:
    """Put lines behind the first `end` bytes and onto the disk; returns where they end.

    What is behind `end` was written by a node that was killed before it could note so, and is written again. A file
    that is shorter was begun anew, by whoever rotates it.

    Raises:
        WriteError: it cannot be written.
    """
    try:
        with open(path, "r+b", opener=lambda name, flags: os.open(name, flags | os.O_CREAT, 0o600)) as file:
            file.seek(min(end, file.seek(0, os.SEEK_END)))
            file.write("".join(lines).encode("utf-8"))
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
            return file.tell()
    except OSError as error:
        raise cannot_write(path, error) from error
