"""A small DICOMweb server that behaves as badly as a test wants, and remembers what it was asked."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Behaviour = Callable[[BaseHTTPRequestHandler, "Held"], None]
STUDY, SERIES, INSTANCE, MODALITY, SOP_CLASS = "0020000D", "0020000E", "00080018", "00080060", "00080016"
RETRIEVE_URL, COUNT = "00081190", "00201209"
BOUNDARY = "here-it-ends"


@dataclass(frozen=True)
class Held:
    """An instance; `content` is its file."""

    study: str
    series: str
    instance: str
    content: bytes = b""
    modality: str = "DX"
    sop_class: str = "1.2.840.10008.5.1.4.1.1.1.1"


@dataclass(frozen=True)
class Asked:
    """A request as it came; `what` is studies, series, instances or fetch."""

    what: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]


@dataclass
class Library:
    """What a server holds, and does next.

    Attributes:
        cap: results of a page at most; more are not given, whatever is asked.
        knows_offset: whether pages can be turned.
        elsewhere: where RetrieveURL leads.
        states_counts: whether series state how many instances they have.
        queued: what → behaviours for the next requests of that kind; then it behaves.
    """

    held: list[Held] = field(default_factory=list)
    cap: int = 1000
    knows_offset: bool = True
    states_counts: bool = True
    elsewhere: str = "http://127.0.0.1:9/"
    queued: defaultdict[str, deque[Behaviour]] = field(default_factory=lambda: defaultdict(deque))
    asked: list[Asked] = field(default_factory=list)

    def next(self, what: str, *behaviours: Behaviour) -> None:
        self.queued[what].extend(behaviours)

    def fetched(self) -> list[str]:
        """The instances that were asked for, sorted."""
        return sorted(each.path.rpartition("/")[2] for each in self.asked if each.what == "fetch")


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.library = Library()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/dicom-web"

    @property
    def address(self) -> str:
        return f"dicomweb+{self.url}"


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        library, url = self.server.library, urlsplit(self.path)
        path = url.path.removeprefix("/dicom-web/")
        uids = dict(re.findall(r"(studies|series|instances)/([0-9.]+)", path))
        what = "fetch" if "instances" in uids else path.rpartition("/")[2]
        library.asked.append(Asked(what, url.path, parse_qs(url.query), dict(self.headers)))
        names = {"study": uids.get("studies"), "series": uids.get("series"), "instance": uids.get("instances")}
        found = [each for each in library.held if all(getattr(each, k) == uid for k, uid in names.items() if uid)]
        try:
            if library.queued[what]:
                library.queued[what].popleft()(self, found[0])
            elif what == "fetch":
                whole(self, found[0])
            else:
                self._list(what, found, parse_qs(url.query))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _list(self, what: str, found: list[Held], asked: dict[str, list[str]]) -> None:
        library = self.server.library
        made: dict[str, dict[str, Any]] = {}
        for each in found:
            uid = {"studies": each.study, "series": each.series, "instances": each.instance}[what]
            made[uid] = {
                STUDY: text(each.study), RETRIEVE_URL: {"vr": "UR", "Value": [library.elsewhere + uid]},
                "00100010": {"vr": "PN", "Value": [{"Alphabetic": "SECRET^PATIENT"}]},
            }  # fmt: skip
            if what == "series":
                made[uid] |= {SERIES: text(each.series), MODALITY: text(each.modality)}
                if library.states_counts:
                    made[uid][COUNT] = {"vr": "IS", "Value": [sum(one.series == each.series for one in found)]}
            if what == "instances":
                made[uid] |= {SERIES: text(each.series), INSTANCE: text(each.instance), SOP_CLASS: text(each.sop_class)}
        start = int(asked.get("offset", ["0"])[0]) if library.knows_offset else 0
        page = list(made.values())[start : start + min(int(asked["limit"][0]), library.cap)]
        answer(self, 200, json.dumps(page).encode(), {"Content-Type": "application/dicom+json"})


def text(value: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [value]}


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def message(*contents: bytes, end: bytes = b"--") -> bytes:
    heading = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"\r\n".join(heading + content for content in contents) + f"\r\n--{BOUNDARY}".encode() + end


MULTIPART = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'}


def whole(handler: BaseHTTPRequestHandler, held: Held) -> None:
    """What a server should do."""
    answer(handler, 200, message(held.content), MULTIPART)


def status(code: int, **headers: str) -> Behaviour:
    return lambda handler, held: answer(handler, code, b"no", {k.replace("_", "-"): v for k, v in headers.items()})


def sends(body: bytes, content_type: str = MULTIPART["Content-Type"]) -> Behaviour:
    return lambda handler, held: answer(handler, 200, body, {"Content-Type": content_type})


def part_only(handler: BaseHTTPRequestHandler, held: Held) -> None:
    """application/dicom without multipart, as some servers answer."""
    answer(handler, 200, held.content, {"Content-Type": "application/dicom"})


def cut(handler: BaseHTTPRequestHandler, held: Held) -> None:
    """Half of what was announced, and gone."""
    body = message(held.content)
    handler.send_response(200)
    for name, value in {"Content-Length": str(len(body)), **MULTIPART}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.close_connection = True


def cut_unannounced(handler: BaseHTTPRequestHandler, held: Held) -> None:
    """No length, no last boundary: the end of the connection is the end."""
    handler.send_response(200)
    handler.send_header("Content-Type", MULTIPART["Content-Type"])
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(message(held.content)[:-12])
    handler.close_connection = True


def silent(handler: BaseHTTPRequestHandler, held: Held) -> None:
    time.sleep(1)
    handler.close_connection = True


def trickle(handler: BaseHTTPRequestHandler, held: Held) -> None:
    """A byte now and then, each in time, and no end."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"x")
        time.sleep(0.05)


def endless(handler: BaseHTTPRequestHandler, held: Held) -> None:
    """No length, and never an end."""
    handler.send_response(200)
    handler.send_header("Content-Type", MULTIPART["Content-Type"])
    handler.send_header("Connection", "close")
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b"x" * 2**16)
    handler.close_connection = True


def hang_up(handler: BaseHTTPRequestHandler, held: Held) -> None:
    handler.close_connection = True
