"""Numbers agree with their nouns, and lists read as a sentence does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from cxrzero.display.counts import counted, either, plural, together
from tests.support import REPO


@pytest.mark.parametrize(
    ("n", "words", "said"),
    [
        (0, ("row",), "0 rows"),
        (1, ("row",), "1 row"),
        (2, ("study",), "2 studies"),
        (1, ("study",), "1 study"),
        (3, ("process",), "3 processes"),
        (1000, ("image file",), "1,000 image files"),
        (1, ("row is", "rows are"), "1 row is"),
        (12345, ("row is", "rows are"), "12,345 rows are"),
    ],
)
def test_a_count_has_its_noun(n: int, words: tuple[str, ...], said: str) -> None:
    assert counted(n, *words) == said


def test_regular_plurals() -> None:
    assert [plural(noun) for noun in ("day", "entry", "box", "batch", "Study Instance UID")] == [
        "days",
        "entries",
        "boxes",
        "batches",
        "Study Instance UIDs",
    ]


def test_lists() -> None:
    assert [either("abc"[:n]) for n in range(1, 4)] == ["a", "a or b", "a, b or c"]
    assert [together(["x"] * n) for n in range(1, 4)] == ["x", "x and x", "x, x and x"]


def texts() -> Iterator[tuple[str, str]]:
    """(file, text) of every string of the package; what is put in stands as {}."""
    for path in sorted((REPO / "cxrzero").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path.name, node.value
            elif isinstance(node, ast.JoinedStr):
                yield (
                    path.name,
                    "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values),
                )


def test_no_message_leaves_singular_or_plural_open() -> None:
    """`image(s)`, and a number put before a plural that nothing makes agree with it."""
    every = list(texts())
    assert len(every) > 5000
    assert [found for found in every if re.search(r"[a-z]\(s\) |[a-z]\(s\)$", found[1])] == []
    nouns = (
        "rows|images|labels|files|films|studies|texts|reports|patients|shards|entries|prompts|templates|checks|units"
    )
    bare = re.compile(rf"(?:^|[;:,(] )\{{\}} (?:other |training |more |label )?(?:{nouns})\b(?!/s)")
    assert [found for found in every if bare.search(found[1])] == []
