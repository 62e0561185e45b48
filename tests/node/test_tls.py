"""DICOM in TLS (PS3.15, B.12), with certificates that the test makes."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from cxrzero.errors import ConfigError
from cxrzero.node.config import Tls
from tests.support.certificates import make_certificates
from tests.support.needs import modules

modules("pynetdicom")

from cxrzero.node.receive import tls_context  # noqa: E402
from tests.support.nodes import Caller, film, receiving  # noqa: E402


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("tls"))


def calling(made: Path, name: str | None = None) -> dict[str, Any]:
    """What a caller needs to trust the node, and to show a certificate of its own."""
    context = ssl.create_default_context(cafile=made / "ca.pem")
    if name:
        context.load_cert_chain(made / f"{name}.pem", made / f"{name}.key")
    return {"tls_args": (context, "127.0.0.1")}


def test_an_object_comes_in_tls(made: Path, tmp_path: Path) -> None:
    with receiving(tmp_path, tls=Tls(made / "node.pem", made / "node.key")) as node:
        with Caller(node, **calling(made)) as caller:
            assert caller.wire.version() in ("TLSv1.2", "TLSv1.3")  # type: ignore[attr-defined]
            assert caller.store(film(side=500)) == (0x0000, "")
        assert len(node.received()) == 1


def test_without_tls_nobody_is_heard(made: Path, tmp_path: Path) -> None:
    tls = Tls(made / "node.pem", made / "node.key")
    with receiving(tmp_path, tls=tls, timeouts={"association": 1}) as node:
        assert not Caller(node).association.is_established
    assert [line.split(" (")[0] for line in node.said] == ["a caller was refused: no TLS connection"]


def test_a_caller_that_never_shakes_hands_holds_nobody_up(made: Path, tmp_path: Path) -> None:
    with (
        receiving(tmp_path, tls=Tls(made / "node.pem", made / "node.key"), timeouts={"association": 2}) as node,
        socket.create_connection(("127.0.0.1", node.port)) as silent,
        Caller(node, **calling(made)) as caller,
    ):
        assert caller.echo() == 0x0000
        silent.settimeout(20)
        assert silent.recv(1) == b"", "and is dropped in the end"


def test_a_certificate_is_required_of_callers_where_the_configuration_says_so(made: Path, tmp_path: Path) -> None:
    with receiving(tmp_path, tls=Tls(made / "node.pem", made / "node.key", ca=made / "ca.pem")) as node:
        assert not Caller(node, **calling(made)).association.is_established
        with Caller(node, **calling(made, "modality")) as caller:
            assert caller.echo() == 0x0000


def test_old_versions_are_not_spoken(made: Path) -> None:
    assert tls_context(Tls(made / "node.pem", made / "node.key")).minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("none.pem", "node.key", None), "No such file"),
        (("node.pem", "modality.key", None), "KEY_VALUES_MISMATCH"),
        (("node.pem", "locked.key", None), "the key has a passphrase"),
        (("node.pem", "node.key", "node.key"), "cannot be used"),
    ],
)
def test_files_that_cannot_be_used(made: Path, files: tuple[str | None, ...], message: str) -> None:
    certificate, key, ca = (name and made / name for name in files)
    with pytest.raises(ConfigError, match=message):
        tls_context(Tls(certificate, key, ca))  # type: ignore[arg-type]
