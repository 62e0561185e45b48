"""A server of the tests' own that speaks as the Hugging Face Hub does: it cuts, stalls, changes, lies and refuses."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" + "0" * 34
WEIGHTS = bytes(range(256)) * 4000
SHA = hashlib.sha256(WEIGHTS).hexdigest()
REPOSITORY = "someone/model"


class Server(ThreadingHTTPServer):
    """Serves `files` at /someone/model/resolve/, those in `lfs` with their hash, as the Hub does with large files."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"config.json": b"{}", "model.safetensors": WEIGHTS, "tokenizer.json": b"{}", "README.md": b"hi"}
        self.lfs: dict[str, str] = {"model.safetensors": SHA}
        self.commit: str | None = COMMIT
        self.cut_after: int | None = None
        self.stall_after: int | None = None
        self.stalled = threading.Event()
        self.refuse: dict[str, int] = {}
        self.redirect: str | None = None
        self.announces: dict[str, int] = {}
        self.ignores_ranges = False
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    def handle_error(self, *_: object) -> None:
        """A client that refuses goes away in the middle of an answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def headers_of(self, method: str, name: str) -> list[dict[str, str]]:
        return [headers for asked, path, headers in self.requests if asked == method and path.endswith(name)]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.server.requests.append((self.command, self.path, headers))
        name = self.path.rsplit("/", 1)[-1]
        known = self.path in (f"/{REPOSITORY}/resolve/{at}/{name}" for at in ("main", COMMIT)) or "/cdn/" in self.path
        if name in self.server.refuse:
            self._refuse(self.server.refuse[name], "GatedRepo" if self.server.refuse[name] == 403 else None)
        elif not known:
            self._refuse(404, "RepoNotFound")
        elif name not in self.server.files:
            self._refuse(404, "EntryNotFound")
        elif self.server.redirect and name in self.server.lfs and "/cdn/" not in self.path:
            self._begin(302, name, {"Location": self.server.redirect, "Content-Length": "0"})
        else:
            self._file(name, self.server.files[name], body)

    def _refuse(self, code: int, reason: str | None) -> None:
        self.send_response(code)
        self.send_header("Content-Length", "0")
        if reason:
            self.send_header("X-Error-Code", reason)
        self.end_headers()

    def _begin(self, code: int, name: str, headers: dict[str, str]) -> None:
        self.send_response(code)
        content = self.server.files[name]
        if self.server.commit:
            self.send_header("X-Repo-Commit", self.server.commit)
        if name in self.server.lfs:
            self.send_header("X-Linked-Etag", f'"{self.server.lfs[name]}"')
            self.send_header("X-Linked-Size", str(self.server.announces.get(name, len(content))))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("Set-Cookie", "session=1")
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def _file(self, name: str, content: bytes, body: bool) -> None:
        start = 0
        if self.headers["Range"] and not self.server.ignores_ranges:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        length = len(content) if body else self.server.announces.get(name, len(content))
        headers = {"Content-Length": str(length - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._begin(206 if start else 200, name, headers)
        if not body:
            return
        if self.server.stall_after is not None and name in self.server.lfs:
            self.wfile.write(content[start : self.server.stall_after])
            self.wfile.flush()
            self.server.stalled.wait(60)
            return
        self.wfile.write(content[start : self.server.cut_after])

    def log_message(self, *_: object) -> None:
        pass
