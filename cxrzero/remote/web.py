"""Files of a web server, and pages that list them: the links of a page that lead below it are the folder.

Only the host that the user named is asked (`cxrzero.archive.http`). A page is one by its address, which ends in a
slash; of its links those with a query, such as the ones that sort it, and all that lead elsewhere are passed over.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from cxrzero.archive.credentials import Login
from cxrzero.archive.http import Http
from cxrzero.archive.limits import Limits
from cxrzero.errors import ImageError, UsageError
from cxrzero.remote.address import ObjectAddress
from cxrzero.remote.answers import changed
from cxrzero.remote.service import STORE, Entry

SERVER = replace(STORE, who="the server")
FOLDERS_DEEP = 32
ANYTHING = "*/*"


class Web:
    """See `cxrzero.remote.service.Service`; keys are paths, with a query where the address has one.

    Args:
        login: shown to it; None shows none.
        ca_file: certificates by which its own is checked.

    Raises:
        ConfigError: `ca_file` cannot be used.
        MissingExtraError: requests is not installed.
    """

    def __init__(
        self,
        address: ObjectAddress,
        limits: Limits,
        stop: threading.Event,
        login: Login | None = None,
        ca_file: str | None = None,
    ) -> None:
        self._root, self._limits = address.service, limits
        self.is_encrypted = address.is_encrypted or address.is_local
        self._http = Http(address.service, login, limits, stop, ca_file, SERVER)

    def entries(self, prefix: str) -> Iterator[Entry]:
        yield from self._in(prefix, 0)

    def _in(self, folder: str, depth: int) -> Iterator[Entry]:
        if depth > FOLDERS_DEEP:
            raise ImageError("remote_error", f"pages lie more than {FOLDERS_DEEP} deep")
        for key in self._links(folder):
            if key.endswith("/"):
                yield from self._in(key, depth + 1)
            else:
                yield Entry(key)

    def _links(self, folder: str) -> list[str]:
        """Keys right below a page, in the order of their names' bytes; a folder's has its slash."""
        content = self._http.get(self._root + folder, "text/html", self._limits.listing_bytes, _page_of)
        base = urlsplit(self._root + folder)
        links = _Links()
        links.feed(content)
        found: dict[bytes, str] = {}
        for link in links.found:
            try:
                parts = urlsplit(urljoin(base.geturl(), link))
            except ValueError:
                continue
            below = parts.path[len(base.path) :]
            name, slash, rest = below.partition("/")
            is_here = (parts.scheme, parts.netloc.lower()) == (base.scheme, base.netloc.lower())
            plain = unquote_to_bytes(name)
            is_name = plain.strip(b".") and b"/" not in plain and b"\0" not in plain
            if is_here and parts.path.startswith(base.path) and is_name and not rest and not parts.query:
                found.setdefault(plain + slash.encode(), folder + name + slash)
        return [key for _, key in sorted(found.items())]

    def look(self, key: str) -> Entry | None:
        """One that is a page (its address got a slash) is none; one that is not there is "missing".

        A signature is often for GET alone, so an address with a query is asked for its first byte.
        """

        def read(response: Any) -> Entry | None:
            if urlsplit(response.url).path == urlsplit(self._root + key).path + "/":
                return None
            return _entry(key, response)

        if "?" in key:
            return self._http.get(self._root + key, ANYTHING, self._limits.object_bytes, read, (0, 1))
        try:
            return self._http.head(self._root + key, read)
        except ImageError as error:
            if "405" in error.message or "501" in error.message:  # it knows no HEAD; then it states no version
                return Entry(key)
            raise

    def fetch(self, key: str, known: Entry | None, most_bytes: int, part: tuple[int, int] | None = None) -> bytes:
        def read(response: Any) -> bytes:
            found = _entry(key, response)
            if known is not None and known.version and found.version and found.version != known.version:
                raise changed()
            content: bytes = response.content
            if part is None:
                return content
            if response.status_code == 416:
                return b""
            return content[part[0] :] if response.status_code == 200 else content[: part[1]]

        return self._http.get(self._root + key, ANYTHING, most_bytes, read, part)

    def put(self, key: str, file: Path, *, overwrite: bool) -> None:
        raise UsageError("a web server takes no tables; give --out a file or an object store")

    def remove(self, key: str) -> None:
        raise AssertionError("nothing was put")

    def close(self) -> None:
        self._http.close()


class _Links(HTMLParser):
    """Where the links of a page lead."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value.strip() for name, value in attrs if name == "href" and value]


def _page_of(response: Any) -> str:
    if "html" not in response.headers.get("Content-Type", "").lower():
        raise ImageError("remote_error", "the server answers with something else than a page of links")
    content: bytes = response.content
    return content.decode(response.encoding or "utf-8", "replace")


def _entry(key: str, response: Any) -> Entry:
    headers = response.headers
    whole = headers.get("Content-Length", "") if response.status_code == 200 else ""
    length = whole or headers.get("Content-Range", "").rpartition("/")[2]
    version = headers.get("ETag", "") or headers.get("Last-Modified", "")
    return Entry(key, int(length) if length.isdigit() else None, version)
