"""A page in a real browser: the system's Chromium, driven by Playwright, which sees requests and complaints."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import needs

DESKTOP, PHONE = (1280, 800), (390, 844)
# Of axe-core's rules those that a page fails seriously; "minor" and "moderate" are advice.
SERIOUS = frozenset({"serious", "critical"})


@dataclass(slots=True)
class Opened:
    """A page that is open.

    Attributes:
        page: Playwright's.
        complaints: what was said on the console as a warning or an error, and exceptions that nobody caught.
        elsewhere: addresses that were asked for and are no file of this machine.
    """

    page: Any
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def faults(self) -> list[str]:
        """Serious faults of accessibility that axe-core finds, each with the places."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        serious = (each for each in found if each["impact"] in SERIOUS)
        return [f"{each['id']}: {[node['target'] for node in each['nodes']][:3]}" for each in serious]

    def check(self) -> None:
        """Fail where the page complained, or asked for anything outside its folder."""
        assert self.complaints == []
        assert self.elsewhere == []


@contextmanager
def opened(path: Path, size: tuple[int, int] = DESKTOP, *, dark: bool = False, **options: Any) -> Iterator[Opened]:
    """Open a page from its file; where no Chromium or no Playwright is, the test is skipped (`needs`).

    Args:
        size: width and height of the window in pixels.
        dark: as a user who prefers dark pages.
        options: of Playwright's `new_context`.
    """
    needs.modules("playwright", "axe_playwright_python")
    chromium = needs.program("chromium", "chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Containers have no user namespaces for Chromium's sandbox; what is opened here is our own page.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            width, height = size
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", **options
            )
            page = context.new_page()
            seen = Opened(page)
            page.on("console", lambda said: seen.complaints.append(said.text) if said.type in _LOUD else None)
            page.on("pageerror", lambda error: seen.complaints.append(str(error)))
            page.on("request", lambda asked: None if _is_here(asked.url) else seen.elsewhere.append(asked.url))
            page.goto(path.resolve().as_uri())
            yield seen
        finally:
            browser.close()


_LOUD = frozenset({"warning", "error"})


def _is_here(url: str) -> bool:
    return url.startswith(("file:", "data:", "blob:"))


def wait_until(page: Any, true: str, arg: object = None, seconds: float = 30) -> None:
    """Wait until an expression is true. Playwright's own waiting evaluates text in the page, which its policy forbids
    unless the first try succeeds."""
    end = time.monotonic() + seconds
    while not page.evaluate(true, arg):
        assert time.monotonic() < end, f"never true: {true}"
        page.wait_for_timeout(20)
