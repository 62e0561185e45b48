"""C-FIND and C-GET from an archive that refuses, sends too much, something else, nothing or never an end."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind as Find,
)
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelGet as Get,
)

from cxrzero.archive.archives import Archives
from cxrzero.archive.limits import Limits
from cxrzero.errors import ArchiveError, ConfigError, ImageError
from tests.archive.conftest import DX, IMPATIENT, QUICK, held

FILM = held(1)
Handler = Callable[[Any], Any]


@contextmanager
def archive(
    find: Handler | None = None, get: Handler | None = None, tls: ssl.SSLContext | None = None, **settings: Any
) -> Iterator[str]:
    """A peer on loopback that has FILM and behaves, unless handlers say otherwise; its address."""
    entity = AE("ARCHIVE")
    entity.require_called_aet = True
    for name, value in settings.items():
        setattr(entity, name, value)
    entity.add_supported_context(DX, scu_role=True, scp_role=True)
    handlers: list[Any] = []
    if find is not ABSENT:
        entity.add_supported_context(Find)
        handlers.append((evt.EVT_C_FIND, find or finds))
    if get is not ABSENT:
        entity.add_supported_context(Get)
        handlers.append((evt.EVT_C_GET, get or gets))
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=tls)
    assert server
    try:
        yield f"dicom{'+tls' if tls else ''}://127.0.0.1:{server.server_address[1]}/ARCHIVE"
    finally:
        server.shutdown()


def ABSENT(event: Any) -> Any:  # noqa: N802
    """Not offered."""


def finds(event: Any) -> Iterator[tuple[int, Any]]:
    level = event.identifier.QueryRetrieveLevel
    match = pydicom.Dataset()
    match.StudyInstanceUID = FILM.study
    if level == "SERIES":
        match.SeriesInstanceUID, match.Modality = FILM.series, "DX"
    if level == "IMAGE":
        match.SOPInstanceUID, match.SOPClassUID = FILM.instance, DX
    yield 0xFF00, match


def sends(*contents: bytes) -> Handler:
    def get(event: Any) -> Iterator[Any]:
        yield len(contents)
        for content in contents:
            yield 0xFF00, pydicom.dcmread(BytesIO(content))

    return get


gets = sends(FILM.content)


def fails(status: int) -> Handler:
    def get(event: Any) -> Iterator[Any]:
        yield 1
        yield status, None

    return get


def hangs(event: Any) -> Iterator[Any]:
    time.sleep(1)
    yield 0


def aborts(event: Any) -> Iterator[Any]:
    event.assoc.abort()
    yield 0


def fetched(address: str, limits: Limits = QUICK, **options: Any) -> str:
    """ "ok", or the code of what is wrong with the film."""
    with Archives("all", limits=limits, **options) as archives:
        archives.check([address])
        ((place, error),) = archives.instances(address)
        if error:
            return error.code
        try:
            (film,) = archives.decode(str(place))
        except ImageError as error:
            return error.code
        assert film.facts.sop_instance_uid == FILM.instance
        return "ok"


def test_an_archive_that_behaves() -> None:
    with archive() as address:
        assert fetched(address) == "ok"


@pytest.mark.parametrize(
    ("get", "code"),
    [
        (sends(), "not_in_archive"),
        (sends(held(2).content), "other_instance"),
        (sends(FILM.content, held(2).content), "other_instance"),
        (sends(FILM.content, FILM.content), "other_instance"),
        (fails(0xA702), "archive_error"),
        (fails(0xC001), "archive_error"),
        (fails(0xA900), "archive_error"),
        (hangs, "archive_error"),
        (aborts, "archive_error"),
    ],
)
def test_what_cannot_be_had_says_why(get: Handler, code: str) -> None:
    with archive(get=get) as address:
        assert fetched(address, IMPATIENT) == code


def test_no_more_is_taken_than_an_object_may_have() -> None:
    with archive() as address:
        most = len(FILM.content)
        assert fetched(address, replace(QUICK, object_bytes=most)) == "ok"
    large = pydicom.dcmread(BytesIO(FILM.content))
    large.PixelData = bytes(4 * 2**20)
    content = BytesIO()
    large.save_as(content)
    with archive(get=sends(content.getvalue())) as address:
        assert fetched(address, QUICK) == "file_too_large"


@pytest.mark.parametrize("settings", [{"ae_title": "OTHER"}, {"require_calling_aet": ["SOMEONE"]}])
def test_a_title_that_is_not_known_is_said(settings: dict[str, Any]) -> None:
    with archive(**settings) as address, Archives("all", limits=QUICK) as archives:
        archives.check([address])
        with pytest.raises(ArchiveError, match="AE title"):
            list(archives.instances(address))


def test_our_title_is_the_user_s() -> None:
    with archive(require_calling_aet=["SOMEONE"]) as address:
        assert fetched(address, calling_title="SOMEONE") == "ok"
    with pytest.raises(ConfigError, match="--calling-title"):
        Archives("all", calling_title="much too long a title").check([address])


def test_an_archive_without_c_get_says_what_else_there_is() -> None:
    with archive(get=ABSENT) as address, Archives("all", limits=QUICK) as archives:
        archives.check([address])
        with pytest.raises(ArchiveError, match=r"C-GET.*cxrzero listen"):
            list(archives.instances(address))


def test_a_certificate_is_verified(certified: tuple[ssl.SSLContext, Path]) -> None:
    context, own = certified
    with archive(tls=context) as address:
        assert fetched(address, ca_file=own) == "ok"
        with Archives("all", limits=replace(QUICK, tries=1)) as archives:
            archives.check([address])
            with pytest.raises(ArchiveError, match=r"certificate.*--ca-file"):
                list(archives.instances(address))


def test_a_list_that_fails_ends_the_run() -> None:
    def fails(event: Any) -> Iterator[Any]:
        yield 0xA700, None

    with archive(find=fails) as address, Archives("all", limits=QUICK) as archives:
        archives.check([address])
        with pytest.raises(ArchiveError, match="A700"):
            list(archives.instances(address))


@pytest.mark.parametrize(
    "words",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", struct.pack(">BBL", 2, 0, 2**32 - 1) + b"x" * 100, b"\x02\x00", None],
)
def test_a_peer_that_speaks_something_else_is_no_archive(words: bytes | None) -> None:
    """It claims 4 GB, says nothing, says half a word: no memory for it, and no wait without end."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            try:
                while True:
                    line, _ = server.accept()
                    if words is None:
                        waiting.append(line)
                        continue
                    with line:
                        line.sendall(words)
                        time.sleep(0.05)
            except OSError:
                return

        waiting: list[socket.socket] = []
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        address = f"dicom://127.0.0.1:{server.getsockname()[1]}/ARCHIVE"
        limits = replace(IMPATIENT, connect_s=0.3, tries=1)
        with Archives("all", limits=limits) as archives:
            archives.check([address])
            with pytest.raises(ArchiveError, match="no connection"):
                list(archives.instances(address))
        for line in waiting:
            line.close()


def test_an_archive_that_is_down() -> None:
    with Archives("all", limits=QUICK) as archives:
        archives.check(["dicom://127.0.0.1:9/ARCHIVE"])
        with pytest.raises(ArchiveError, match="no connection"):
            list(archives.instances("dicom://127.0.0.1:9/ARCHIVE"))
