"""Object stores on loopback: moto as S3, emulators of Google's and Azure's, each with what a test wants to go wrong."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.support.needs import modules

modules("moto", "s3fs", "requests")

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
# A request's environment, and what calls the store itself → the answer's body.
Behaviour = Callable[["Call"], Iterable[bytes]]
# What moto is shown, which asks for none in particular.
LOGIN = {"AWS_ACCESS_KEY_ID": "AKIACANARYCANARY", "AWS_SECRET_ACCESS_KEY": "secret-canary", "AWS_REGION": "us-east-1"}
# Azurite's account, which is the same everywhere (its README).
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass
class Call:
    """One request, as a behaviour sees it."""

    environ: Environ
    start: StartResponse
    app: Callable[[Environ, StartResponse], Iterable[bytes]]

    @property
    def key(self) -> str:
        return unquote(self.environ["PATH_INFO"].encode("latin-1").decode()).partition("/")[2].partition("/")[2]

    def answer(self) -> tuple[str, list[tuple[str, str]], bytes]:
        """What the store itself says."""
        said: list[Any] = []
        body = b"".join(self.app(self.environ, lambda status, headers, *_: said.extend((status, headers))))
        return said[0], said[1], body

    def pass_on(self) -> Iterable[bytes]:
        return self.app(self.environ, self.start)

    def say(self, status: str, body: bytes = b"", **headers: str) -> Iterable[bytes]:
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.start(status, [("Content-Length", str(len(body))), *named])
        return [body]


@dataclass
class Bucket:
    """moto with one bucket, `films`.

    Attributes:
        behave: what is done with each request; None has it answered.
        asked: (method, key, query) of each.
    """

    endpoint: str
    behave: Behaviour | None = None
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    client: Any = None

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket="films", Key=key, Body=content)

    def put_folder(self, folder: Path, prefix: str) -> None:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.put(f"{prefix}/{file.relative_to(folder).as_posix()}", file.read_bytes())

    def keys(self) -> list[str]:
        return [each["Key"] for each in self.client.list_objects_v2(Bucket="films").get("Contents", [])]

    def content(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket="films", Key=key)["Body"].read())

    def fetched(self) -> list[str]:
        """Keys of films whose content was asked for, sorted."""
        return sorted(key for method, key, _ in self.asked if method == "GET" and key)


@contextmanager
def serving_s3() -> Iterator[Bucket]:
    """A store of its own; AWS_ENDPOINT_URL is for the caller to set."""
    import boto3
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from moto.s3.models import s3_backends
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, *_: Any) -> None:
            pass

        log_message = log_request

    s3_backends[DEFAULT_ACCOUNT_ID]["aws"].reset()
    moto = DomainDispatcherApplication(create_backend_app)
    bucket = Bucket("")

    def app(environ: Environ, start: StartResponse) -> Iterable[bytes]:
        call = Call(environ, start, moto)
        if "boto3" in environ.get("HTTP_USER_AGENT", "").lower():  # the test itself
            return moto(environ, start)
        bucket.asked.append((environ["REQUEST_METHOD"], call.key, environ.get("QUERY_STRING", "")))
        return bucket.behave(call) if bucket.behave else moto(environ, start)

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    bucket.endpoint = f"http://127.0.0.1:{server.server_port}"
    bucket.client = boto3.client(
        "s3", endpoint_url=bucket.endpoint, aws_access_key_id="test", aws_secret_access_key="test",
        region_name="us-east-1",
    )  # fmt: skip
    try:
        bucket.client.create_bucket(Bucket="films")
        yield bucket
    finally:
        bucket.client.close()
        server.shutdown()
        server.server_close()
        thread.join()


def flaky(share: float, seed: int = 1) -> Behaviour:
    """Of answers to GET some are 503, some 500, some cut off in the middle, some slow; each key's third is right."""
    chance, seen, lock = random.Random(seed), dict[str, int](), threading.Lock()

    def behave(call: Call) -> Iterable[bytes]:
        with lock:
            fault = chance.random() < share and call.environ["REQUEST_METHOD"] == "GET"
            kind, number = chance.choice(("503", "500", "cut", "slow")), seen.get(call.key, 0)
            seen[call.key] = number + 1
        if not fault or number >= 2:
            return call.pass_on()
        if kind in ("500", "503"):
            return call.say(f"{kind} Trouble", _error("SlowDown" if kind == "503" else "InternalError"))
        status, headers, body = call.answer()
        if kind == "slow":
            time.sleep(0.05)
            call.start(status, headers)
            return [body]
        return cut(call, status, headers, body)

    return behave


def cut(call: Call, status: str, headers: list[tuple[str, str]], body: bytes) -> Iterable[bytes]:
    """Half of a body, and then the connection ends."""
    call.start(status, [*((n, v) for n, v in headers if n.lower() != "connection"), ("Connection", "close")])
    yield body[: len(body) // 2]
    raise ConnectionResetError


def refusing(code: str, status: str = "403 Forbidden", after: int = 0) -> Behaviour:
    """After some requests for films, all are refused with a code of S3."""
    count = iter(range(10**9))

    def behave(call: Call) -> Iterable[bytes]:
        is_film = bool(call.key)
        if is_film and next(count) < after:
            return call.pass_on()
        return call.say(status, _error(code)) if is_film or not after else call.pass_on()

    return behave


def _error(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>CANARY-MESSAGE</Message></Error>".encode()


@contextmanager
def serving_gcs(films: Mapping[str, bytes]) -> Iterator[str]:
    """An emulator of Google's store with a bucket `films`; yields what STORAGE_EMULATOR_HOST is to be."""
    import requests
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    try:
        address = f"http://127.0.0.1:{server._api._httpd.server_address[1]}"
        with requests.Session() as session:
            session.trust_env = False
            session.post(f"{address}/storage/v1/b", json={"name": "films"}).raise_for_status()
            for key, content in films.items():
                session.post(
                    f"{address}/upload/storage/v1/b/films/o", params={"uploadType": "media", "name": key}, data=content
                ).raise_for_status()
        yield address
    finally:
        server.stop()


@contextmanager
def serving_azure(films: Mapping[str, bytes]) -> Iterator[str]:
    """Azurite with a container `films`; yields a connection string."""
    import pytest
    from azure.storage.blob import BlobServiceClient

    program = shutil.which("azurite-blob")
    if program is None:  # of npm, which .ci/install does not have
        pytest.skip("azurite is not installed (npm install -g azurite)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [program, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence", "--disableTelemetry",
         "--skipApiVersionCheck", "--silent"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(300):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        login = (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};"
            f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
        )
        with BlobServiceClient.from_connection_string(login) as client:
            container = client.create_container("films")
            for key, content in films.items():
                container.upload_blob(key, content)
        yield login
    finally:
        process.kill()
        process.wait()
