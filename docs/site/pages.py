"""The site is made of the repository's own Markdown files, each at its place, so that a link means the same in both.

MkDocs calls this as a hook (mkdocs.yml) and gives it the files of this folder: the site's style and script.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

REPO = Path(__file__).resolve().parents[2]
# README.md of the top is the first page; results that pages link to come along as they are.
PAGES = ("*.md", "docs/*.md", "models/*/README.md", "benchmarks/README.md", "examples/README.md")
LINK = re.compile(r"\]\(([^)#:\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and what they link to that is no page."""
    pages = [page for pattern in PAGES for page in sorted(REPO.glob(pattern))]
    for path in dict.fromkeys([*pages, *(linked for page in pages for linked in _linked(page))]):
        name = path.relative_to(REPO).as_posix()
        files.append(File(name, str(REPO), config.site_dir, config.use_directory_urls))
    return files


def _linked(page: Path) -> Iterator[Path]:
    """Files of the repository behind a page's links."""
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve()
        if path.is_file() and path.is_relative_to(REPO) and path.suffix != ".md":
            yield path
