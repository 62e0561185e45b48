"""The Hugging Face Hub, asked through `huggingface_hub`: which hosts, what is sent, and refusals in plain words.

The library retries, resumes and shows progress. What it may not do is decided here: only the Hub's own hosts are asked
and only over HTTPS, no cookie is sent back, and a login only where the user said so. Its telemetry is off
(`outside/telemetry.py`), also where another package has imported it before. Files come over plain HTTPS; its second
transport (Xet), which asks further hosts, is not used.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import SplitResult, urlsplit

from cxrzero._version import __version__
from cxrzero.errors import DownloadError, UsageError

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

HOST = "https://huggingface.co"
# The Hub and what it redirects to: its CDN and its stores are hosts below these two.
DOMAINS = ("huggingface.co", "hf.co")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
TIMEOUT_S = 10


class TransferError(DownloadError):
    """An answer that ended too early: what came is right as far as it goes."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A file as the Hub describes it; hash and size are None where it does not say."""

    name: str
    url: str
    commit: str
    sha256: str | None
    size: int | None


def library() -> ModuleType:
    """`huggingface_hub`, which tells nobody about this machine, nor the terminal what a server wrote."""
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.utils.logging import set_verbosity

    constants.HF_HUB_DISABLE_TELEMETRY = True  # which it reads when it is imported, perhaps before cxrzero
    set_verbosity(logging.ERROR)
    return huggingface_hub


def endpoint() -> str:
    """The server: $HF_ENDPOINT, a mirror of the user's choice, else huggingface.co.

    Raises:
        UsageError: a mirror that is not asked over HTTPS, unless it runs on this machine.
    """
    chosen = (os.environ.get("HF_ENDPOINT") or HOST).rstrip("/")
    try:
        address = urlsplit(chosen)
        safe = address.scheme == "https" or (address.scheme == "http" and address.hostname in LOOPBACK)
        if safe and address.hostname and "@" not in address.netloc and not address.query and not address.fragment:
            return chosen
    except ValueError:
        pass  # not an address at all, which is said below
    raise UsageError("HF_ENDPOINT must be an https:// address without user name and password; unset it or mend it")


class Hub:
    """A server, and the login to show it or None; see `connect`."""

    def __init__(self, address: str, token: str | None) -> None:
        self.address = address
        self._token = token
        self._headers = {"user-agent": f"cxrzero/{__version__}"}

    def look(self, repository: str, name: str, revision: str) -> Remote | None:
        """What the server has under a name at a commit or branch; None: the repository has no such file.

        Raises:
            DownloadError: no network, refused, or not a Hub.
        """
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

        url = hf_hub_url(repository, name, revision=revision, endpoint=self.address)
        try:
            with _plain_words(url):
                found = get_hf_file_metadata(url, token=self._token or False, timeout=TIMEOUT_S, headers=self._headers)
        except DownloadError as error:
            cause = error.__cause__
            absent = isinstance(cause, HfHubHTTPError) and cause.response.status_code == 404
            if absent and not isinstance(cause, RepositoryNotFoundError | RevisionNotFoundError):
                return None
            raise
        commit, etag = found.commit_hash or "", found.etag or ""
        if not re.fullmatch("[0-9a-f]{40}", commit):
            raise DownloadError(f"{url} does not say its commit, as the Hub does; a proxy or login page is in between")
        if re.fullmatch("[0-9a-f]{40}", revision) and commit != revision:
            raise DownloadError(f"{url} is answered with another commit, {commit}; refused")
        pinned = hf_hub_url(repository, name, revision=commit, endpoint=self.address)
        # The tag of a large file is its SHA-256, the tag of a small one something else.
        return Remote(name, pinned, commit, etag if re.fullmatch("[0-9a-f]{64}", etag) else None, found.size)

    def receive(self, remote: Remote, file: BinaryIO, start: int) -> None:
        """Append a file's bytes from `start` on.

        Raises:
            TransferError: cut off.
            DownloadError: no network, or refused.
            OSError: the file cannot be written.
        """
        from huggingface_hub.file_download import http_get

        # "identity": a compressed transfer has another length and cannot be gone on with.
        headers = {**self._headers, "accept-encoding": "identity"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        try:
            with _plain_words(remote.url):
                http_get(
                    remote.url,
                    file,
                    resume_size=start,
                    headers=headers,
                    expected_size=remote.size,
                    displayed_filename=remote.name,
                )
        except OSError as error:
            if error.errno is None:  # the library's own, of another size than expected
                raise TransferError("another size than announced") from error
            raise


@contextmanager
def connect(address: str, *, login: bool = False) -> Iterator[Hub]:
    """Bind `huggingface_hub` to one server and the Hub's hosts for as long as the context lasts.

    Args:
        address: of the server, as `endpoint` gives it.
        login: send the user's Hugging Face login, from HF_TOKEN or `hf auth login`; otherwise none is read.

    Raises:
        UsageError: a login is wanted and there is none.
        DownloadError: the library is offline, or its proxy cannot be used.
    """
    hub = library()
    from huggingface_hub.utils._http import default_client_factory

    if hub.constants.HF_HUB_OFFLINE:
        raise DownloadError("HF_HUB_OFFLINE is set, so that nothing is fetched; unset it")

    def guarded() -> Any:
        try:
            client = default_client_factory()
        except (ImportError, ValueError) as error:  # how a proxy that it does not speak to ends
            raise DownloadError(f"the proxy that the environment names cannot be used: {error}") from error
        hooks = client.event_hooks
        client.event_hooks = {**hooks, "request": [*hooks["request"], lambda request: _check(request, address)]}
        return client

    hub.set_client_factory(guarded)
    try:
        token = hub.get_token() if login else None
        if login and not token:
            raise UsageError("--token: there is no Hugging Face login here; set HF_TOKEN or run: hf auth login")
        yield Hub(address, token)
    finally:
        hub.set_client_factory(default_client_factory)


def _check(request: Any, address: str) -> None:
    """Called before each request, of each redirect too."""
    request.headers.pop("cookie", None)
    check_url(str(request.url), address)


def check_url(url: str, address: str) -> None:
    """Raise DownloadError unless it is the server itself, or over HTTPS one of the Hub's hosts."""
    asked = urlsplit(url)
    if _origin(asked) == _origin(urlsplit(address)):
        return
    if asked.scheme != "https":
        raise DownloadError(f"{asked.hostname or asked.scheme} was to be asked without HTTPS; refused")
    if not any(f".{asked.hostname}".endswith(f".{domain}") for domain in DOMAINS):
        raise DownloadError(f"{asked.hostname} was to be asked, which is not a host of the Hugging Face Hub; refused")


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or {"https": 443, "http": 80}.get(url.scheme)


@contextmanager
def _plain_words(url: str) -> Iterator[None]:
    """Say what the library's errors mean."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.errors import HTTPError as TransportError  # type: ignore[attr-defined]  # httpx's, or httpx2's

    try:
        yield
    except HfHubHTTPError as error:
        raise DownloadError(f"{url}: {_meaning(error)}") from error
    except TransportError as error:
        host = urlsplit(url).netloc
        raise TransferError(f"{host} cannot be reached ({str(error) or type(error).__name__})") from error


def _meaning(error: HfHubHTTPError) -> str:
    code = error.response.status_code
    if code in (401, 403):
        return (
            f"refused (HTTP {code}): its terms have to be accepted on the web page, or it needs a login. "
            "With one, run it again with --token"
        )
    if code == 404:
        return "there is no such file (HTTP 404)"
    return f"the server answered HTTP {code}; try again later"
