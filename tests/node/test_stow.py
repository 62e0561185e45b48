"""STOW-RS: what a service answers, and what does not count as an answer."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from cxrzero.errors import ConfigError
from cxrzero.node.config import Peer
from cxrzero.node.recipient import Answer, PeerDownError
from tests.node.test_deliver import report_bytes
from tests.support import needs

needs.modules("dicomweb_client", "requests")

UID = "2.25.77"
JSON = "application/dicom+json"


def answer(failed: list[dict[str, Any]] | None = None, stored: list[dict[str, Any]] | None = None) -> bytes:
    """A Store Instances Response (PS3.18 Annex I)."""
    content = {}
    if failed is not None:
        content["00081198"] = {"vr": "SQ", "Value": failed}
    if stored is not None:
        content["00081199"] = {"vr": "SQ", "Value": stored}
    return json.dumps(content).encode()


def item(uid: str = UID, **numbers: int) -> dict[str, Any]:
    tags = {"failure": "00081197", "warning": "00081196"}
    return {"00081155": {"vr": "UI", "Value": [uid]}} | {
        tags[name]: {"vr": "US", "Value": [value]} for name, value in numbers.items()
    }


@contextmanager
def service(status: int, body: bytes, kind: str = JSON, hold: threading.Event | None = None, **headers: str) -> Any:
    """One that answers every request alike; yields its address and what it was sent."""
    requests: list[tuple[str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append((self.path, dict(self.headers), content))
            if hold:
                hold.wait(30)
            self.send_response(status)
            for name, value in ({"Content-Type": kind, "Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/dicom-web", requests
    finally:
        if hold:
            hold.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.dcm"
    path.write_bytes(report_bytes(UID))
    return path


@pytest.fixture(autouse=True)
def nobody_logs_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CXRZERO_DICOMWEB_USER", "CXRZERO_DICOMWEB_PASSWORD", "CXRZERO_DICOMWEB_TOKEN", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def send(url: str, report: Path, timeout: float = 10.0) -> Answer:
    from cxrzero.node.stow import StowRecipient

    [found] = StowRecipient(Peer(stow=url, timeout=timeout)).send([report])
    return found


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, answer(stored=[item()]), Answer(True)),
        (200, answer(failed=[], stored=[item()]), Answer(True)),  # as Orthanc says it
        (200, answer(stored=[item(warning=0xB000)]), Answer(True, "status_b000")),
        (202, answer(failed=[item(failure=0xA700)], stored=[]), Answer(False, "status_a700")),
        (202, answer(failed=[item(failure=0xC000)]), Answer(False, "status_c000")),
        (200, answer(stored=[item("2.25.78")]), Answer(False, "not_confirmed")),
        (200, b"", Answer(False, "not_confirmed")),
        (409, answer(failed=[item(failure=0xA900)]), Answer(False, "http_409")),
        (400, b"", Answer(False, "http_400")),
    ],
)
def test_answers(report: Path, status: int, body: bytes, expected: Answer) -> None:
    with service(status, body) as (url, requests):
        assert send(url, report) == expected
    [(path, headers, content)] = requests
    assert path == "/dicom-web/studies"
    assert headers["Content-Type"].startswith('multipart/related; type="application/dicom"')
    assert report.read_bytes() in content


def test_a_page_with_status_200_is_no_answer(report: Path) -> None:
    """As a proxy's that wants somebody to log in."""
    with service(200, b"<html>log in</html>", "text/html") as (url, _):
        assert send(url, report) == Answer(False, "not_confirmed")


@pytest.mark.parametrize(
    ("status", "code"), [(401, "http_401"), (403, "http_403"), (404, "http_404"), (500, "http_500"), (503, "http_503")]
)
def test_a_service_that_serves_nobody(report: Path, status: int, code: str) -> None:
    with service(status, b"") as (url, requests), pytest.raises(PeerDownError) as raised:
        send(url, report)
    assert raised.value.code == code
    assert len(requests) == 1  # whether to try again is for `deliver` to say


def test_garbage_is_no_answer(report: Path) -> None:
    with service(200, b"{]") as (url, _), pytest.raises(PeerDownError) as raised:
        send(url, report)
    assert raised.value.code in ("peer_bad_answer", "peer_unreachable")


def test_nobody_is_followed_elsewhere(report: Path) -> None:
    with (
        service(200, answer(stored=[item()])) as (elsewhere, strangers),
        service(307, b"", Location=f"{elsewhere}/studies") as (url, _),
        pytest.raises(PeerDownError) as raised,
    ):
        send(url, report)
    assert raised.value.code == "peer_redirects"
    assert strangers == []


def test_a_service_that_hangs(report: Path) -> None:
    with service(200, b"", hold=threading.Event()) as (url, _), pytest.raises(PeerDownError) as raised:
        send(url, report, timeout=0.2)
    assert raised.value.code == "peer_no_answer"


def test_a_service_that_is_not_there(report: Path) -> None:
    with pytest.raises(PeerDownError) as raised:
        send("http://127.0.0.1:9/dicom-web", report)
    assert raised.value.code == "peer_unreachable"


def test_who_logs_in(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRZERO_DICOMWEB_USER", "node")
    monkeypatch.setenv("CXRZERO_DICOMWEB_PASSWORD", "secret-of-the-test")
    with service(200, answer(stored=[item()])) as (url, requests):
        assert send(url, report) == Answer(True)
    assert requests[0][1]["Authorization"] == "Basic bm9kZTpzZWNyZXQtb2YtdGhlLXRlc3Q="
    with pytest.raises(ConfigError) as raised:
        send("http://archive.example/dicom-web", report)  # over an open line
    assert "secret" not in str(raised.value)
