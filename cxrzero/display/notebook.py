"""Tables and pictures as a notebook shows them: markup with everything in it, and nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cxrzero.display.page import escape

MOST_LETTERS = 120  # of a cell; the whole of it is in the object


class Markup(str):
    """A cell that is markup already; every other cell is text."""

    __slots__ = ()


def table(head: Sequence[str], rows: Iterable[Sequence[object]], caption: str) -> str:
    """Markup of a table.

    Args:
        head: names of the columns.
        rows: their cells; None is an empty one, a float is shown with three decimals.
        caption: plain text.
    """
    names = "".join(f"<th>{escape(_short(name))}</th>" for name in head)
    lines = "".join(f"<tr>{''.join(f'<td>{_shown(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table>"


def figures(pictures: Iterable[tuple[str, str]], caption: str) -> str:
    """Markup of pictures beside each other, each (picture, what is said below it); the first is markup."""
    shown = "".join(
        f'<figure style="display:inline-block;margin:4px">{picture}<figcaption>{escape(text)}</figcaption></figure>'
        for picture, text in pictures
    )
    return f"<div><p>{escape(caption)}</p>{shown}</div>"


def _shown(cell: object) -> str:
    if isinstance(cell, Markup):
        return cell
    if cell is None:
        return ""
    return escape(_short(f"{cell:.3f}" if isinstance(cell, float) else str(cell)))


def _short(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"
