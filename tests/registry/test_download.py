"""`models pull` against a server of the test's own: cuts, changes, lies, refusals."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cxrzero.cards.card import Card, KnownFile, load_card
from cxrzero.errors import DownloadError, LicenceError, UsageError
from cxrzero.registry import download
from cxrzero.registry.download import Client, Remote, check_url, fetch
from cxrzero.registry.pull import PULL_JSON, pull

COMMIT = "c0ffee" + "0" * 34
WEIGHTS = bytes(range(256)) * 4000
SHA = hashlib.sha256(WEIGHTS).hexdigest()
REPOSITORY = "someone/model"


class Server(ThreadingHTTPServer):
    """Serves `files` at /someone/model/resolve/COMMIT/ and Hugging Face's two API answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"config.json": b"{}", "model.safetensors": WEIGHTS, "tokenizer.json": b"{}", "README.md": b"hi"}
        self.lfs: dict[str, str] = {"model.safetensors": SHA}
        self.cut_after: int | None = None
        self.refuse: dict[str, int] = {}
        self.redirect: str | None = None
        self.lie_about_length = 0
        self.requests: list[tuple[str, dict[str, str]]] = []

    def handle_error(self, *_: object) -> None:
        """A client that refuses goes away in the middle of an answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
        name = self.path.rsplit("/", 1)[-1]
        if self.path in self.server.refuse or name in self.server.refuse:
            self.send_error(self.server.refuse.get(name) or self.server.refuse[self.path])
        elif self.path == f"/api/models/{REPOSITORY}/revision/main":
            self._json({"sha": COMMIT})
        elif self.path.startswith(f"/api/models/{REPOSITORY}/tree/{COMMIT}"):
            self._json([self._entry(name) for name in self.server.files])
        elif self.path.startswith(f"/{REPOSITORY}/resolve/{COMMIT}/") and name in self.server.files:
            self._file(self.server.files[name])
        else:
            self.send_error(404)

    def _entry(self, name: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": name, "size": len(self.server.files[name])}
        return {**entry, "lfs": {"oid": self.server.lfs[name]}} if name in self.server.lfs else entry

    def _json(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _file(self, content: bytes) -> None:
        if self.server.redirect:
            self.send_response(302)
            self.send_header("Location", self.server.redirect)
            self.end_headers()
            return
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        start = 0
        if self.headers["Range"] and self.headers["If-Range"] == tag:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        if start >= len(content) > 0 and start:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(content) - start + self.server.lie_about_length))
        self.end_headers()
        self.wfile.write(content[start : self.server.cut_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def card() -> Card:
    files = [KnownFile(name, None, None, f"https://example.org/{name}", "a test") for name in FILES]
    licence = dataclasses.replace(load_card("biomedclip").licence)
    return dataclasses.replace(
        load_card("biomedclip"), repository=REPOSITORY, revision=None, files=tuple(files), licence=licence
    )


FILES = ("config.json", "model.safetensors", "vocab.txt")


def quiet(_: str) -> None:
    pass


def test_a_pull_is_pinned_and_recorded(server: Server, card: Card, models: Path) -> None:
    notices: list[str] = []
    folder = pull(card, notices.append, base=server.url)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        PULL_JSON,
        "tokenizer.json",
    ]
    record = json.loads((folder / PULL_JSON).read_text())
    assert (record["revision"], record["repository"]) == (COMMIT, REPOSITORY)
    assert record["files"]["model.safetensors"]["sha256"] == SHA
    assert record["files"]["model.safetensors"]["expected_sha256"] == SHA
    assert any("vocab.txt: not in the repository" in notice for notice in notices)
    assert folder.stat().st_mode & 0o077 == 0
    assert not any(
        name in headers for _, headers in server.requests for name in ("authorization", "cookie", "proxy-authorization")
    )
    before = len(server.requests)
    pull(card, quiet, base=server.url)
    assert not any("resolve" in path for path, _ in server.requests[before:])


def test_a_cut_download_goes_on(server: Server, card: Card, models: Path) -> None:
    server.cut_after = 300_000
    with pytest.raises(DownloadError, match=r"model\.safetensors was cut off at 0\.3 MB of 1\.0 MB; run the same"):
        pull(card, quiet, base=server.url)
    server.cut_after = None
    server.requests.clear()
    folder = pull(card, quiet, base=server.url)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    ranges = [headers["range"] for path, headers in server.requests if path.endswith("model.safetensors")]
    assert ranges == ["bytes=300000-"]


def test_a_file_that_changed_starts_again(server: Server, tmp_path: Path) -> None:
    client = Client(server.url)
    remote = Remote("model.safetensors", f"{server.url}/{REPOSITORY}/resolve/{COMMIT}/model.safetensors", None, None)
    server.cut_after = 300_000
    with pytest.raises(DownloadError, match="cut off"):
        fetch(client, remote, tmp_path, quiet)
    server.cut_after = None
    server.files["model.safetensors"] = changed = WEIGHTS[::-1]
    assert fetch(client, remote, tmp_path, quiet) == hashlib.sha256(changed).hexdigest()
    assert (tmp_path / "model.safetensors").read_bytes() == changed


def test_a_part_that_is_too_long_starts_again(server: Server, tmp_path: Path) -> None:
    remote = Remote("model.safetensors", f"{server.url}/{REPOSITORY}/resolve/{COMMIT}/model.safetensors", SHA, None)
    (tmp_path / "model.safetensors.part").write_bytes(WEIGHTS + b"more")
    (tmp_path / "model.safetensors.part.json").write_text(json.dumps({"etag": f'"{SHA[:16]}"'}))
    assert fetch(Client(server.url), remote, tmp_path, quiet) == SHA


@pytest.mark.parametrize("tag", ["", "{", '{"etag": 3}', '{"etag": "a\\r\\nX: y"}'])
def test_a_part_whose_tag_is_unusable_starts_again(server: Server, tmp_path: Path, tag: str) -> None:
    remote = Remote("model.safetensors", f"{server.url}/{REPOSITORY}/resolve/{COMMIT}/model.safetensors", SHA, None)
    (tmp_path / "model.safetensors.part").write_bytes(b"other bytes")
    (tmp_path / "model.safetensors.part.json").write_text(tag)
    assert fetch(Client(server.url), remote, tmp_path, quiet) == SHA


def test_a_wrong_hash_is_refused_and_set_aside(server: Server, card: Card, models: Path) -> None:
    server.files["model.safetensors"] = WEIGHTS[::-1]
    with pytest.raises(DownloadError, match=rf"not the file that was expected.*expected {SHA}.*set aside"):
        pull(card, quiet, base=server.url)
    names = {path.name for path in (models / "downloads" / card.name).iterdir()}
    assert "model.safetensors" not in names
    assert any(name.startswith("model.safetensors.wrong-") for name in names)


def test_the_hash_of_the_card_counts_more_than_the_servers(server: Server, card: Card, models: Path) -> None:
    known = dataclasses.replace(card, files=(KnownFile("model.safetensors", "0" * 64, None, "https://x/y", "a test"),))
    with pytest.raises(DownloadError, match=f"expected {'0' * 64}"):
        pull(known, quiet, base=server.url)


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("model.safetensors", 404, "no such file"),
        ("model.safetensors", 403, "terms have to be accepted"),
        ("model.safetensors", 401, "needs a login"),
        ("model.safetensors", 503, "HTTP 503; try again later"),
        (f"/api/models/{REPOSITORY}/revision/main", 404, "no such file"),
    ],
)
def test_a_refusal_says_what_to_fetch_by_hand(
    server: Server, card: Card, models: Path, name: str, code: int, message: str
) -> None:
    server.refuse[name] = code
    with pytest.raises(DownloadError, match=f"(?s){message}.*https://example.org/config.json.*models import biomed"):
        pull(card, quiet, base=server.url)


def test_without_a_network_it_says_what_to_do(card: Card, models: Path) -> None:
    with pytest.raises(DownloadError, match=r"(?s)cannot be reached.*sha256 unverified.*models import .* --name bio"):
        pull(card, quiet, base="http://127.0.0.1:9")


def test_sizes_are_checked_before_a_byte_is_kept(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{server.url}/{REPOSITORY}/resolve/{COMMIT}/model.safetensors"
    with pytest.raises(DownloadError, match="offers 1,024,000 bytes, expected 5; refused"):
        fetch(Client(server.url), Remote("a", url, None, 5), tmp_path, quiet)
    monkeypatch.setattr(download, "MAX_FILE_BYTES", 1000)
    with pytest.raises(DownloadError, match="more than any known model"):
        fetch(Client(server.url), Remote("a", url, None, None), tmp_path, quiet)
    monkeypatch.undo()
    monkeypatch.setattr(download, "SPARE_BYTES", 10**18)
    with pytest.raises(DownloadError, match="GB free"):
        fetch(Client(server.url), Remote("a", url, None, None), tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_announces_more_than_it_sends(server: Server, card: Card, models: Path) -> None:
    server.lie_about_length = 10
    with pytest.raises(DownloadError, match="expected 2; refused"):
        pull(card, quiet, base=server.url)


@pytest.mark.parametrize("target", ["http://example.org/x", "ftp://example.org/x", "file:///etc/passwd"])
def test_only_https_is_followed(server: Server, card: Card, models: Path, target: str) -> None:
    server.redirect = target
    with pytest.raises(DownloadError, match=r"without HTTPS|HTTP 302"):  # urllib itself refuses file:
        pull(card, quiet, base=server.url)


def test_a_name_that_only_begins_like_the_server_is_not_it() -> None:
    with pytest.raises(DownloadError, match="without HTTPS"):
        check_url("http://localhost:80.example.org/x", "http://localhost:80")
    check_url("https://cdn.example.org/x", "https://huggingface.co")


def test_an_answer_that_is_no_json(server: Server, card: Card, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "_json", lambda self, _: Handler._file(self, b"<html>please log in</html>"))
    with pytest.raises(DownloadError, match="did not answer with JSON"):
        pull(card, quiet, base=server.url)


def test_terms_are_accepted_first_and_no_byte_is_asked_for(server: Server, card: Card, models: Path) -> None:
    forbidding = dataclasses.replace(card, licence=load_card("xrayclip-vit-b-16").licence)
    with pytest.raises(LicenceError, match=r"NO commercial use.*--accept-license"):
        pull(forbidding, quiet, base=server.url)
    assert server.requests == []
    assert pull(forbidding, quiet, accept_licence=True, base=server.url).is_dir()


@pytest.mark.parametrize(("name", "message"), [("chexzero", "drive.google.com"), ("medsiglip", "terms have to be")])
def test_what_cannot_be_pulled_says_so(name: str, message: str, models: Path) -> None:
    with pytest.raises(DownloadError, match=f"(?s){message}.*models import"):
        pull(load_card(name), quiet, accept_licence=True)
    with pytest.raises(UsageError, match="comes with cxrzero"):
        pull(load_card("cxrzero-mini"), quiet)
