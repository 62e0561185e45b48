"""GET and HEAD to the one host that the user named: no other host, no lesser encryption, no cookie, bounded in size
and time.

`requests` does the work; what it would do by itself is off: it follows redirects to anywhere, reads a netrc file whose
password others can see, waits for a trickle without end, and takes as many bytes as come.
"""

from __future__ import annotations

import email.utils
import threading
import time
from collections.abc import Callable
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

from cxrzero._version import __version__
from cxrzero.archive.credentials import Login
from cxrzero.archive.limits import AGAIN, ARCHIVE, Limits, Patience, Peer, TransientError, stopped
from cxrzero.errors import ConfigError, ImageError
from cxrzero.images.quiet import ignore_warnings_of

T = TypeVar("T")

CHUNK_BYTES = 2**16
REDIRECTS = 5


class Http:
    """Answers of one server, read whole.

    Args:
        url: of the service; its scheme, host and port are the only ones that are asked.
        login: shown to it; None shows none.
        ca_file: certificates by which its own is checked; None takes those that `requests` brings.
        peer: what kind of server it is.

    Raises:
        ConfigError: the file is none of certificates.
    """

    def __init__(
        self,
        url: str,
        login: Login | None,
        limits: Limits,
        stop: threading.Event,
        ca_file: str | None = None,
        peer: Peer = ARCHIVE,
    ) -> None:
        import requests
        from requests.adapters import HTTPAdapter

        for package in ("requests", "urllib3"):  # whose warnings quote addresses, and so what is asked for
            ignore_warnings_of(package)
        self._url = urlsplit(url)
        self._limits, self._stop, self._peer = limits, stop, peer
        self._patience = Patience(limits, url, stop, peer)
        self._session: Any = requests.Session()
        self._session.trust_env = False
        self._session.proxies = requests.utils.get_environ_proxies(url)
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # A film is hardly smaller for being compressed on the way, and its server works for a second on that.
        self._session.headers.update({"User-Agent": f"cxrzero/{__version__}", "Accept-Encoding": "identity"})
        # One more for lists; of itself an adapter tries once.
        self._session.mount(self._url.scheme + "://", HTTPAdapter(pool_maxsize=limits.requests + 1))
        if ca_file:
            _check_certificates(ca_file)
            self._session.verify = ca_file
        if login and login.token:
            self._session.headers["Authorization"] = f"Bearer {login.token}"
        elif login:
            self._session.auth = (login.user.encode(), login.password.encode())

    def get(
        self, url: str, accept: str, most_bytes: int, read: Callable[[Any], T], part: tuple[int, int] | None = None
    ) -> T:
        """What `read` makes of a `requests.Response` of status 200 or 204 with its content.

        Args:
            part: offset and size of what is wanted of it. The status may then be 206, or 416 where it is shorter; of
                200, the answer of a server that knows no parts, the content ends where the part ends.

        Raises:
            ImageError: "archive_refused", "not_in_archive", "archive_redirect", "archive_error", "file_too_large",
                "truncated", or as `peer` calls them.
            ArchiveError (or the peer's): see `Patience`.
        """
        return self._patience(lambda: read(self._ask("GET", url, accept, most_bytes, part)))

    def head(self, url: str, read: Callable[[Any], T]) -> T:
        """What `read` makes of a `requests.Response` without its content; raises what `get` does."""
        return self._patience(lambda: read(self._ask("HEAD", url, "*/*", 0, None)))

    def close(self) -> None:
        self._session.close()

    def _ask(self, method: str, url: str, accept: str, most_bytes: int, part: tuple[int, int] | None) -> Any:
        import requests

        who, headers = self._peer.who, {"Accept": accept}
        if part is not None:
            headers["Range"] = f"bytes={part[0]}-{sum(part) - 1}"
        end = time.monotonic() + self._limits.whole_s
        try:
            for _ in range(REDIRECTS + 1):
                response = self._session.request(
                    method,
                    url,
                    headers=headers,
                    stream=True,
                    allow_redirects=False,
                    timeout=(self._limits.connect_s, self._limits.read_s),
                )
                with response:
                    if not response.is_redirect:
                        self._check_status(response, part is not None)
                        # Then content, text and json() are there without another byte being read.
                        response._content = b"" if method == "HEAD" else self._body(response, most_bytes, end, part)
                        response._content_consumed = True
                        return response
                    url = self._redirected(url, response.headers["Location"])
        # The words of these errors quote the address, and with it what was asked for.
        except requests.exceptions.SSLError:
            raise self._peer.error(
                f"the certificate of {self._url.netloc} cannot be verified; if your own authority issued it, give its "
                "certificate with --ca-file"
            ) from None
        except (requests.exceptions.ConnectTimeout, requests.exceptions.ReadTimeout):
            raise self._absence("does not answer in time") from None
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
            raise TransientError("truncated", f"{who}'s answer broke off") from None
        except requests.exceptions.ConnectionError:
            raise TransientError(
                f"{self._peer.codes}_error", f"there is no connection to {who}", is_absence=True
            ) from None
        except requests.exceptions.RequestException as error:
            raise self._error("error", f"cannot be asked ({type(error).__name__})") from None
        raise self._error("redirect", f"redirects more than {REDIRECTS} times")

    def _body(self, response: Any, most_bytes: int, end: float, part: tuple[int, int] | None) -> bytes:
        import urllib3

        who, stated = self._peer.who, response.headers.get("Content-Length", "")
        is_whole = part is not None and response.status_code == 200
        enough = sum(part) if part and is_whole else None
        if stated.isdigit() and int(stated) > most_bytes and enough is None:
            raise self._too_large(most_bytes)
        body = bytearray()
        try:
            while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
                body += chunk
                if enough is not None and len(body) >= enough:
                    return bytes(body[:enough])
                if len(body) > most_bytes:
                    raise self._too_large(most_bytes)
                if self._stop.is_set():
                    raise stopped(self._peer)
                if time.monotonic() > end:
                    raise self._absence("takes too long to answer")
        except urllib3.exceptions.ReadTimeoutError:
            raise self._absence("does not go on with its answer") from None
        except (urllib3.exceptions.HTTPError, OSError):
            raise TransientError("truncated", f"{who}'s answer broke off") from None
        if stated.isdigit() and "Content-Encoding" not in response.headers and len(body) < int(stated):
            raise TransientError("truncated", f"{who}'s answer broke off")
        return bytes(body)

    def _redirected(self, url: str, location: str) -> str:
        """Where a redirect leads, if that is the same server."""
        try:
            wanted = urljoin(url, location)
            is_same = _origin(urlsplit(wanted)) == _origin(self._url)
        except ValueError:
            is_same = False
        if not is_same:
            raise self._error("redirect", "redirects to another host or port, or to plain http; refused")
        return wanted

    def _check_status(self, response: Any, is_part: bool) -> None:
        status = response.status_code
        if status in (200, 204) or (is_part and status in (206, 416)):
            return
        if status in (401, 403, 407):
            raise self._error("refused", f"refuses (HTTP {status})")
        if status in (404, 410):
            raise ImageError(self._peer.absent, f"{self._peer.who} does not have it (HTTP {status})")
        if status in AGAIN:
            wait_s = _retry_after(response.headers.get("Retry-After", ""))
            raise TransientError(f"{self._peer.codes}_error", f"{self._peer.who} answers HTTP {status}", wait_s)
        raise self._error("error", f"answers HTTP {status}")

    def _error(self, code: str, does: str) -> ImageError:
        return ImageError(f"{self._peer.codes}_{code}", f"{self._peer.who} {does}")

    def _absence(self, does: str) -> TransientError:
        return TransientError(f"{self._peer.codes}_error", f"{self._peer.who} {does}", is_absence=True)

    def _too_large(self, most_bytes: int) -> ImageError:
        return ImageError("file_too_large", f"{self._peer.who} sends more than {most_bytes:,} bytes; refused")


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or {"https": 443, "http": 80}.get(url.scheme)


def _retry_after(text: str) -> float | None:
    """Seconds (RFC 9110, 10.2.3): a number, or a date."""
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def _check_certificates(ca_file: str) -> None:
    import ssl

    try:
        ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise ConfigError(f"--ca-file {ca_file} cannot be read, or has no certificate (PEM) in it") from None
