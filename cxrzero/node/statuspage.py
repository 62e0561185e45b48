"""A page about the node, and the same as metrics for Prometheus, for this machine alone.

A web page from elsewhere could send this machine's own browser here under a name of its own (DNS rebinding). So only
requests that call the service by a name of this machine are answered. Nothing on it identifies a patient.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from cxrzero._version import __version__
from cxrzero.display.page import escape, page
from cxrzero.errors import RunError
from cxrzero.node.status import NodeStatus

# A browser that does not go on with its request is dropped.
REQUEST_S = 5.0
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
HTML = "text/html; charset=utf-8"

# Field of NodeStatus → what it is called on the page, its metric, the metric's kind, and what it counts.
FIGURES = (
    ("received", "received", "objects_received_total", "counter", "Objects that were received."),
    ("waiting", "waiting", "objects_waiting", "gauge", "Objects that are not scored yet."),
    ("scored", "scored", "objects_scored_total", "counter", "Objects that are scored."),
    ("failed", "failed", "objects_failed", "gauge", "Objects that nothing could be read of."),
    ("reports_waiting", "reports not delivered", "reports_waiting", "gauge", "Reports that are not delivered."),
    ("delivered", "reports delivered", "reports_delivered_total", "counter", "Reports that the peer has."),
    ("reports_failed", "reports failed", "reports_failed", "gauge", "Reports that were given up."),
    ("unreported", "studies without a report", "studies_unreported", "gauge", "Studies with nothing to report."),
    ("seconds_per_film", "seconds per film", "seconds_per_film", "gauge", "Seconds of scoring per film, on average."),
)


def page_of(status: NodeStatus) -> str:
    """The page."""
    boxes = "".join(
        f"<div><b>{_shown(getattr(status, name))}</b><span>{escape(title)}</span></div>" for name, title, *_ in FIGURES
    )
    error = f"<p>Last error: <code>{escape(status.last_error)}</code></p>" if status.last_error else "<p>No error.</p>"
    body = (
        '<header><h1>cxrzero node</h1><p><span class="device">Research use only. Not a medical device.</span></p>'
        f'</header>\n<main><div class="headline">{boxes}</div>\n{error}\n'
        '<p class="soft">Counted since the state folder was made. Failed films and reports are listed by '
        "<code>cxrzero listen --failed</code>; programs read <a href=\"/metrics\">/metrics</a>.</p></main>\n"
        f"<footer>cxrzero {escape(__version__)}</footer>"
    )  # fmt: skip
    return page("cxrzero node", body)


def metrics_of(status: NodeStatus) -> str:
    """The text format of Prometheus, version 0.0.4."""
    lines = []
    for name, _, metric, kind, words in FIGURES:
        value = getattr(status, name)
        if value is not None:
            full = f"cxrzero_node_{metric}"
            lines += [f"# HELP {full} {words}", f"# TYPE {full} {kind}", f"{full} {value!r}"]
    if status.last_error:
        code = status.last_error.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        full = "cxrzero_node_last_error"
        lines += [f"# HELP {full} The code of the last error.", f"# TYPE {full} gauge", f'{full}{{code="{code}"}} 1']
    return "\n".join(lines) + "\n"


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"


class StatusServer:
    """The page's service, in threads of its own while this is entered.

    Args:
        address: a loopback address.
        port: 0 takes a free one.
        ask: for the status as it is.

    Attributes:
        port: where it listens.

    Raises:
        RunError: the port is not free.
    """

    def __init__(self, address: str, port: int, ask: Callable[[], NodeStatus]) -> None:
        try:
            self._server = _Server(address, port, ask)
        except OSError as error:
            raise RunError(f"the status page cannot listen on {address}, port {port}: {error.strerror}") from error
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="status", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: str, port: int, ask: Callable[[], NodeStatus]) -> None:
        import socket

        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), _Handler)
        self.ask, self.hosts = ask, {address, "localhost"}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle is nobody's fault, and no reason to print its address."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_S
    server_version, sys_version = "cxrzero", ""

    def do_GET(self) -> None:
        if not self._is_called_by_name():
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, "text/plain; charset=utf-8", "call this page localhost\n")
            return
        path = urlsplit(self.path).path
        if path == "/":
            self._answer(HTTPStatus.OK, HTML, page_of(self.server.ask()))
        elif path == "/metrics":
            self._answer(HTTPStatus.OK, PROMETHEUS, metrics_of(self.server.ask()))
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", "there is / and /metrics\n")

    do_HEAD = do_GET  # noqa: N815 (the name that the standard library looks for)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Who looks at the page is not logged."""

    def _is_called_by_name(self) -> bool:
        """Whether the one Host header names this machine and this port."""
        named = self.headers.get_all("Host") or []
        try:
            asked = urlsplit(f"//{named[0]}")
            return len(named) == 1 and asked.hostname in self.server.hosts and (
                (asked.port or 80) == self.server.server_address[1]
            )  # fmt: skip
        except (IndexError, ValueError):
            return False

    def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
        content = text.encode("utf-8")
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(content)), "Cache-Control": "no-store"}
        for name, value in (headers | {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
