"""Addresses: what is one, what of it is shown, and what tells a content."""

from __future__ import annotations

import pickle

import pytest

from cxrzero.errors import UsageError
from cxrzero.remote.address import SignedAddress, known_of, order_of, parse_object


@pytest.mark.parametrize(
    ("text", "shown", "service"),
    [
        ("s3://bucket", "s3://bucket/", "s3://bucket"),
        ("S3://bucket/a/b c?d#e.dcm", "s3://bucket/a/b c?d#e.dcm", "s3://bucket"),
        ("s3a://bucket//a", "s3://bucket//a", "s3://bucket"),
        ("gcs://bucket/x", "gs://bucket/x", "gs://bucket"),
        ("az://box/x", "az://box/x", "az://box"),
        ("abfs://box@account.dfs.core.windows.net/x", "abfs://box@account.dfs.core.windows.net/x", None),
        ("https://Host:443/a/%20b.dcm?X-Amz-Signature=CANARY#x", "https://host/a/%20b.dcm", "https://host"),
        ("http://host:8080", "http://host:8080/", "http://host:8080"),
        ("https://[::1]:8/ä", "https://[::1]:8/%C3%A4", "https://[::1]:8"),
        ("memory:///x/y", "memory:///x/y", "memory://"),
        ("sftp://user@host/x", "sftp://user@host/x", "sftp://user@host"),
    ],
)
def test_an_address_is_shown_without_its_query(text: str, shown: str, service: str | None) -> None:
    address = parse_object(text)
    assert str(address) == shown
    assert parse_object(shown) == parse_object(str(address))
    assert "CANARY" not in repr(address)
    if service:
        assert address.service == service


@pytest.mark.parametrize(
    "text",
    [
        "s3://key:CANARY@bucket/x", "s3://CANARY@bucket/x", "https://user:CANARY@host/", "https://CANARY@host/",
        "sftp://user:CANARY@host/x", "simplecache::s3://CANARY/x", "s3://CANARY::memory/x", "file:///CANARY", "local://x",
        "zip://CANARY", "reference://CANARY", "s3://", "https://", "https://host:CANARY/", "s3://bucket/\udcff", "://x",
    ],
)  # fmt: skip
def test_what_is_refused_is_not_quoted(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_object(text)
    assert "CANARY" not in str(caught.value)


def test_an_identity_has_address_size_and_version() -> None:
    address = parse_object("s3://bucket/a.dcm")
    identity = address.identity(17, "etag")
    assert identity == b"object\0s3://bucket/a.dcm\0" + b"17\0etag"
    assert known_of(identity) == (17, "etag")
    odd = parse_object("s3://bucket/a\0b").identity(17, "etag")
    assert odd is not None
    assert known_of(odd) == (17, "etag")
    assert address.identity(None, "etag") is None
    assert address.identity(17, "") is None


def test_a_signature_is_no_part_of_an_identity_and_another_query_is() -> None:
    plain, signed, other, both = (
        parse_object(f"https://host/wado{query}").identity(1, "e")
        for query in (
            "",
            "?X-Amz-Signature=1&X-Amz-Expires=2&sig=3&se=4",
            "?objectUID=1.2",
            "?objectUID=1.2&X-Amz-Signature=9",
        )
    )
    assert plain == signed
    assert other == both
    assert other != plain
    assert b"1.2" not in (other or b"")


def test_a_signed_address_shows_its_text_alone() -> None:
    signed = SignedAddress("https://host/x", "sig=CANARY")
    assert (signed, signed.query) == ("https://host/x", "sig=CANARY")
    assert "CANARY" not in f"{signed} {signed!r} {[signed]}"
    there = pickle.loads(pickle.dumps(signed))
    assert (there, there.query) == (signed, "sig=CANARY")


def test_keys_are_compared_as_bytes() -> None:
    names = ["a-b", "a/b", "a0", "b", "ä", "😀"]
    assert sorted(names, key=lambda name: order_of(parse_object(f"s3://x/{name}"))) == names
    assert order_of(parse_object("https://x/%C3%A4")) == "/ä".encode()


def test_this_machine_is_known() -> None:
    assert all(
        parse_object(f"http://{host}/").is_local for host in ("localhost", "127.0.0.1:80", "[::1]:8", "127.1.2.3")
    )
    assert not any(parse_object(f"http://{host}/").is_local for host in ("127.0.0.1.org", "128.0.0.1", "localhost.org"))
