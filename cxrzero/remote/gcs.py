"""Google Cloud Storage by its JSON API: gcsfs finds the login and opens the connections, requests are made here.

Through gcsfs itself a listing would be held whole, and a body of any size read from wherever a redirect leads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from cxrzero.archive.http import CHUNK_BYTES
from cxrzero.archive.limits import Limits, Patience
from cxrzero.errors import ConfigError, ImageError, OutputExistsError, RemoteError
from cxrzero.remote.address import ObjectAddress
from cxrzero.remote.answers import answer, broke_off, changed, too_large, translated
from cxrzero.remote.filesystem import driver, on_loop, opened
from cxrzero.remote.service import Entry

PAGE = "1000"
FIELDS = "name,size,generation,etag"


class Gcs:
    """See `cxrzero.remote.service.Service`.

    Raises:
        MissingExtraError: gcsfs is not installed.
        RemoteError: there is no login.
        ConfigError: a login would go over an open line.
    """

    def __init__(self, address: ObjectAddress, limits: Limits, patience: Patience, *, is_anonymous: bool) -> None:
        kind = driver("gcsfs.core", "GCSFileSystem")
        self._bucket, self._name, self._limits, self._patience = address.host, address.service, limits, patience
        with translated(self._name):
            self._files = opened(kind, token="anon")
            endpoint = urlsplit(self._files.base)
            is_local = endpoint.hostname in ("localhost", "127.0.0.1", "::1")  # an emulator
            self.is_encrypted = endpoint.scheme == "https" or is_local
            if not is_anonymous and not is_local:
                self._files.credentials.connect("google_default")
        if not self.is_encrypted and self._files.credentials.credentials is not None:
            raise ConfigError(f"{self._name}: a login is not sent over http, where others can read it on its way")

    def entries(self, prefix: str) -> Iterator[Entry]:
        token = ""
        while True:
            page = self._patience(lambda token=token: self._page(prefix, token))  # type: ignore[misc]
            yield from map(_entry, page.get("items", ()))
            after = page.get("nextPageToken", "")
            if not after:
                return
            if after == token:
                raise RemoteError(f"{self._name} gives the same page of its list again; give the names by @list.txt")
            token = after

    def _page(self, prefix: str, token: str) -> dict[str, Any]:
        asked = {"prefix": prefix, "maxResults": PAGE, "fields": f"items({FIELDS}),nextPageToken"}
        content = self._ask("GET", "", asked | ({"pageToken": token} if token else {}), self._limits.listing_bytes)
        return self._json(content)

    def look(self, key: str) -> Entry | None:
        try:
            return _entry(self._json(self._ask("GET", key, {"fields": FIELDS}, self._limits.listing_bytes)))
        except ImageError as error:
            if error.code == "missing":
                return None
            raise

    def fetch(self, key: str, known: Entry | None, most_bytes: int, part: tuple[int, int] | None = None) -> bytes:
        asked = {"alt": "media"}
        if known is not None and known.version.isdigit():
            asked["ifGenerationMatch"] = known.version
        headers = {} if part is None else {"Range": f"bytes={part[0]}-{sum(part) - 1}"}
        content = self._ask("GET", key, asked, most_bytes, headers, known)
        return content if part is None else content[: part[1]]

    def put(self, key: str, file: Path, *, overwrite: bool) -> None:
        if not overwrite and self.look(key) is not None:
            raise OutputExistsError(f"{self._name}/{key} exists already; name another, or give --overwrite")
        with translated(self._name):
            self._files.put_file(str(file), f"{self._bucket}/{key}")

    def remove(self, key: str) -> None:
        self._ask("DELETE", key, {}, self._limits.listing_bytes)

    def close(self) -> None:
        session = self._files._session
        if session is not None and not session.closed:
            on_loop(self._files, session.close, seconds=self._limits.connect_s)

    def _json(self, content: bytes) -> dict[str, Any]:
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise RemoteError(f"{self._name} does not answer as Google Cloud Storage does")
        return found

    def _ask(
        self,
        method: str,
        key: str,
        asked: dict[str, str],
        most_bytes: int,
        headers: dict[str, str] | None = None,
        known: Entry | None = None,
    ) -> bytes:
        url = f"{self._files.base}b/{quote(self._bucket, safe='')}/o" + (f"/{quote(key, safe='')}" if key else "")

        async def ask() -> bytes:
            import yarl

            await self._files._set_session()
            query = "&".join(f"{name}={quote(value, safe='')}" for name, value in asked.items())
            whole = yarl.URL(f"{url}?{query}", encoded=True)
            login = self._files._get_headers({**(headers or {}), "Accept-Encoding": "identity"})
            session = self._files.session
            async with session.request(method, whole, headers=login, allow_redirects=False) as response:
                if response.status not in (200, 204, 206, 416):
                    raise answer(self._name, response.status)
                generation = response.headers.get("x-goog-generation", "")
                if known is not None and known.version and generation and generation != known.version:
                    raise changed()
                length = response.content_length
                if length is not None and length > most_bytes:
                    raise too_large(most_bytes)
                content = bytearray()
                while chunk := await response.content.read(CHUNK_BYTES):
                    content += chunk
                    if len(content) > most_bytes:
                        raise too_large(most_bytes)
            if response.status == 416:
                return b""
            if length is not None and len(content) < length:
                raise broke_off()
            return bytes(content)

        with translated(self._name):
            content: bytes = on_loop(self._files, ask, seconds=self._limits.whole_s)
            return content


def _entry(found: dict[str, Any]) -> Entry:
    size = str(found.get("size", ""))
    version = found.get("generation") or found.get("etag") or ""
    return Entry(str(found["name"]), int(size) if size.isdecimal() else None, str(version))
