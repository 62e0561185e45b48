"""Reports to a peer by C-STORE (PS3.4 Annex B), as its SCU."""

from __future__ import annotations

import ssl
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, build_context

from cxrzero.errors import ConfigError
from cxrzero.images.quiet import ignore_warnings_of
from cxrzero.node.config import Peer, PeerTls
from cxrzero.node.recipient import Answer, PeerDownError

# Seconds for a connection, and for each step of an association: a peer that is well needs a fraction.
CONNECT_S, ASSOCIATE_S = 10.0, 30.0


class StoreRecipient:
    """A storage SCP.

    Args:
        own_title: calling AE title.
        peer: where it is; its `timeout` bounds each answer, after which it counts as one that hangs.

    Raises:
        ConfigError: a file of [peer.tls] cannot be used.
    """

    def __init__(self, own_title: str, peer: Peer) -> None:
        _config.LOG_HANDLER_LEVEL = "none"  # what it logs may quote a report
        ignore_warnings_of("pynetdicom")
        self._ae = AE(ae_title=own_title or "CXRZERO")
        self._ae.connection_timeout = min(CONNECT_S, peer.timeout)
        self._ae.acse_timeout = min(ASSOCIATE_S, peer.timeout)
        self._ae.dimse_timeout = self._ae.network_timeout = peer.timeout
        # One context for each: the peer then cannot choose that the reports are converted, unless it takes no others.
        self._contexts = [
            build_context(Comprehensive3DSRStorage, syntax)
            for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
        ]
        self._peer = peer
        self._tls = (tls_context(peer.tls), peer.host) if peer.tls else None

    def send(self, paths: Sequence[Path]) -> Generator[Answer, None, None]:
        """Store reports over one association, see `cxrzero.node.recipient.Recipient`."""
        peer = self._peer
        association = self._ae.associate(
            peer.host, peer.port, self._contexts, ae_title=peer.ae_title, tls_args=self._tls
        )
        if not association.is_established:
            raise PeerDownError("peer_rejected" if association.is_rejected else "peer_unreachable")
        try:
            for path in paths:
                yield _store(association, path)
        finally:
            if association.is_established:
                association.release()


def tls_context(tls: PeerTls) -> ssl.SSLContext:
    """The peer must show a certificate of a known authority, in its own name; and may see ours.

    Raises:
        ConfigError: a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key, password=_no_passphrase)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"[peer.tls]: a file cannot be used ({error.strerror or type(error).__name__})") from error
    return context


def _no_passphrase() -> str:
    """Nobody is there to type it; an empty one fails, where none asks at the terminal."""
    return ""


def _store(association: Any, path: Path) -> Answer:
    try:
        status = association.send_c_store(dcmread(path))
    except ValueError:  # no presentation context was accepted for it
        return Answer(False, "sop_class_refused")
    except RuntimeError:  # the peer has ended the association meanwhile
        raise PeerDownError("peer_aborted") from None
    if "Status" not in status:  # no answer in time, one that makes no sense, or an abort
        association.abort()
        raise PeerDownError("peer_no_answer")
    return answer_of(status.Status)


def answer_of(status: int) -> Answer:
    """What a C-STORE status says (PS3.4 B.2.3, PS3.7 Annex C): one that warns is about a report that was stored."""
    if status == 0x0000:
        return Answer(True)
    is_warning = 0xB000 <= status <= 0xBFFF or status in (0x0001, 0x0107, 0x0116)
    return Answer(is_warning, f"status_{status:04x}")
