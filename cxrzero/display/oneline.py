"""What an object is, in one line: for its repr."""

from __future__ import annotations

from collections.abc import Iterable

from cxrzero.display.visible import visible

MOST = 100  # letters of a line
MOST_OF_A_PATH = 40


def line(text: str, most: int = MOST) -> str:
    """`text`, with what nobody can see made visible, cut where it is longer than `most`."""
    text = visible(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def end_of(path: str, most: int = MOST_OF_A_PATH) -> str:
    """A path in quotes; of a long one its end, which tells it from others."""
    path = visible(path)
    return f"'{path if len(path) <= most else f'…{path[1 - most :]}'}'"


def arguments(kind: type, given: Iterable[tuple[str, object, object]]) -> str:
    """A call that makes the object: of (name, value, default) those that are not their default."""
    return line(f"{kind.__name__}({', '.join(f'{name}={value!r}' for name, value, usual in given if value != usual)})")
