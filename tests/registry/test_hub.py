"""Which hosts may be asked, and which mirror stands for the Hub."""

from __future__ import annotations

import pytest

from cxrzero.errors import DownloadError
from cxrzero.registry.hub import check_url, endpoint


@pytest.mark.parametrize(
    "url",
    [
        "https://huggingface.co/a/b/resolve/main/c",
        "https://cdn-lfs-us-1.hf.co/repos/x",
        "https://cas-bridge.xethub.hf.co/xet-bridge-us/x",
        "https://cdn-lfs.huggingface.co/x",
        "http://localhost:80/x",
    ],
)
def test_the_hosts_that_may_be_asked(url: str) -> None:
    check_url(url, "http://localhost:80")


@pytest.mark.parametrize(
    "url",
    ["http://localhost:80.example.org/x", "http://localhost:81/x", "https://evilhf.co/x", "https://hf.co@example.org/"],
)
def test_a_name_that_only_looks_like_the_hub_is_not_it(url: str) -> None:
    with pytest.raises((DownloadError, ValueError)):
        check_url(url, "http://localhost:80")


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("", "https://huggingface.co"),
        ("https://mirror.example.org/hub/", "https://mirror.example.org/hub"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_mirror_of_the_users_choice(given: str, used: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", given)
    assert endpoint() == used
