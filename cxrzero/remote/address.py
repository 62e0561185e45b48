"""The address of an object, or of a folder: of what has its keys below it.

    s3://BUCKET/KEY                         Amazon S3, and stores that speak like it
    gs://BUCKET/KEY                         Google Cloud Storage
    az://CONTAINER/KEY                      Azure Blob Storage; abfs(s)://CONTAINER@ACCOUNT.dfs.core.windows.net/KEY
    https://HOST[:PORT]/PATH                a web server; http without encryption
    SCHEME://…                              whatever fsspec knows

What ends in a slash is a folder. A key stands as it is, a path of a web server percent-encoded, as in every URL. A
query, which may be a signature, is never part of an address's text.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

from cxrzero.errors import UsageError

WEB = {"https": 443, "http": 80}
AZURE = frozenset({"az", "abfs", "abfss"})
# Of fsspec, what is no store of its own: this machine, archives in a file, copies kept here, code, chains of others.
NO_STORES = frozenset({
    "file", "local", "asynclocal", "simplecache", "filecache", "blockcache", "cached", "dir", "dirfs", "generic",
    "async_wrapper", "reference", "zip", "tar", "libarchive", "data", "git", "github", "gist", "jlab", "jupyter",
    "dask", "root", "asyncwrapper",
})  # fmt: skip
# Parameters that say who may read for how long, and nothing of what is read: AWS, Google, Azure, CloudFront.
_SIGNATURE = re.compile(
    r"x-amz-.*|x-goog-.*|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id"
    r"|s[erpvi]|st|sp[r]?|sig|skoid|sktid|skt|ske|sks|skv|sdd|ss|srt|saoid|suoid|scid",
    re.IGNORECASE,
)
_LOCAL = re.compile(r"localhost|\[::1\]|127(\.[0-9]{1,3}){3}")


@dataclass(frozen=True, slots=True)
class ObjectAddress:
    """One address; its text has neither query nor login.

    Attributes:
        scheme: lower case.
        host: bucket, container or server, with its port where one is stated.
        key: of a web server its path with the leading slash, percent-encoded; else the object's name as it is.
        query: of a web server what stands behind "?".
    """

    scheme: str
    host: str
    key: str
    query: str = field(default="", repr=False)

    @property
    def is_web(self) -> bool:
        return self.scheme in WEB

    @property
    def is_encrypted(self) -> bool:
        return self.scheme != "http"

    @property
    def is_local(self) -> bool:
        """Whether it is a web server on this machine, on which nobody listens to what goes by."""
        return bool(_LOCAL.fullmatch(self.host.rpartition(":")[0] if re.search(r":\d+$", self.host) else self.host))

    @property
    def is_folder(self) -> bool:
        return not self.key or self.key.endswith("/")

    @property
    def service(self) -> str:
        """The store itself."""
        return f"{self.scheme}://{self.host}"

    @property
    def url(self) -> str:
        """Of a web server what is asked for; it may hold a signature."""
        return f"{self}?{self.query}" if self.query else str(self)

    def with_key(self, key: str) -> ObjectAddress:
        return replace(self, key=key, query="")

    def identity(self, size: int | None, version: str) -> bytes | None:
        """What tells the content: address, size, and ETag or what stands for it; None where that is not enough.

        Of a query counts what is no signature, as a digest.
        """
        if size is None or not version:
            return None
        asked = [pair for pair in parse_qsl(self.query, keep_blank_values=True) if not _SIGNATURE.fullmatch(pair[0])]
        what = "?" + hashlib.blake2b(repr(asked).encode(), digest_size=16).hexdigest() if asked else ""
        return b"\0".join((b"object", str(self).encode() + what.encode(), b"%d" % size, version.encode()))

    def __str__(self) -> str:
        return f"{self.service}{'' if self.is_web else '/'}{self.key}"


class SignedAddress(str):
    """An address in whose text there is no query, and the query that it was given with; only its text is shown."""

    __slots__ = ("query",)
    query: str

    def __new__(cls, text: str, query: str = "") -> Self:
        made = super().__new__(cls, text)
        made.query = query
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.query)


def known_of(identity: bytes) -> tuple[int, str]:
    """Size and version of an identity that `ObjectAddress.identity` made."""
    _, size, version = identity.rsplit(b"\0", 2)  # a key may have a NUL in it
    return int(size), version.decode()


def parse_object(text: str) -> ObjectAddress:
    """Read an address.

    Raises:
        UsageError: it is none, or has a password in it. The message does not quote it.
    """
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    is_chain = "::" in scheme or ("::" in rest.partition("/")[0] and scheme not in WEB)
    if not separator or is_chain or not re.fullmatch(r"[a-z0-9+.-]+", scheme):
        raise UsageError("an address is SCHEME://BUCKET/KEY, and no chain of several; see docs/places.md")
    if scheme in NO_STORES:
        raise UsageError(f"{scheme}:// is no store: give files and folders by their paths; see docs/places.md")
    try:
        rest.encode()
    except UnicodeEncodeError:
        raise UsageError("an address has bytes in it that are not UTF-8") from None
    if scheme in WEB:
        return _web(text, scheme)
    host, _, key = rest.partition("/")
    user, at, _ = host.rpartition("@")
    if ":" in user or (at and scheme in ("s3", "s3a", "gs", "gcs")):
        raise UsageError(
            "an address has no password and no key in it, for addresses are written into tables; docs/places.md says "
            "where each store's login belongs"
        )
    if not host and scheme != "memory":
        raise UsageError(f"the address has no bucket: write {scheme}://BUCKET/KEY; see docs/places.md")
    return ObjectAddress({"s3a": "s3", "gcs": "gs"}.get(scheme, scheme), host, key)


def _web(text: str, scheme: str) -> ObjectAddress:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise UsageError("the address of a web server cannot be read; write https://HOST/PATH") from None
    if "@" in parts.netloc:
        raise UsageError(
            "an address has no user name and no password in it, for addresses are written into tables; put them into a "
            "netrc file"
        )
    if not parts.hostname:
        raise UsageError("the address has no host: write https://HOST/PATH")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    where = host if port in (None, WEB[scheme]) else f"{host}:{port}"
    if re.search(r"[^!-~]", parts.path):  # as a browser does
        from urllib.parse import quote

        path = quote(parts.path, safe="/%!$&'()*+,;=:@~")
    else:
        path = parts.path
    return ObjectAddress(scheme, where, path or "/", parts.query)


def order_of(address: ObjectAddress) -> bytes:
    """What keys are compared by."""
    return unquote_to_bytes(address.key) if address.is_web else address.key.encode()
