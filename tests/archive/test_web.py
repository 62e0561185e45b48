"""DICOMweb from a server that is slow, broken or hostile: what is fetched, what is refused, and what the row says."""

from __future__ import annotations

import gzip
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxrzero import ArchiveError, Archives, Prediction, Screener
from cxrzero.archive.http import Http
from cxrzero.archive.limits import Limits
from cxrzero.archive.multipart import object_in
from cxrzero.errors import ConfigError, ImageError, NoInputError, UsageError
from cxrzero.images.radiograph import Facts
from cxrzero.pipeline.decode_file import items_of
from cxrzero.pipeline.items import Failure, Frame
from cxrzero.sources import check_paths, find_images
from cxrzero.sources.reader import Reader
from tests.archive.conftest import IMPATIENT, QUICK, held
from tests.archive.webserver import (
    MULTIPART,
    Asked,
    Behaviour,
    Held,
    Server,
    answer,
    cut,
    cut_unannounced,
    endless,
    hang_up,
    message,
    part_only,
    sends,
    serving,
    silent,
    status,
    trickle,
)

FILM = held(1)
PLACE = "studies/1.2.1/series/1.2.1.1/instances/1.2.1.1.1"
BOMB = gzip.compress(bytes(2**26))


@pytest.fixture
def second() -> Iterator[Server]:
    """A server that the user has not named."""
    with serving() as server:
        yield server


def predict(bundle: Path, *addresses: str, limits: Limits = QUICK, **options: Any) -> list[Prediction]:
    with Archives(options.pop("query", "all"), limits=limits, **options) as archives:
        return Screener(bundle, device="cpu", archives=archives, cache=False).predict(addresses, ["edema"])


def read(server: Server, limits: Limits = QUICK, query: str = "all") -> list[tuple[str, str, Facts]]:
    return read_from(server.address, limits, query)


def read_from(
    address: str, limits: Limits = QUICK, query: str = "all", ca_file: Path | None = None
) -> list[tuple[str, str, Facts]]:
    """Status, code and facts of what becomes a row each, without a model."""
    found = []
    with Archives(query, limits=limits, ca_file=ca_file) as archives:
        check_paths([address], archives)
        for ref in find_images([address], archives=archives):
            for item in items_of(ref, Reader(archives).decode, lambda *_: ([], []), lambda _: None):
                error = item.error if isinstance(item, Failure) else None
                facts = item.facts if isinstance(item, Frame) else Facts(*item.error.facts or ())
                found.append((error.status if error else "ok", error.code if error else "", facts))
    return found


def statuses(found: list[tuple[str, str, Facts]]) -> list[str]:
    return [status for status, _, _ in found]


def codes(found: list[tuple[str, str, Facts]]) -> list[str]:
    return [code for _, code, _ in found]


def fetches(server: Server) -> list[Asked]:
    return [each for each in server.library.asked if each.what == "fetch"]


def test_a_film_of_an_archive_is_the_films_own_row(web: Server, tiny_bundle: Path, tmp_path: Path) -> None:
    web.library.held = [FILM]
    (row,) = predict(tiny_bundle, web.address)
    assert row.path == f"{web.address}/studies/1.2.1/series/1.2.1.1/instances/1.2.1.1.1"
    (tmp_path / "film.dcm").write_bytes(FILM.content)
    (of_file,) = Screener(tiny_bundle, device="cpu", cache=False).predict(tmp_path / "film.dcm", ["edema"])
    assert of_file.status == "ok"
    assert replace(of_file, path=row.path) == row
    (asked,) = fetches(web)
    assert asked.headers["Accept-Encoding"] == "identity"  # a server would take a second to compress it
    assert asked.headers["Accept"] == 'multipart/related; type="application/dicom"; transfer-syntax=*'


def test_a_row_s_path_can_be_asked_again(web: Server, tiny_bundle: Path) -> None:
    web.library.held = [FILM, held(2), held(1, study=2)]
    rows = predict(tiny_bundle, web.address)
    assert predict(tiny_bundle, rows[1].path, query=None) == rows[1:2]
    assert predict(tiny_bundle, f"{web.address}/studies/1.2.1", query=None) == rows[:2]
    assert [each.what for each in web.library.asked[-3:]] == ["instances", "fetch", "fetch"]


@pytest.mark.parametrize(
    ("behaviour", "code", "requests"),
    [
        (status(401), "archive_refused", 1),
        (status(403), "archive_refused", 1),
        (status(404), "not_in_archive", 1),
        (status(406), "archive_error", 1),
        (status(500), "archive_error", 3),
        (status(503), "archive_error", 3),
        (status(429, Retry_After="0"), "archive_error", 3),
        (status(429, Retry_After="3600"), "archive_error", 1),
        (status(503, Retry_After="Wed, 21 Oct 2065 07:28:00 GMT"), "archive_error", 1),
        (cut, "truncated", 3),
        (cut_unannounced, "truncated", 3),
        (hang_up, "archive_error", 3),
        (silent, "archive_error", 3),
        (trickle, "archive_error", 3),
        (endless, "file_too_large", 1),
        (sends(b"<html>log in</html>", "text/html"), "archive_error", 1),
        (sends(b"<html>log in</html>"), "truncated", 3),
        (sends(message(FILM.content, FILM.content)), "archive_error", 1),
        (sends(message()), "archive_error", 1),
        (sends(message(held(2).content)), "other_instance", 1),
        (sends(message(b"no DICOM at all, but some bytes")), "archive_error", 1),
        (sends(message(FILM.content[:300])), "truncated", 1),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_a_row_that_says_why(web: Server, behaviour: Behaviour, code: str, requests: int) -> None:
    web.library.held = [FILM]
    web.library.next("fetch", *[behaviour] * 9)
    ((status, found, facts),) = read(web, IMPATIENT if behaviour in (silent, trickle) else QUICK)
    assert (status, found) == ("failed", code)
    assert facts[3:] == ("1.2.1", "1.2.1.1", "1.2.1.1.1")  # by which a study is joined
    assert len(fetches(web)) == requests


@pytest.mark.parametrize(
    "behaviour",
    [status(503), status(429, Retry_After="0"), status(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"), cut,
     cut_unannounced, hang_up, silent],
)  # fmt: skip
def test_what_is_over_soon_is_waited_for(web: Server, behaviour: Behaviour) -> None:
    web.library.held = [FILM]
    web.library.next("fetch", behaviour)
    if behaviour is not cut_unannounced:  # of a list nothing tells that it is cut
        web.library.next("studies", behaviour)
    assert statuses(read(web, IMPATIENT if behaviour is silent else QUICK)) == ["ok"]
    assert len(fetches(web)) == 2


def test_an_object_without_multipart_is_one(web: Server) -> None:
    web.library.held = [FILM]
    web.library.next("fetch", part_only)
    assert statuses(read(web)) == ["ok"]


def test_no_more_is_taken_than_is_announced_to_be_allowed(web: Server) -> None:
    def announces(handler: Any, film: Held) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(2**40))
        handler.end_headers()

    def grows(handler: Any, film: Held) -> None:
        answer(handler, 200, gzip.compress(bytes(2**26)), {**MULTIPART, "Content-Encoding": "gzip"})

    web.library.held = [FILM]
    web.library.next("fetch", announces)
    assert codes(read(web)) == ["file_too_large"]
    web.library.next("fetch", grows)
    assert codes(read(web)) == ["file_too_large"]


def test_nobody_is_asked_whom_the_user_did_not_name(web: Server, second: Server) -> None:
    second.library.held = web.library.held = [FILM]
    web.library.elsewhere = second.url + "/"
    assert statuses(read(web)) == ["ok"]
    for code in (301, 302, 303, 307, 308):
        web.library.next(
            "fetch", status(code, Location=f"{second.url}/studies/1.2.1/series/1.2.1.1/instances/1.2.1.1.1")
        )
        assert codes(read(web)) == ["archive_redirect"]
    web.library.next("studies", status(302, Location=second.url + "/studies"))
    with pytest.raises(ArchiveError, match="redirects"):
        read(web)
    assert second.library.asked == []


def test_a_redirect_on_the_same_server_is_followed(web: Server) -> None:
    web.library.held = [FILM]
    path = "/dicom-web/studies/1.2.1/series/1.2.1.1/instances/1.2.1.1.1"
    web.library.next(
        "fetch", status(307, Location=path), status(308, Location=f"{web.url.removesuffix('/dicom-web')}{path}")
    )
    assert statuses(read(web)) == ["ok"]
    web.library.next("fetch", *[status(307, Location=path)] * 9)
    assert codes(read(web)) == ["archive_redirect"]


@pytest.mark.parametrize(
    "location", ["http://pacs.example/x", "https://pacs.example:444/x", "//evil.example/x", "http://["]
)
def test_a_redirect_to_less_encryption_is_refused(location: str) -> None:
    http = Http("https://pacs.example/dicom-web", None, QUICK, threading.Event())
    assert http._redirected("https://pacs.example/dicom-web/studies", "/y") == "https://pacs.example/y"
    with pytest.raises(ImageError, match="archive_redirect"):
        http._redirected("https://pacs.example/dicom-web/studies", location)


@pytest.mark.parametrize(("cap", "states_counts"), [(1000, True), (2, True), (1, False)])
def test_all_pages_are_turned_and_rows_are_sorted(web: Server, cap: int, states_counts: bool) -> None:
    films = [held(number, study, series) for study in (5, 3, 11, 4) for series in (2, 1) for number in (2, 1)]
    web.library.held, web.library.cap, web.library.states_counts = films, cap, states_counts
    uids = [facts[3:] for _, _, facts in read(web)]
    assert uids == sorted((film.study, film.series, film.instance) for film in films)
    assert web.library.fetched() == sorted(film.instance for film in films)


def test_a_server_that_cannot_turn_pages_is_no_source_of_half_a_list(web: Server) -> None:
    web.library.held = [held(1, study) for study in range(1, 9)]
    web.library.knows_offset = False
    with pytest.raises(ArchiveError, match="same page"):
        read(web)


def test_a_page_that_moves_on_meanwhile_doubles_nothing(web: Server) -> None:
    """A study comes in at the head of the list: the last of the first page is the first of the second, too."""
    web.library.held = [held(1, study) for study in (1, 2, 3, 4, 5)]

    def comes_in(handler: Any, film: Held) -> None:
        web.library.held.insert(0, held(1, 9))
        handler._list("studies", web.library.held, {"limit": ["3"], "offset": ["3"]})

    def first(handler: Any, film: Held) -> None:
        handler._list("studies", web.library.held, {"limit": ["3"]})

    web.library.next("studies", first, comes_in)
    studies = [facts.study_instance_uid for _, _, facts in read(web)]
    assert studies == [f"1.2.{study}" for study in (1, 2, 3, 4, 5)]


@pytest.mark.parametrize("states_counts", [True, False])
def test_what_is_never_scored_is_counted_and_not_fetched(web: Server, tiny_bundle: Path, states_counts: bool) -> None:
    ct = [held(number, series=2, modality="CT") for number in range(1, 5)]
    report = replace(held(1, series=3, modality="OT"), sop_class="1.2.840.10008.5.1.4.1.1.104.1")
    capture = replace(held(1, series=4, modality="OT"), sop_class="1.2.840.10008.5.1.4.1.1.7")
    odd = held(1, series=5, modality="\x1b[2J")
    web.library.held, web.library.states_counts = [FILM, *ct, report, capture, odd], states_counts
    with Archives("all", limits=QUICK) as archives:
        rows = Screener(tiny_bundle, device="cpu", archives=archives, cache=False).predict(web.address)
        assert archives.left_out() == "4 of CT, 1 of OT and 1 of other"
    assert [row.facts.sop_instance_uid for row in rows] == ["1.2.1.1.1", "1.2.1.4.1"]
    assert web.library.fetched() == ["1.2.1.1.1", "1.2.1.4.1"]


def test_a_query_reaches_the_server(web: Server) -> None:
    web.library.held = [FILM]
    read(web, query="ModalitiesInStudy=DX,StudyDate=20260101-20260131,Modality=DX")
    first = {each.what: each.query for each in reversed(web.library.asked)}
    studies, series = first["studies"], first["series"]
    assert studies["StudyDate"] == ["20260101-20260131"]
    assert studies["ModalitiesInStudy"] == ["DX"]
    assert series["Modality"] == ["DX"]
    assert "StudyDate" not in series


@pytest.mark.parametrize("uid", ["../../etc", "1.2/../3", "", "1.2\r\nX: y", "9" * 65])
def test_a_uid_that_is_none_is_asked_for_nowhere(web: Server, uid: str) -> None:
    web.library.held = [replace(FILM, instance=uid), held(2)]
    assert sorted(codes(read(web))) == ["", "archive_error"]
    assert web.library.fetched() == ["1.2.1.1.2"]


@pytest.mark.parametrize("body", [b"[1, 2]", b'"x"', b"<html>", b"[" * 10**5, b"\xff"])
def test_a_list_that_is_none_ends_the_run(web: Server, body: bytes) -> None:
    web.library.held = [FILM]
    web.library.next("studies", sends(body, "application/dicom+json"))
    with pytest.raises(ArchiveError, match="no DICOM JSON"):
        read(web)


def test_a_study_whose_list_cannot_be_had_is_a_row(web: Server, tiny_bundle: Path) -> None:
    web.library.held = [FILM, held(1, 2)]
    web.library.next("series", status(404))
    lost, found = predict(tiny_bundle, web.address)
    assert (lost.path, lost.code, lost.facts.study_instance_uid) == (
        f"{web.address}/studies/1.2.1", "not_in_archive", "1.2.1",
    )  # fmt: skip
    assert found.status == "ok"


@pytest.mark.parametrize("code", [401, 403])
def test_an_archive_that_refuses_says_where_a_login_belongs(web: Server, code: int) -> None:
    web.library.held = [FILM]
    web.library.next("studies", status(code))
    with pytest.raises(ArchiveError, match=rf"HTTP {code}.*CXRZERO_DICOMWEB_USER"):
        read(web)


def test_an_archive_that_is_down_ends_the_run(web: Server) -> None:
    web.library.held = [held(number) for number in range(1, 30)]
    web.library.next("fetch", *[hang_up] * 200)
    with pytest.raises(ArchiveError, match=r"4 requests in a row.*same command again"):
        read(web)
    assert len(fetches(web)) < 29 * 3
    web.shutdown()
    web.server_close()
    with pytest.raises(ArchiveError, match="no connection"):
        read(web)


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({"USER": "reader", "PASSWORD": "hunter2"}, "Basic cmVhZGVyOmh1bnRlcjI="),
        ({"TOKEN": "hunter2"}, "Bearer hunter2"),
        ({}, None),
    ],
)
def test_a_login_is_shown_to_the_archive(
    web: Server, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], shown: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"CXRZERO_DICOMWEB_{name}", value)
    web.library.held = [FILM]
    web.library.next("studies", status(503, Set_Cookie="a=b"))
    read(web)
    assert {each.headers.get("Authorization") for each in web.library.asked} == {shown}
    assert not any("Cookie" in each.headers for each in web.library.asked)


def test_what_cannot_be_asked_is_said_before_anything_is() -> None:
    with pytest.raises(UsageError, match="--query"):
        Archives().check(["dicomweb+https://pacs.example/x"])
    Archives().check(["dicomweb+https://pacs.example/x/studies/1.2"])
    with pytest.raises(ConfigError, match="--ca-file"):
        Archives("all", ca_file=__file__).check(["dicomweb+https://pacs.example/x"])
    said: list[str] = []
    Archives("all", notify=said.append).check(["dicomweb+http://pacs.example/x", "dicomweb+http://127.0.0.1/x"])
    assert said == [
        "Note: dicomweb+http://pacs.example/x is asked without encryption: others can read films on their way."
    ]


def test_without_archives_an_address_is_no_path(tiny_bundle: Path) -> None:
    with pytest.raises(NoInputError, match="--keep-files"):
        Screener(tiny_bundle, device="cpu").predict("dicomweb+https://pacs.example/x/studies/1.2")


def test_a_certificate_is_verified(
    web: Server, tiny_bundle: Path, certified: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, own = certified
    web.socket = context.wrap_socket(web.socket, server_side=True)
    web.library.held = [FILM]
    address = web.address.replace("+http:", "+https:")
    with pytest.raises(ArchiveError, match=r"certificate.*--ca-file"):
        predict(tiny_bundle, address)
    assert web.library.asked == []
    assert statuses(read_from(address, ca_file=own)) == ["ok"]
    monkeypatch.setenv("CXRZERO_CA_FILE", str(own))
    assert statuses(read_from(address)) == ["ok"]


def test_an_object_may_have_what_looks_like_a_boundary() -> None:
    """A preamble, a quoted boundary, and half of a boundary inside."""
    content = b"DICM\r\n--here-it\r\n\r\n--here"
    body = b"to be ignored\r\n" + message(content) + b"\r\nto be ignored"
    assert object_in(body, 'Multipart/Related; type=x; boundary="here-it-ends"') == content
