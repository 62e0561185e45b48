"""Amazon S3, and what speaks like it: s3fs finds the login and opens the connections, requests are made here.

Through s3fs itself a listing would be held whole, a body of any size read, and a request made again five times beside
our own tries.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cxrzero.archive.http import CHUNK_BYTES
from cxrzero.archive.limits import Limits, Patience
from cxrzero.errors import ImageError, OutputExistsError, RemoteError
from cxrzero.remote.address import ObjectAddress
from cxrzero.remote.answers import broke_off, changed, too_large, translated
from cxrzero.remote.filesystem import driver, on_loop, opened
from cxrzero.remote.service import Entry

PAGE = 1000
# Above it an object is sent in parts, which appear together (S3 takes 5 GiB at once).
ONE_PUT_BYTES = 2**30


class S3:
    """See `cxrzero.remote.service.Service`.

    Raises:
        MissingExtraError: s3fs is not installed.
        RemoteError: there is no login.
    """

    def __init__(self, address: ObjectAddress, limits: Limits, patience: Patience, *, is_anonymous: bool) -> None:
        kind = driver("s3fs", "S3FileSystem")
        self._bucket, self._name, self._limits, self._patience = address.host, address.service, limits, patience
        with translated(self._name):
            self._files = opened(
                kind,
                anon=is_anonymous,
                config_kwargs={
                    "connect_timeout": limits.connect_s,
                    "read_timeout": limits.read_s,
                    "max_pool_connections": limits.requests + 2,
                    "retries": {"total_max_attempts": 1},
                    "http_session_cls": _without_redirects(),
                },
            )
            self._client = on_loop(self._files, self._files.set_session, seconds=limits.whole_s)
        endpoint = urlsplit(self._client.meta.endpoint_url)
        self.is_encrypted = endpoint.scheme == "https" or endpoint.hostname in ("localhost", "127.0.0.1", "::1")

    def entries(self, prefix: str) -> Iterator[Entry]:
        token: dict[str, str] = {}
        while True:
            page = self._patience(lambda token=token: self._page(prefix, token))  # type: ignore[misc]
            for each in page.get("Contents", ()):
                yield Entry(each["Key"], int(each["Size"]), each.get("ETag", "").strip('"'))
            if not page.get("IsTruncated"):
                return
            after = page.get("NextContinuationToken")
            if not after or {"ContinuationToken": after} == token:
                raise RemoteError(f"{self._name} gives the same page of its list again; give the names by @list.txt")
            token = {"ContinuationToken": after}

    def _page(self, prefix: str, token: dict[str, str]) -> Any:
        return self._ask(self._client.list_objects_v2, Prefix=prefix, MaxKeys=PAGE, **token)

    def look(self, key: str) -> Entry | None:
        try:
            found = self._ask(self._client.head_object, Key=key)
        except ImageError as error:
            if error.code == "missing":
                return None
            if error.code == "remote_refused" or "400" in error.message:
                # The answer to HEAD has no body, and so not the reason, which may be an expired login.
                self.fetch(key, None, 1, (0, 1))
            raise
        return Entry(key, int(found["ContentLength"]), found.get("ETag", "").strip('"'))

    def fetch(self, key: str, known: Entry | None, most_bytes: int, part: tuple[int, int] | None = None) -> bytes:
        asked = {} if part is None else {"Range": f"bytes={part[0]}-{sum(part) - 1}"}

        async def get() -> bytes:
            found = await self._client.get_object(Bucket=self._bucket, Key=key, **asked)
            async with found["Body"] as body:
                if known is not None and known.version and found.get("ETag", "").strip('"') != known.version:
                    raise changed()
                length = int(found["ContentLength"])
                if length > most_bytes:
                    raise too_large(most_bytes)
                content = bytearray()
                while chunk := await body.read(CHUNK_BYTES):
                    content += chunk
                    if len(content) > most_bytes:
                        raise too_large(most_bytes)
            if len(content) < length:
                raise broke_off()
            return bytes(content)

        with translated(self._name):
            content: bytes = on_loop(self._files, get, seconds=self._limits.whole_s)
            return content

    def put(self, key: str, file: Path, *, overwrite: bool) -> None:
        if not overwrite and self.look(key) is not None:
            raise OutputExistsError(f"{self._name}/{key} exists already; name another, or give --overwrite")
        if file.stat().st_size > ONE_PUT_BYTES:
            with translated(self._name):
                self._files.put_file(str(file), f"{self._bucket}/{key}", chunksize=2**27)
            return
        with file.open("rb") as body:
            self._ask(self._client.put_object, Key=key, Body=body)

    def remove(self, key: str) -> None:
        self._ask(self._client.delete_object, Key=key)

    def close(self) -> None:
        self._files.close_session(self._files.loop, self._files._s3creator)

    def _ask(self, method: Any, **parameters: Any) -> Any:
        async def ask() -> Any:
            return await method(Bucket=self._bucket, **parameters)

        with translated(self._name):
            return on_loop(self._files, ask, seconds=self._limits.whole_s)


class _Direct:
    """A session of aiohttp that follows no redirect."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def request(self, *asked: Any, **also: Any) -> Any:
        return self._session.request(*asked, **also, allow_redirects=False)


def _without_redirects() -> Any:
    """What opens the connections of S3's client, and by itself would follow redirects to anywhere."""
    from aiobotocore.httpsession import AIOHTTPSession

    async def get_session(self: Any, proxy_url: str | None) -> _Direct:
        return _Direct(await AIOHTTPSession._get_session(self, proxy_url))

    return type("DirectSession", (AIOHTTPSession,), {"_get_session": get_session})
