"""`models pull` against a Hub of the tests' own: cuts, changes, lies, refusals."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from huggingface_hub import constants, file_download

import cxrzero
from cxrzero.cards.card import Card, KnownFile, load_card
from cxrzero.errors import DownloadError, LicenceError, UsageError
from cxrzero.registry import fetch as fetching
from cxrzero.registry import hub as hubs
from cxrzero.registry.fetch import fetch
from cxrzero.registry.hub import Hub, Remote, check_url, connect
from cxrzero.registry.pull import PULL_JSON, pull
from tests.registry.hubserver import COMMIT, REPOSITORY, SHA, WEIGHTS, Server

CHUNK = 100_000
FILES = ("config.json", "model.safetensors", "vocab.txt")


@pytest.fixture
def server(hub_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The mirror of this process; small chunks, and no waiting between the library's own tries."""
    monkeypatch.setenv("HF_ENDPOINT", hub_server.url)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
    monkeypatch.setattr(file_download, "time", SimpleNamespace(sleep=lambda _: None))
    return hub_server


@pytest.fixture
def hub(server: Server) -> Iterator[Hub]:
    with connect(server.url) as connected:
        yield connected


@pytest.fixture
def card() -> Card:
    files = [KnownFile(name, None, None, "a test") for name in FILES]
    return dataclasses.replace(load_card("biomedclip"), repository=REPOSITORY, revision=None, files=tuple(files))


@pytest.fixture
def remote(server: Server) -> Remote:
    url = f"{server.url}/{REPOSITORY}/resolve/{COMMIT}/model.safetensors"
    return Remote("model.safetensors", url, COMMIT, SHA, len(WEIGHTS))


def quiet(_: str) -> None:
    pass


def part_in(folder: Path) -> Path:
    return folder / f"model.safetensors.{SHA}.part"


def test_a_pull_is_pinned_and_recorded(server: Server, card: Card, models: Path) -> None:
    notices: list[str] = []
    folder = pull(card, notices.append)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        PULL_JSON,
        "tokenizer.json",
    ]
    record = json.loads((folder / PULL_JSON).read_text())
    assert (record["revision"], record["repository"]) == (COMMIT, REPOSITORY)
    weights = record["files"]["model.safetensors"]
    assert weights["sha256"] == weights["expected_sha256"] == SHA
    assert weights["url"] == f"{server.url}/{REPOSITORY}/resolve/{COMMIT}/model.safetensors"
    assert record["files"]["config.json"]["expected_sha256"] is None
    assert any("vocab.txt: not in the repository" in notice for notice in notices)
    assert f"{REPOSITORY} at commit {COMMIT}, from {server.url}" in notices
    assert folder.stat().st_mode & 0o077 == 0
    asked_at_main = [path for _, path, _ in server.requests if "/main/" in path]
    assert asked_at_main == [f"/{REPOSITORY}/resolve/main/config.json"]
    server.requests.clear()
    pull(card, quiet)
    assert {method for method, _, _ in server.requests} == {"HEAD"}


def test_nothing_is_told_that_was_not_asked(
    server: Server, card: Card, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No login though there is one everywhere, no cookie though one was set, nothing about this machine."""
    monkeypatch.setenv("HF_TOKEN", "hf_environment")
    (tmp_path / "token").write_text("hf_file")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)  # as if imported by another
    pull(card, quiet)
    assert constants.HF_HUB_DISABLE_TELEMETRY
    assert server.requests
    for _, path, headers in server.requests:
        assert path.startswith(f"/{REPOSITORY}/resolve/")
        assert not {"authorization", "cookie", "proxy-authorization"} & set(headers)
        assert headers["user-agent"] == f"cxrzero/{cxrzero.__version__}"


def test_a_login_is_shown_to_the_hub_alone_and_only_on_demand(
    server: Server, card: Card, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    elsewhere = f"localhost:{server.server_port}"
    server.redirect = f"http://{elsewhere}/cdn/model.safetensors"
    honest = check_url
    monkeypatch.setattr(
        hubs, "check_url", lambda url, base: None if urlsplit(url).netloc == elsewhere else honest(url, base)
    )
    pull(card, quiet, login=True)
    shown = {(path.startswith("/cdn/"), headers.get("authorization")) for _, path, headers in server.requests}
    assert shown == {(False, "Bearer hf_mine"), (True, None)}


def test_a_login_that_is_not_there_is_missed_before_anything_is_asked(
    server: Server, card: Card, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"no Hugging Face login here; set HF_TOKEN or run: hf auth login"):
        pull(card, quiet, login=True)
    assert server.requests == []


def test_gated_files_come_with_a_login(
    server: Server, card: Card, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    gated = dataclasses.replace(card, licence=load_card("medsiglip").licence)
    with pytest.raises(DownloadError, match=r"accepted on its web page.*models pull biomedclip --token"):
        pull(gated, quiet, accept_licence=True)
    with pytest.raises(LicenceError, match="--accept-license"):
        pull(gated, quiet, login=True)
    assert server.requests == []
    assert pull(gated, quiet, accept_licence=True, login=True).is_dir()


def test_a_cut_download_goes_on(server: Server, card: Card, models: Path) -> None:
    server.cut_after = 300_000
    with pytest.raises(DownloadError, match=r"model\.safetensors was cut off at 0\.3 MB of 1\.0 MB .*; run the same"):
        pull(card, quiet)
    server.cut_after = None
    server.requests.clear()
    folder = pull(card, quiet)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert [headers["range"] for headers in server.headers_of("GET", "model.safetensors")] == ["bytes=300000-"]
    assert list(folder.glob("*part")) == []


def test_a_file_that_changed_starts_again(server: Server, card: Card, models: Path) -> None:
    server.cut_after = 300_000
    with pytest.raises(DownloadError, match="cut off"):
        pull(card, quiet)
    server.cut_after = None
    server.files["model.safetensors"] = changed = WEIGHTS[::-1]
    server.lfs["model.safetensors"] = hashlib.sha256(changed).hexdigest()
    folder = pull(card, quiet)
    assert (folder / "model.safetensors").read_bytes() == changed
    assert list(folder.glob("*part")) == []


def test_what_no_hash_can_prove_starts_again(server: Server, hub: Hub, remote: Remote, tmp_path: Path) -> None:
    unknown = dataclasses.replace(remote, sha256=None)
    (tmp_path / "model.safetensors.part").write_bytes(b"other bytes")
    assert fetch(hub, unknown, tmp_path, quiet) == SHA
    assert ["range" in headers for headers in server.headers_of("GET", "model.safetensors")] == [False]


def test_a_part_that_is_too_long_starts_again(hub: Hub, remote: Remote, tmp_path: Path) -> None:
    part_in(tmp_path).write_bytes(WEIGHTS + b"more")
    assert fetch(hub, remote, tmp_path, quiet) == SHA


def test_a_server_that_cannot_go_on_sends_the_whole(server: Server, hub: Hub, remote: Remote, tmp_path: Path) -> None:
    """Old versions of the library append the whole to the part: then it is dropped, and the next try is whole."""
    server.ignores_ranges = True
    part_in(tmp_path).write_bytes(WEIGHTS[:300_000])
    with contextlib.suppress(DownloadError):
        fetch(hub, remote, tmp_path, quiet)
    assert fetch(hub, remote, tmp_path, quiet) == SHA


def test_a_part_of_other_bytes_is_found_by_its_hash(hub: Hub, remote: Remote, tmp_path: Path) -> None:
    part_in(tmp_path).write_bytes(b"x" * 300_000)
    with pytest.raises(DownloadError, match="not the file that was expected"):
        fetch(hub, remote, tmp_path, quiet)
    assert fetch(hub, remote, tmp_path, quiet) == SHA


def test_a_wrong_hash_is_refused_and_set_aside(server: Server, card: Card, models: Path) -> None:
    server.files["model.safetensors"] = WEIGHTS[::-1]
    with pytest.raises(DownloadError, match=rf"not the file that was expected.*expected {SHA}.*set aside"):
        pull(card, quiet)
    names = {path.name for path in (models / "downloads" / card.name).iterdir()}
    assert "model.safetensors" not in names
    assert any(name.startswith("model.safetensors.wrong-") for name in names)


def test_the_hash_and_size_of_the_card_count_more_than_the_servers(server: Server, card: Card, models: Path) -> None:
    known = KnownFile("model.safetensors", "0" * 64, None, "a test")
    with pytest.raises(DownloadError, match=f"expected {'0' * 64}"):
        pull(dataclasses.replace(card, files=(known,)), quiet)
    known = KnownFile("model.safetensors", None, 5, "a test")
    with pytest.raises(DownloadError, match="offers 1,024,000 bytes, expected 5; refused"):
        pull(dataclasses.replace(card, files=(known,)), quiet)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (403, r"terms have to be accepted on the web page.*--token"),
        (401, "needs a login"),
        (503, "HTTP 503; try again later"),
    ],
)
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_refusal_says_what_to_fetch_by_hand(
    server: Server, card: Card, models: Path, name: str, code: int, message: str
) -> None:
    server.refuse[name] = code
    address = f"https://huggingface.co/{REPOSITORY}/resolve/main/config.json"
    with pytest.raises(DownloadError, match=f"(?s){message}.*{address}.*models import biomed"):
        pull(card, quiet)


def test_a_file_or_repository_that_is_not_there(server: Server, card: Card, models: Path) -> None:
    del server.files["model.safetensors"]
    with pytest.raises(DownloadError, match=rf"{REPOSITORY} has no file model\.safetensors at {COMMIT}"):
        pull(card, quiet)
    with pytest.raises(DownloadError, match=r"no such file.*HTTP 404"):
        pull(dataclasses.replace(card, repository="someone/else"), quiet)


def test_another_commit_than_asked_for_is_refused(server: Server, card: Card, models: Path) -> None:
    server.commit = "d" * 40
    with pytest.raises(DownloadError, match="another commit"):
        pull(dataclasses.replace(card, revision=COMMIT), quiet)


@pytest.mark.parametrize("commit", [None, "newest", "../../../etc"])
def test_an_answer_that_is_not_of_a_hub(server: Server, card: Card, models: Path, commit: str | None) -> None:
    server.commit = commit
    with pytest.raises(DownloadError, match="proxy or login page"):
        pull(card, quiet)


def test_without_a_network_it_says_what_to_do(card: Card, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"(?s)127\.0\.0\.1:9 cannot be reached.*sha256 unverified.*--name bio"):
        pull(card, quiet)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match=r"(?s)HF_HUB_OFFLINE is set.*models import"):
        pull(card, quiet)


def test_a_proxy_that_cannot_be_used_is_named(
    server: Server, card: Card, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://127.0.0.1:9")
    with pytest.raises(DownloadError, match="proxy that the environment names cannot be used"):
        pull(card, quiet)


def test_sizes_are_checked_before_a_byte_is_kept(
    server: Server, card: Card, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MAX_FILE_BYTES", 1000)
    with pytest.raises(DownloadError, match="more than any model"):
        pull(card, quiet)
    assert list((models / "downloads" / card.name).iterdir()) == []


def test_free_space_is_checked_before_a_byte_is_kept(
    hub: Hub, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "SPARE_BYTES", 10**18)
    with pytest.raises(DownloadError, match=r"GB free.*CXRZERO_MODELS_DIR"):
        fetch(hub, remote, tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named_and_keeps_what_it_has(
    server: Server, hub: Hub, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(part: fetching._Part, data: bytes) -> int:
        if part.tell() >= 300_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written(part, data)

    written = fetching._Part.write
    monkeypatch.setattr(fetching._Part, "write", full)
    with pytest.raises(DownloadError, match="cannot be written: No space left on device"):
        fetch(hub, remote, tmp_path, quiet)
    assert part_in(tmp_path).stat().st_size == 300_000
    monkeypatch.setattr(fetching._Part, "write", written)
    assert fetch(hub, remote, tmp_path, quiet) == SHA


@pytest.mark.parametrize(("announced", "message"), [(1_000_000, "more than it announced"), (2_000_000, "cut off at")])
def test_a_server_that_announces_another_size_than_it_sends(
    server: Server, card: Card, models: Path, announced: int, message: str
) -> None:
    server.announces["model.safetensors"] = announced
    with pytest.raises(DownloadError, match=message):
        pull(card, quiet)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("http://example.org/x", r"example\.org was to be asked without HTTPS; refused"),
        ("http://huggingface.co/x", r"huggingface\.co was to be asked without HTTPS; refused"),
        ("https://example.org/x", r"example\.org was to be asked, which is not a host of the Hugging Face Hub"),
        ("https://huggingface.co.example.org/x", "is not a host of the Hugging Face Hub"),
        ("ftp://example.org/x", "without HTTPS"),
        ("file:///etc/passwd", "without HTTPS|cannot be reached|no such file"),  # as a path of the server itself
        ("http://localhost:1/x", r"localhost was to be asked without HTTPS"),
    ],
)
def test_redirects_stay_with_the_hub(server: Server, card: Card, models: Path, target: str, message: str) -> None:
    server.redirect = target
    with pytest.raises(DownloadError, match=message):
        pull(card, quiet)
    assert [path.name for path in (models / "downloads" / card.name).glob("model*")] in ([], [part_in(models).name])


@pytest.mark.parametrize(
    "given",
    [
        "http://mirror.example.org",
        "mirror.example.org",
        "https://",
        "https://me:secret@mirror.org",
        "http://[",
        "ftp://h",
    ],
)
def test_a_mirror_without_https_is_refused(
    given: str, card: Card, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", given)
    with pytest.raises(UsageError, match="HF_ENDPOINT must be an https:// address") as caught:
        pull(card, quiet)
    assert "secret" not in str(caught.value)


def test_terms_are_accepted_first_and_no_byte_is_asked_for(server: Server, card: Card, models: Path) -> None:
    forbidding = dataclasses.replace(card, licence=load_card("xrayclip-vit-b-16").licence)
    with pytest.raises(LicenceError, match=r"NO commercial use.*--accept-license"):
        pull(forbidding, quiet)
    assert server.requests == []
    assert pull(forbidding, quiet, accept_licence=True).is_dir()


@pytest.mark.parametrize(("name", "message"), [("chexzero", "drive.google.com"), ("medsiglip", "terms have to be")])
def test_what_cannot_be_pulled_says_so(name: str, message: str, models: Path) -> None:
    with pytest.raises(DownloadError, match=f"(?s){message}.*models import"):
        pull(load_card(name), quiet, accept_licence=True)
    with pytest.raises(UsageError, match="comes with cxrzero"):
        pull(load_card("cxrzero-mini"), quiet)
