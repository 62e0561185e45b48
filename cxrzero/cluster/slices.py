"""A slice's file: a line of JSON for each film, `{"position": 17, "path": "archive/a.dcm"}`.

Bytes of a name that are not UTF-8 are there as Python has them in a text, lone surrogates, which JSON escapes. A film
that the walk found to be unreadable has an `error`; one that is no local file has the `identity` that the walk gave it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from cxrzero.cluster.engine import Task
from cxrzero.errors import ImageError, RunError, SkippedImage, UsageError
from cxrzero.places.kind import is_file
from cxrzero.sources import FileIdentity, ImageRef, identity_of

ERRORS: dict[str, type[ImageError]] = {kind.status: kind for kind in (ImageError, SkippedImage)}


def line_of(ref: ImageRef, position: int) -> str:
    """A film as a line.

    Raises:
        UsageError: its address has a signature, which would have to be in it.
    """
    if getattr(ref.path, "query", ""):
        raise UsageError(
            "an address with a query, as signed ones are, would be written into the plan of --engine: give addresses "
            "that need none, or leave --engine out"
        )
    line = f'{{"position": {position}, "path": {quoted(ref.path)}'
    more: dict[str, Any] = {}
    if ref.error is not None:
        error = ref.error
        more["error"] = [error.status, error.code, error.message, error.facts and list(error.facts)]
    if isinstance(ref.identity, bytes):
        more["identity"] = ref.identity.decode("latin-1")
    if ref.is_anew:
        more["is_anew"] = True
    return f"{line}, {json.dumps(more)[1:]}\n" if more else line + "}\n"


def refs_of(task: Task) -> Iterator[ImageRef]:
    """The films of a task, each as it is when it is its turn: one that is gone becomes a failed row, as in any run.

    Raises:
        RunError: the slice is not the one that was planned.
    """
    if hashlib.sha256(task.content).hexdigest() != task.sha256:
        raise RunError(f"slice {task.number} is damaged; delete the plan's folder, and start again")
    lines = list(_lines(task))
    if [line["position"] for line in lines] != list(range(task.first, task.first + task.films)):
        raise RunError(f"slice {task.number} has other films than the plan says; delete the plan's folder")
    return map(_ref, lines)


def paths_of(task: Task) -> Iterator[str]:
    """The paths of a task's films."""
    return (line["path"] for line in _lines(task))


def readable_of(task: Task) -> Iterator[str]:
    """The paths of those films that the walk found to be readable."""
    return (line["path"] for line in _lines(task) if "error" not in line)


def _lines(task: Task) -> Iterator[dict[str, Any]]:
    for line in task.content.splitlines():
        try:
            yield json.loads(line)
        except ValueError as error:
            raise RunError(f"slice {task.number} is no list of films; delete the plan's folder") from error


def _ref(line: dict[str, Any]) -> ImageRef:
    path, error = line["path"], None
    if "error" in line:
        status, code, message, facts = line["error"]
        error = ERRORS[status](code, message, facts=facts and tuple(facts))
    identity = line.get("identity")
    known: FileIdentity | bytes | None = None if identity is None else identity.encode("latin-1")
    if known is None and error is None and is_file(path):
        with suppress(OSError):
            known = identity_of(os.stat(path))
    return ImageRef(path, error, known, line["position"], line.get("is_anew", False))
