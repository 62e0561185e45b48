"""An encoding that lacks a character gets the nearest plain one."""

from __future__ import annotations

import re

import pytest

from cxrzero.display.plain import HORIZONTAL, PLAIN, SIGNS
from tests.support import REPO


@pytest.mark.parametrize(
    ("text", "encoding", "written"),
    [
        ("0 … 255", "ascii", b"0 ... 255"),
        ("32 × 40", "ascii", b"32 x 40"),
        ("32 × 40", "latin-1", b"32 \xd7 40"),
        ("0.3–0.6", "cp437", b"0.3-0.6"),
        ("−0.1", "latin-1", b"-0.1"),
        ("σ(s·d)", "cp437", b"\xe5(s\xfad)"),
        ("σ(d)", "latin-1", b"sigma(d)"),
        ("╭─│┼━╰", "ascii", b"+-|+-+"),
        ("é", "ascii", rb"\xe9"),
        ("胸", "latin-1", rb"\u80f8"),
        ("\udcff", "utf-8", rb"\xff"),
    ],
)
def test_written(text: str, encoding: str, written: bytes) -> None:
    assert text.encode(encoding, PLAIN) == written


def test_other_errors_stay_errors() -> None:
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("utf-8", PLAIN)


def test_every_sign_that_the_command_line_prints_has_a_plain_one() -> None:
    """Looked for in the sources of what prints and of what raises messages."""
    package = REPO / "cxrzero"
    texts = [path.read_text(encoding="utf-8") for path in package.rglob("*.py") if "phantom" not in path.parts]
    literals = "".join(re.findall(r'"[^"\n]*"', "\n".join(texts)))
    signs = {char for char in literals if not char.isascii() and char.isprintable() and not char.isalpha()}
    assert signs
    assert [char for char in sorted(signs) if char.encode("ascii", PLAIN).startswith(b"\\")] == []
    assert all(each.isascii() for each in SIGNS.values())
    assert set(map(chr, range(0x2500, 0x2580))) >= HORIZONTAL
