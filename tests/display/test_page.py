"""The frame of a page: what it allows to run is what it brought, and a film of any name is text."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrzero.display.page import page
from cxrzero.display.pictures import breakable, embedded, film, link, thumbnail
from tests.support.hostile import HOSTILE, SHOWN


def policy_of(html: str) -> dict[str, list[str]]:
    content = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert len(content) == 1
    return {name: sources for name, *sources in (part.split() for part in content[0].split(";"))}


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_nothing_runs_but_what_the_page_brought() -> None:
    html = page("t", "<main></main>", style="p{color:red}", script="let x = '×';")
    allowed = policy_of(html)
    assert allowed["default-src"] == ["'none'"]
    assert allowed["script-src"] == [digest(each) for each in re.findall(r"<script>(.*?)</script>", html, re.DOTALL)]
    assert allowed["style-src"] == [digest(each) for each in re.findall(r"<style>(.*?)</style>", html, re.DOTALL)]
    assert len(allowed["script-src"]) == len(allowed["style-src"]) == 2
    assert allowed["img-src"] == ["data:"]


def test_a_page_loads_nothing_from_elsewhere() -> None:
    html = page("t", "")
    assert re.findall(r"https?:|url\(|@import|src=|href=|<link", html) == []
    assert policy_of(page("t", "", images="'self' data:"))["img-src"] == ["'self'", "data:"]


def test_titles_and_names_are_text() -> None:
    html = page("<b>\u202e</title>", film(embedded(b"x", '"><script>'), breakable(f"a/{HOSTILE}")))
    assert r"<title>&lt;b&gt;\u202e&lt;/title&gt;</title>" in html
    assert 'alt="&quot;&gt;&lt;script&gt;"' in html
    assert f"a/<wbr>{SHOWN}" in html.replace("&amp;", "&")


def test_thumbnails_become_smaller_and_never_larger() -> None:
    for shape, expected in (((600, 300), (128, 256)), ((30, 40), (40, 30))):
        picture = Image.open(io.BytesIO(thumbnail(np.zeros(shape, np.uint8))))
        assert (picture.format, picture.size) == ("JPEG", expected)


@pytest.mark.skipif(os.name == "nt", reason="names of Unix")
def test_links_are_relative_and_lead_to_files_of_any_name() -> None:
    """Expected: RFC 3986, section 4.2 (a colon in a first segment would be a scheme) and bytes as they are on disk."""
    folder = Path("/a/results")
    for path, expected in (
        ("/a/films/1.png", "../films/1.png"),
        ("/a/results/C:x.png", "C%3Ax.png"),
        ('/a/results/"<b>?#%', "%22%3Cb%3E%3F%23%25"),
        (os.fsdecode(b"/a/results/\xff\xc3\xa9.png"), "%FF%C3%A9.png"),
    ):
        assert link(path, folder) == expected
