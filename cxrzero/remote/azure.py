"""Azure Blob Storage: adlfs finds the login and opens the connections, requests are made here.

Through adlfs itself a listing would be held whole, and a redirect be followed to anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cxrzero.archive.limits import Limits, Patience
from cxrzero.errors import ImageError, OutputExistsError
from cxrzero.remote.address import ObjectAddress
from cxrzero.remote.answers import broke_off, changed, login_error, too_large, translated
from cxrzero.remote.filesystem import driver, on_loop, opened
from cxrzero.remote.service import Entry

PAGE = 1000
# Of one request: Azure's client follows redirects and tries again, which we decide.
ALONE = {"permit_redirects": False, "retry_total": 0}


class Azure:
    """See `cxrzero.remote.service.Service`.

    Raises:
        MissingExtraError: adlfs is not installed.
        RemoteError: there is no login, or no account is named.
    """

    def __init__(self, address: ObjectAddress, limits: Limits, patience: Patience, *, is_anonymous: bool) -> None:
        kind = driver("adlfs", "AzureBlobFileSystem")
        self._name, self._limits, self._patience = address.service, limits, patience
        container, at, account = address.host.partition("@")
        options = {"account_name": account.partition(".")[0]} if at else {}
        try:
            self._files = opened(kind, anon=True if is_anonymous else None, **options)
        except ValueError:  # whose words may quote a connection string
            raise login_error(self._name, "no account is named, or its login cannot be used") from None
        endpoint = urlsplit(self._files.service_client.url)
        self.is_encrypted = endpoint.scheme == "https" or endpoint.hostname in ("localhost", "127.0.0.1")
        self._container = self._files.service_client.get_container_client(container)

    def entries(self, prefix: str) -> Iterator[Entry]:
        token: str | None = None
        while True:
            found, token = self._patience(lambda token=token: self._page(prefix, token))  # type: ignore[misc]
            yield from found
            if not token:
                return

    def _page(self, prefix: str, token: str | None) -> tuple[list[Entry], str | None]:
        async def page() -> tuple[list[Entry], str | None]:
            listed = self._container.list_blobs(name_starts_with=prefix or None, results_per_page=PAGE, **ALONE)
            pages = listed.by_page(continuation_token=token)
            async for page in pages:
                return [_entry(each) async for each in page], pages.continuation_token
            return [], None

        with translated(self._name):
            found: tuple[list[Entry], str | None] = on_loop(self._files, page, seconds=self._limits.whole_s)
            return found

    def look(self, key: str) -> Entry | None:
        async def look() -> Any:
            return await self._container.get_blob_client(key).get_blob_properties(**ALONE)

        try:
            with translated(self._name):
                return _entry(on_loop(self._files, look, seconds=self._limits.whole_s))
        except ImageError as error:
            if error.code == "missing":
                return None
            raise

    def fetch(self, key: str, known: Entry | None, most_bytes: int, part: tuple[int, int] | None = None) -> bytes:
        if part is None and known is not None and known.size is not None and known.size > most_bytes:
            raise too_large(most_bytes)
        offset, length = part or (None, None)

        async def get() -> bytes:
            found = await self._container.download_blob(key, offset=offset, length=length, max_concurrency=1, **ALONE)
            if known is not None and known.version and str(found.properties.etag).strip('"') != known.version:
                raise changed()
            if found.size > most_bytes:
                raise too_large(most_bytes)
            content = bytes(await found.readall())
            if len(content) < found.size:
                raise broke_off()
            return content

        with translated(self._name):
            content: bytes = on_loop(self._files, get, seconds=self._limits.whole_s)
            return content

    def put(self, key: str, file: Path, *, overwrite: bool) -> None:
        if not overwrite and self.look(key) is not None:
            raise OutputExistsError(f"{self._name}/{key} exists already; name another, or give --overwrite")

        async def put() -> None:
            with file.open("rb") as body:
                await self._container.upload_blob(key, body, overwrite=overwrite, **ALONE)

        with translated(self._name):
            on_loop(self._files, put, seconds=self._limits.whole_s)

    def remove(self, key: str) -> None:
        async def remove() -> None:
            await self._container.delete_blob(key, **ALONE)

        with translated(self._name):
            on_loop(self._files, remove, seconds=self._limits.whole_s)

    def close(self) -> None:
        on_loop(self._files, self._files.service_client.close, seconds=self._limits.connect_s)


def _entry(found: Any) -> Entry:
    return Entry(found.name, found.size, str(found.etag or "").strip('"'))
