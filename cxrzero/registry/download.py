"""Fetching one file over HTTPS with the standard library: resumed, bounded, checked, set aside when wrong.

No credentials are read or sent. A download goes to NAME.part; NAME.part.json holds the ETag that the part belongs to,
so that a file which changed on the server starts again (RFC 9110: Range with If-Range).
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any

from cxrzero._version import __version__
from cxrzero.errors import DownloadError
from cxrzero.model.bundle import sha256_of

CHUNK = 2**20
TIMEOUT_S = 60
# The largest published model here is below 4 GB; a server that offers more is not sending that.
MAX_FILE_BYTES = 20 * 10**9
MAX_JSON_BYTES = 16 * 2**20
# Left free beyond the file, so that a download does not fill the disk of everyone else.
SPARE_BYTES = 500 * 10**6

AGAIN = "run the same command again, it goes on from there"


@dataclass(frozen=True, slots=True)
class Remote:
    """A file to fetch; hash and size are those that are known before, each may be None."""

    name: str
    url: str
    sha256: str | None
    size: int | None


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, base: str) -> None:
        self._base = base

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        check_url(newurl, self._base)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


class Client:
    """Opens URLs of one server and those it redirects to.

    Args:
        base: the server. HTTPS is demanded of every other URL; tests give a server of their own here.
    """

    def __init__(self, base: str) -> None:
        self.base = base.rstrip("/")
        self._opener = urllib.request.build_opener(_SafeRedirects(self.base))

    def json(self, path: str) -> Any:
        """GET a small JSON answer.

        Raises:
            DownloadError: no network, refused, or not JSON.
        """
        url = f"{self.base}{path}"
        with self.open(url) as response:
            content = response.read(MAX_JSON_BYTES + 1)
        try:
            if len(content) > MAX_JSON_BYTES:
                raise ValueError("too large")
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DownloadError(f"{url} did not answer with JSON; a proxy or login page may be in between") from error

    def open(self, url: str, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
        """Start a GET.

        Raises:
            DownloadError: no network, or the server refuses.
        """
        check_url(url, self.base)
        # "identity": a compressed transfer would have another length and could not be resumed.
        agent = {"User-Agent": f"cxrzero/{__version__}", "Accept-Encoding": "identity"}
        request = urllib.request.Request(url, headers={**agent, **(headers or {})})
        try:
            response: http.client.HTTPResponse = self._opener.open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise _StalePart from error
            raise DownloadError(f"{url}: {_meaning(error.code)}") from error
        except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            raise DownloadError(f"{urllib.parse.urlsplit(url).netloc} cannot be reached ({reason})") from error
        return response


class _StalePart(Exception):
    """The server has fewer bytes than the part."""


def check_url(url: str, base: str = "https://") -> None:
    """Raise DownloadError unless HTTPS, or the server that was named."""
    if not url.startswith(("https://", f"{base}/")):
        raise DownloadError(f"{urllib.parse.urlsplit(url).netloc or url!r} was to be asked without HTTPS; refused")


def fetch(client: Client, remote: Remote, folder: Path, notify: Callable[[str], None]) -> str:
    """Download a file into a folder, or find it there whole; returns its SHA-256.

    Raises:
        DownloadError: not fetched, or not the file that was expected (it is set aside).
    """
    target = folder / remote.name
    if target.is_file():
        found = sha256_of(target)
        if remote.sha256 == found or (remote.sha256 is None and target.stat().st_size == remote.size):
            notify(f"{remote.name}: here already")
            return found
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        _download(client, remote, part, notify)
    except _StalePart:
        part.unlink(missing_ok=True)
        _download(client, remote, part, notify)
    found = sha256_of(part)
    if remote.sha256 not in (None, found):
        aside = target.with_name(f"{target.name}.wrong-{found[:12]}")
        part.replace(aside)
        raise DownloadError(
            f"{remote.name} is not the file that was expected: sha256 {found}, expected {remote.sha256}. "
            f"It is set aside as {aside}"
        )
    part.replace(target)
    _tag_file(part).unlink(missing_ok=True)
    return found


def _download(client: Client, remote: Remote, part: Path, notify: Callable[[str], None]) -> None:
    tag, start = _read_tag(part), part.stat().st_size if part.is_file() else 0
    headers = {"Range": f"bytes={start}-", "If-Range": tag} if tag and start else {}
    with client.open(remote.url, headers) as response:
        resumed = response.status == http.client.PARTIAL_CONTENT
        if resumed and not (response.headers.get("Content-Range") or "").startswith(f"bytes {start}-"):
            raise DownloadError(f"{remote.name}: the server sent another part than asked for; run the command again")
        start = start if resumed else 0
        total = _expected(remote, response, start)
        _check_space(part.parent, (total or 0) - start)
        # A weak tag does not promise equal bytes, so that nothing can be appended to it.
        etag = response.headers.get("ETag") or ""
        _tag_file(part).write_text(json.dumps({"etag": "" if etag.startswith("W/") else etag}), encoding="utf-8")
        notify(f"{remote.name}: {'going on at' if resumed else 'fetching'} {_of(start, total)}")
        _copy(response, part, start, total, remote.name)


def _copy(response: http.client.HTTPResponse, part: Path, start: int, total: int | None, name: str) -> None:
    done = start
    with part.open("ab" if start else "wb") as file:
        try:
            while chunk := response.read(CHUNK):
                done += len(chunk)
                if done > (MAX_FILE_BYTES if total is None else total):
                    raise DownloadError(f"{name}: the server sends more than it announced; refused")
                file.write(chunk)
        except http.client.IncompleteRead as error:
            file.write(error.partial)
            done += len(error.partial)
        except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
            raise DownloadError(
                f"{name} was cut off ({type(error).__name__}) at {_of(done, total)}; {AGAIN}"
            ) from error
        except OSError as error:
            raise DownloadError(f"{part} cannot be written: {error.strerror}") from error
    if total is not None and done != total:
        raise DownloadError(f"{name} was cut off at {_of(done, total)}; {AGAIN}")


def _expected(remote: Remote, response: http.client.HTTPResponse, start: int) -> int | None:
    """Bytes of the whole file, which server and registry have to agree on."""
    text = response.headers.get("Content-Length")
    announced = start + int(text) if text and re.fullmatch(r"\d{1,15}", text) else None
    if announced is not None and remote.size is not None and announced != remote.size:
        raise DownloadError(f"{remote.name}: the server offers {announced:,} bytes, expected {remote.size:,}; refused")
    if announced is not None and announced > MAX_FILE_BYTES:
        raise DownloadError(f"{remote.name}: the server offers {announced:,} bytes, more than any known model; refused")
    return remote.size if announced is None else announced


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise DownloadError(
            f"{folder} has {free / 1e9:.1f} GB free, and {(needed + SPARE_BYTES) / 1e9:.1f} GB are needed; "
            "free some space or set CXRZERO_MODELS_DIR"
        )


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_tag(part: Path) -> str:
    try:
        tag = json.loads(_tag_file(part).read_text(encoding="utf-8"))["etag"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # nothing to go on from: the download starts again
    return tag if isinstance(tag, str) and tag.isprintable() else ""


def _of(done: int, total: int | None) -> str:
    return f"{done / 1e6:,.1f} MB" + ("" if total is None else f" of {total / 1e6:,.1f} MB")


def _meaning(code: int) -> str:
    if code in (401, 403):
        return f"refused (HTTP {code}): its terms have to be accepted on the web page, or it needs a login"
    if code == 404:
        return "there is no such file (HTTP 404)"
    return f"the server answered HTTP {code}; try again later"
