"""The documentation site: built without a warning, whole, and loading nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import cxrzero
from tests.support import REPO

pytest.importorskip("mkdocs", reason="the site needs cxrzero[docs]")

# What a browser fetches by itself; links that a reader clicks are none of these.
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data", "link": "href"}
ELSEWHERE = re.compile(r"\s*(https?:)?//")
FETCHED_BY_STYLES = re.compile(r"(?:url\(|@import)\s*[\"']?\s*((?:https?:)?//[^\"')]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


class Page(HTMLParser):
    """What a page loads, and what it links to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.links: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag in LOADED:
            self.found.append(given.get(LOADED[tag]) or "")
        if tag == "a" and given.get("href"):
            self.links.append(given["href"] or "")
        if given.get("style"):
            self.found += FETCHED_BY_STYLES.findall(given["style"] or "")


def loaded(site: Path) -> Iterator[str]:
    for page in site.rglob("*.html"):
        yield from Page(page).found
    for style in site.rglob("*.css"):
        yield from FETCHED_BY_STYLES.findall(style.read_text(encoding="utf-8"))


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    found = list(loaded(site))
    assert any(target.endswith(".css") for target in found)
    assert [target for target in found if ELSEWHERE.match(target)] == []


def test_nothing_is_fetched_by_the_themes_script(site: Path) -> None:
    """It would ask for diagrams, and for the numbers of a repository, where a page has these."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert 'class="mermaid"' not in text
        assert 'data-md-component="source"' not in text


def test_links_within_the_site_lead_somewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # which is shown at any place
            continue
        for link in Page(page).links:
            target = unquote(urlsplit(link).path)
            assert urlsplit(link).scheme or (page.parent / target).exists(), f"{page.name}: {link}"


def test_documents_are_pages(site: Path) -> None:
    for document in [*REPO.glob("*.md"), *REPO.glob("docs/*.md"), *REPO.glob("models/*/README.md")]:
        page = document.relative_to(REPO).with_suffix(".html")
        assert (site / page.with_name(page.name.replace("README", "index"))).is_file(), document


def test_the_api_is_rendered(site: Path) -> None:
    page = (site / "docs" / "api.html").read_text(encoding="utf-8")
    for name in set(cxrzero.__all__) - {"__version__"}:
        assert f'id="cxrzero.{name}"' in page
    assert 'id="cxrzero.Screener.predict"' in page


def test_the_search_works_from_the_folder(site: Path) -> None:
    """Without a server: the index is a script, and so is what a worker needs."""
    assert "pseudonym" in (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert 'src="../iframe-worker.js"' in (site / "docs" / "predict.html").read_text(encoding="utf-8")
    assert (site / "iframe-worker.js").is_file()
