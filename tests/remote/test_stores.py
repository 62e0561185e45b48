"""Stores of every kind through `Objects`: the same films in the same order, and what each of them must not do."""

from __future__ import annotations

import http.server
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from cxrzero.errors import ImageError, MissingExtraError, OutputExistsError, RemoteError
from cxrzero.remote.objects import Objects
from cxrzero.sources import ImageRef, WalkCounts
from tests.remote.conftest import Run, listed, on_files
from tests.support import needs
from tests.support.stores import Bucket, Call, serving_azure, serving_gcs
from tests.support.tables import table

NAMES = ["a/one.dcm", "a/two.dcm", "b/broken.png", "b/deep/three", "b/four.png", "b/ä ö%20.dcm", "z.dcm"]


def contents(folder: Path, prefix: str = "x/") -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {f"{prefix}{file.relative_to(folder).as_posix()}": file.read_bytes() for file in files}


def same_table(cxrzero: Run, address: str, films: Path) -> None:
    assert cxrzero("predict", films, "--out", "local.csv", "--no-cache").exit_code == 3
    result = cxrzero("predict", address, "--out", "remote.csv")
    assert result.exit_code == 3, result.output
    rows = table("remote.csv")
    assert [row["path"] for row in rows] == [f"{address}/{name}" for name in NAMES]
    assert on_files(rows, address, films) == table("local.csv")
    again = cxrzero("predict", address, "--out", "again.csv")
    assert "6 taken from the cache, 0 computed" in again.output
    assert Path("again.csv").read_bytes() == Path("remote.csv").read_bytes()


def sent_there(cxrzero: Run, address: str, films: Path) -> bytes:
    """What comes of a table that is sent to a store, which is refused the second time."""
    out = f"{address}/p.csv"
    assert cxrzero("predict", films, "--out", out).exit_code == 3
    assert cxrzero("predict", films, "--out", out).exit_code == 2
    assert cxrzero("predict", films, "--out", out, "--overwrite").exit_code == 3
    with Objects() as objects:
        objects.check([out])
        content = objects.fetch(out)
        objects.remove(out)
        assert not objects.exists(out)
        return content


def test_google(cxrzero: Run, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs.modules("gcp_storage_emulator", "gcsfs")
    with serving_gcs(contents(films)) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        same_table(cxrzero, "gs://films/x", films)
        assert sent_there(cxrzero, "gs://films/out", films) == Path("local.csv").read_bytes()


def test_azure(cxrzero: Run, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs.modules("azure.storage.blob", "adlfs")
    with serving_azure(contents(films)) as login:
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", login)
        same_table(cxrzero, "az://films/x", films)
        assert sent_there(cxrzero, "az://films/out", films) == Path("local.csv").read_bytes()


def test_whatever_fsspec_knows(cxrzero: Run, films: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for key, content in contents(films).items():
        memory.pipe_file(f"/store/{key}", content)
    same_table(cxrzero, "memory://store/x", films)
    assert sent_there(cxrzero, "memory://store/out", films) == Path("local.csv").read_bytes()
    assert [name for name in memory.find("/store/out") if "partial" in name] == []


@pytest.fixture
def web(films: Path) -> Iterator[Any]:
    """Python's own web server, whose pages list the folders of `films`, and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def send_head(self) -> Any:
            asked.append(f"{self.command} {self.path}")
            return super().send_head()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(films.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.asked = asked  # type: ignore[attr-defined]
    server.address = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield server
    server.shutdown()
    server.server_close()


def test_a_web_server(cxrzero: Run, web: Any, films: Path, quick: object) -> None:
    assert cxrzero("predict", films, "--out", "local.csv", "--no-cache").exit_code == 3
    result = cxrzero("predict", f"{web.address}/films", "--out", "remote.csv")
    assert result.exit_code == 3, result.output
    assert "encryption" not in result.output  # nobody listens on loopback
    names = [*NAMES[:-2], "b/%C3%A4%20%C3%B6%2520.dcm", "z.dcm"]
    assert [row["path"] for row in table("remote.csv")] == [f"{web.address}/films/{name}" for name in names]
    both = [[row | {"path": ""} for row in table(name)] for name in ("remote.csv", "local.csv")]
    assert both[0] == both[1]
    web.asked.clear()
    again = cxrzero("predict", f"{web.address}/films/", "--out", "again.csv")
    assert "6 taken from the cache, 0 computed" in again.output
    assert not any(each.startswith("GET") and each.endswith(".dcm") and "._" not in each for each in web.asked)


def test_one_film_of_a_web_server(cxrzero: Run, web: Any, quick: object) -> None:
    assert cxrzero("predict", f"{web.address}/films/z.dcm", f"{web.address}/films/y.dcm").exit_code == 3
    assert [row["error"].partition(":")[0] for row in table()] == ["", "missing"]


class Pages(http.server.BaseHTTPRequestHandler):
    """A server with pages that a test writes: path → (status, headers, body)."""

    pages: dict[str, tuple[int, dict[str, str], bytes]]

    def do_GET(self) -> None:
        status, headers, body = self.pages.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def pages() -> Iterator[tuple[str, dict[str, tuple[int, dict[str, str], bytes]]]]:
    made: dict[str, tuple[int, dict[str, str], bytes]] = {}
    handler = type("Handler", (Pages,), {"pages": made})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", made
    server.shutdown()
    server.server_close()


HTML = {"Content-Type": "text/html; charset=utf-8"}


def test_links_that_lead_elsewhere_are_no_films(
    pages: tuple[str, dict[str, tuple[int, dict[str, str], bytes]]], quick: object
) -> None:
    address, made = pages
    links = (
        "%2e%2e/", "i%2Fj.png", "%00.png", "b.png", "/x/a.png", "/x/a%2Epng", f"{address}/x/c.png", "../up.png",
        "/up.png", "//127.0.0.2/x/d.png", "https://other/x/e.png",
        "?C=N;O=D", "f.png?x=1", "#g.png", "", "h.png#part", "x/../../up.png", "sub/", "sub/deep.png", "http://[", ".",
    )  # fmt: skip
    made["/x/"] = 200, HTML, "".join(f"<a href=\"{link}\">x</a><A HREF='{link}'>" for link in links).encode()
    made["/x/sub/"] = 200, HTML, b'<a href="../">up</a><a href="s.png">s</a><a href="/x/sub/">itself</a>'
    with Objects() as objects:
        found = listed(objects, f"{address}/x/")
    assert [ref.path.removeprefix(address) for ref in found] == [
        "/x/a.png", "/x/b.png", "/x/c.png", "/x/h.png", "/x/sub/s.png",
    ]  # fmt: skip


def test_redirects_of_a_web_server_are_refused(
    pages: tuple[str, dict[str, tuple[int, dict[str, str], bytes]]], web: Any, quick: object
) -> None:
    address, made = pages
    made["/film.dcm"] = 302, {"Location": f"{web.address}/films/z.dcm"}, b""
    with Objects() as objects:
        [ref] = listed(objects, f"{address}/film.dcm")
    assert ref.error is not None
    assert ref.error.code == "remote_redirect"
    assert web.asked == []


def test_a_trap_of_pages_ends(pages: tuple[str, dict[str, tuple[int, dict[str, str], bytes]]], quick: object) -> None:
    address, made = pages
    for depth in range(40):
        made["/" + "x/" * depth] = 200, HTML, b'<a href="x/">deeper</a>'
    with Objects() as objects, pytest.raises(RemoteError, match="32 deep"):
        listed(objects, f"{address}/")


def test_what_states_no_version_is_not_cached_and_that_is_said_once(
    pages: tuple[str, dict[str, tuple[int, dict[str, str], bytes]]], quick: object
) -> None:
    address, made = pages
    made["/x/"] = 200, HTML, b'<a href="a.png">a</a><a href="b.png">b</a>'
    for name in ("a", "b"):
        made[f"/x/{name}.png"] = 200, {}, b"\x89PNG\r\n\x1a\n"
    said: list[str] = []
    with Objects(notify=said.append) as objects:
        assert [ref.identity for ref in listed(objects, f"{address}/x/")] == [None, None]
    assert len([line for line in said if "kept in the cache" in line]) == 1


def test_open_lines_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    Objects(notify=said.append).check(["http://example.org/x/", "https://example.org/x/", "http://localhost/"])
    assert said == ["Note: http://example.org is asked without encryption: others can read films on their way."]


def page_of(keys: list[str], after: str = "") -> bytes:
    """A page of a listing of S3; `after` asks for the next one."""
    entries = "".join(f"<Contents><Key>{key}</Key><Size>9</Size><ETag>e</ETag></Contents>" for key in keys)
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{after}</NextContinuationToken>" if after else ""
    return f"<ListBucketResult>{entries}{more}</ListBucketResult>".encode()


def test_a_list_that_is_in_no_order_ends_the_run(s3: Bucket) -> None:
    body = page_of(["x/b.dcm", "x/a.dcm"])
    s3.behave = lambda call: call.pass_on() if call.key else call.say("200 OK", body)
    with Objects() as objects, pytest.raises(RemoteError, match="not listed in the order"):
        listed(objects, "s3://films/x/")


def test_keys_come_in_byte_order_page_by_page(s3: Bucket) -> None:
    keys = ["x-y.png", *(f"x/{n:04}.png" for n in range(1200)), "x/1199/a.png", "x/Z.png", "x/é.png", "x/😀.png"]
    pages = {"": page_of(keys[:1000], "two"), "two": page_of(keys[1000:])}

    def behave(call: Call) -> Iterable[bytes]:
        token = parse_qs(call.environ["QUERY_STRING"]).get("continuation-token", [""])[0]
        return call.say("200 OK", pages[token])

    s3.behave = behave
    with Objects() as objects:
        found = [ref.path for ref in listed(objects, "s3://films/")]
    assert found == [f"s3://films/{key}" for key in keys]
    assert len(s3.asked) == 2


def test_keys_may_have_any_character(s3: Bucket) -> None:
    body = (
        b"<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>x%2Fa%0A%01%C2%A0.dcm</Key><Size>9</Size>"
        b"<ETag>e</ETag></Contents></ListBucketResult>"
    )
    s3.behave = lambda call: call.say("200 OK", body if not call.key else b"film", ETag="e")
    with Objects() as objects:
        [ref] = listed(objects, "s3://films/x/")
        assert ref.path == "s3://films/x/a\n\x01\xa0.dcm"
        assert objects.fetch(ref.path) == b"film"
    assert s3.asked[-1][1] == "x/a\n\x01\xa0.dcm"


def test_a_page_that_comes_again_ends_the_run(s3: Bucket) -> None:
    s3.behave = lambda call: call.say("200 OK", page_of([f"x/{len(s3.asked)}.png"], "same"))
    with Objects() as objects, pytest.raises(RemoteError, match="same page"):
        listed(objects, "s3://films/")


def test_a_list_comes_no_faster_than_it_is_read(s3: Bucket) -> None:
    """So that little of it is held, however long it is."""

    def behave(call: Call) -> Iterable[bytes]:
        page = int(parse_qs(call.environ["QUERY_STRING"]).get("continuation-token", ["0"])[0])
        keys = [f"films/{page:03}/{number:04}.dcm" for number in range(1000)]
        return call.say("200 OK", page_of(keys, str(page + 1)))

    s3.behave = behave
    with Objects() as objects:
        objects.check(["s3://films/"])
        refs = objects.films(["s3://films/"], WalkCounts())
        for _ in range(3000):
            next(refs)
        time.sleep(0.5)
        assert 4 <= len(s3.asked) <= 6
        refs.close()  # type: ignore[attr-defined]


def test_an_object_is_read_in_parts_of_one_version(s3: Bucket) -> None:
    s3.put("a.tar", bytes(range(256)))
    with Objects() as objects:
        objects.check(["s3://films/a.tar"])
        opened = objects.open("s3://films/a.tar")
        assert opened.size == 256
        assert opened.read(10, 5) == bytes(range(10, 15))
        assert opened.read(250, 100) == bytes(range(250, 256))
        assert opened.read(256, 1) == b""
        opened.check()
        s3.put("a.tar", bytes(range(255)) + b"x")
        with pytest.raises(ImageError, match="container_changed"):
            opened.read(10, 5)
        with pytest.raises(ImageError, match="container_changed"):
            opened.check()


def test_films_in_a_tar_of_a_store_are_those_of_the_tar_here(cxrzero: Run, s3: Bucket, films: Path) -> None:
    import tarfile

    with tarfile.open(films / "all.tar", "w") as tar:
        for name in ("a/one.dcm", "a/two.dcm", "b/broken.png", "notes"):
            tar.add(films / name, name)
    s3.put("all.tar", (films / "all.tar").read_bytes())
    assert cxrzero("predict", films / "all.tar", "--out", "local.csv").exit_code == 3
    assert cxrzero("predict", "s3://films/all.tar", "--out", "remote.csv").exit_code == 3
    rows = table("remote.csv")
    assert [row["path"] for row in rows] == [f"s3://films/all.tar!/{name}" for name in NAMES[:3]]
    assert on_files(rows, "s3://films", films) == table("local.csv")


def test_it_travels_to_other_processes_without_its_connections(s3: Bucket) -> None:
    s3.put("a.png", b"film")
    with Objects() as objects:
        [ref] = listed(objects, "s3://films/a.png")
        assert objects.fetch(ref.path) == b"film"
        with pickle.loads(pickle.dumps(objects)) as there:
            assert there.fetch(ref.path) == b"film"
            assert there._services["s3://films"][0] is not objects._services["s3://films"][0]


def test_a_process_that_was_forked_is_none_of_ours(s3: Bucket) -> None:
    """Decoding processes are spawned; that fsspec's loop is not there after a fork is what they are spawned for."""
    from cxrzero.pipeline import workers

    assert 'get_context("spawn")' in Path(workers.__file__).read_text(encoding="utf-8")


def test_nothing_is_configured_from_elsewhere(s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.config import conf

    monkeypatch.setitem(conf, "s3", {"endpoint_url": "http://127.0.0.1:9", "key": "other", "secret": "other"})
    monkeypatch.setitem(conf, "memory", {"nonsense": 1})
    s3.put("a.png", b"film")
    with Objects() as objects:
        objects.check(["s3://films/a.png", "memory://x/y"])
        assert objects.fetch("s3://films/a.png") == b"film"
        assert next(objects.films(["memory://x/"], WalkCounts())).error is not None
    assert conf["s3"]["key"] == "other"


def test_no_copy_of_a_film_is_left_here(cxrzero: Run, s3: Bucket, films: Path, tmp_path: Path) -> None:
    s3.put_folder(films / "a", "x")
    before = set(tmp_path.rglob("*"))
    assert cxrzero("predict", "s3://films/x").exit_code == 0
    new = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*") if path not in before}
    assert new <= {"here", "cache"}
    assert not any(b"DICM" in path.read_bytes() for path in (tmp_path / "here").rglob("*") if path.is_file())


def test_files_are_read_without_fsspec(png: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    command = ["predict", str(png("a.png")), "--labels", "edema", "--model", str(tiny_bundle), "--out", "-"]
    code = (
        "import sys; from cxrzero.cli import app\n"
        f"try: app({command!r})\n"
        "except SystemExit as end: assert not end.code\n"
        "names = {name.partition('.')[0] for name in sys.modules}\n"
        "print(names & {'fsspec', 's3fs', 'requests', 'aiohttp', 'asyncio'},\n"
        "      {'cxrzero.remote.' + name for name in ('s3', 'web', 'filesystem', 'listing')} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path, text=True)
    assert done.stdout.splitlines()[-1] == "set() set()"


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr("cxrzero.remote.open.find_spec", lambda name: None if name == "s3fs" else real(name))
    with pytest.raises(MissingExtraError, match=r"pip install 'cxrzero\[cloud\]'"):
        Objects().check(["s3://films/x"])


def test_an_object_that_is_there_is_not_written_over(s3: Bucket, tmp_path: Path) -> None:
    s3.put("t.csv", b"theirs")
    (tmp_path / "t.csv").write_text("ours", encoding="utf-8")
    with Objects() as objects:
        objects.check(["s3://films/t.csv"])
        with pytest.raises(OutputExistsError):
            objects.put("s3://films/t.csv", tmp_path / "t.csv", overwrite=False)
        assert s3.content("t.csv") == b"theirs"
        objects.put("s3://films/t.csv", tmp_path / "t.csv", overwrite=True)
    assert s3.content("t.csv") == b"ours"


def test_a_ref_without_identity_is_fetched_as_it_is_now(s3: Bucket) -> None:
    s3.put("a.png", b"film")
    with Objects() as objects:
        objects.check(["s3://films/a.png"])
        objects.expect(ImageRef("s3://films/a.png"))
        with pytest.raises(ImageError, match="not_an_image"):
            list(objects.decode(ImageRef("s3://films/a.png")))
