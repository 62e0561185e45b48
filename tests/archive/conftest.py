"""A server, films in it, and archives that have little patience."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cxrzero.archive import archives as module
from cxrzero.archive.limits import Limits
from tests.archive.webserver import Held, Server, serving
from tests.support import needs
from tests.support.certificates import make_certificates
from tests.support.dicomfile import dicom_bytes
from tests.support.pictures import picture

needs.modules("dicomweb_client", "pynetdicom", "requests")

DX = "1.2.840.10008.5.1.4.1.1.1.1"
QUICK = Limits(tries=3, wait_s=0.01, longest_wait_s=0.2, failures=4, object_bytes=2**20, page=3)
# Where nobody answers in time.
IMPATIENT = replace(QUICK, read_s=0.3, whole_s=0.5)


@pytest.fixture(autouse=True)
def no_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's login, proxy or certificates come from outside of a test."""
    for name in ("USER", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"CXRZERO_DICOMWEB_{name}", raising=False)
    for name in ("CXRZERO_CA_FILE", "NETRC", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Limits:
    """What archives have that are opened meanwhile, by commands too."""
    monkeypatch.setattr(module, "Limits", lambda: QUICK)
    return QUICK


@pytest.fixture
def web() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def certified(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """What a server on loopback shows, and the file by which that is found to be true."""
    folder = make_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "node.pem", folder / "node.key")
    return context, folder / "ca.pem"


def held(number: int, study: int = 1, series: int = 1, modality: str = "DX") -> Held:
    """A drawn film of its own content and UIDs; nobody may hear of its patient, who is called SECRET."""
    uids = f"1.2.{study}", f"1.2.{study}.{series}", f"1.2.{study}.{series}.{number}"
    content = dicom_bytes(
        picture(100 * study + 10 * series + number, (64, 48)), Modality=modality, SOPClassUID=DX,
        StudyInstanceUID=uids[0], SeriesInstanceUID=uids[1], SOPInstanceUID=uids[2],
    )  # fmt: skip
    return Held(*uids, content, modality)
