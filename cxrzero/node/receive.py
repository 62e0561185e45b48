"""The DICOM service of a node: C-ECHO, and C-STORE of what a chest radiograph can be (docs/conformance.md).

An object is written whole, and its row is on disk, before success is answered; its pixels are not looked at.
"""

from __future__ import annotations

import ssl
import threading
from typing import Any

from pydicom.dataset import Dataset

from cxrzero.choices import Notify
from cxrzero.display.visible import visible
from cxrzero.errors import ConfigError, CxrzeroError, ImageError, MissingExtraError, RunError
from cxrzero.images.dicom_frames import TRANSFER_SYNTAXES
from cxrzero.images.quiet import ignore_warnings_of
from cxrzero.node.config import NodeConfig, Tls
from cxrzero.node.identity import Identity, identity_of_file
from cxrzero.node.incoming import (
    CANNOT_UNDERSTAND,
    IMPLEMENTATION_CLASS,
    IMPLEMENTATION_VERSION,
    OTHER_CONTENT,
    OTHER_SOP_CLASS,
    OUT_OF_RESOURCES,
    SUCCESS,
    Answer,
    Incoming,
)
from cxrzero.node.intake import Intake, OtherContentError

# PS3.4, B.5: Computed Radiography, Digital X-Ray for presentation and for processing, Secondary Capture.
STORAGE_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.7",
)
VERIFICATION = "1.2.840.10008.1.1"
# How soon the end is noticed.
POLL_S = 0.1
UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2")


class Receiver:
    """Listens until it is stopped.

    Args:
        config: the node's.
        intake: where objects go.
        notify: told of who and what was refused.

    Attributes:
        port: that it listens on.

    Raises:
        MissingExtraError: pynetdicom is not installed.
        ConfigError: the files of [tls] cannot be used.
        RunError: the port cannot be listened on.
    """

    def __init__(self, config: NodeConfig, intake: Intake, notify: Notify) -> None:
        try:
            from pynetdicom import AE, _config, evt

            from cxrzero.node.connection import PDU_BYTES, Server
        except ImportError as error:
            raise MissingExtraError("pynetdicom", "pacs") from error
        _config.LOG_HANDLER_LEVEL = "none"  # what it logs may quote what a peer sends
        ignore_warnings_of("pynetdicom")
        ignore_warnings_of("pydicom")
        self._config, self._intake, self._notify = config, intake, notify
        entity = AE(config.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(config.callers)
        entity.maximum_associations = config.limits.associations
        entity.maximum_pdu_size = PDU_BYTES
        entity.acse_timeout = config.timeouts.association
        entity.dimse_timeout = entity.network_timeout = config.timeouts.idle
        entity.implementation_class_uid = IMPLEMENTATION_CLASS
        entity.implementation_version_name = IMPLEMENTATION_VERSION
        for sop_class in STORAGE_CLASSES:
            entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
        entity.add_supported_context(VERIFICATION, list(UNCOMPRESSED))
        made = {
            "ae": entity,
            "address": (config.address, config.port),
            "ae_title": config.ae_title,
            "contexts": entity.supported_contexts,
            "evt_handlers": [(evt.EVT_C_STORE, self._store), (evt.EVT_REJECTED, self._say_rejected)],
        }
        tls = tls_context(config.tls) if config.tls else None
        try:
            self._server = Server(made, tls, config.limits.associations, config.timeouts, intake, notify)
        except OSError as error:
            raise RunError(f"{config.address} port {config.port} cannot be listened on: {error.strerror}") from error
        accept = self._server.serve_forever
        self._thread = threading.Thread(target=accept, args=(POLL_S,), name="receiver", daemon=True)
        self.port: int = self._server.server_address[1]

    def start(self) -> None:
        """Begin to accept callers."""
        self._thread.start()

    def stop(self) -> None:
        """Accept nobody any more and answer what is in hand, within the seconds that [timeouts] has for it."""
        if self._thread.ident:
            self._server.stop(self._config.timeouts.stop)
        else:
            self._server.close()

    def _store(self, event: Any) -> Dataset:
        """Answer a C-STORE request."""
        event.assoc.dimse.is_handling = True
        incoming = event.request.DataSet
        try:
            answer = self._answer(incoming, Identity(
                sop_class_uid=str(event.request.AffectedSOPClassUID),
                sop_instance_uid=str(event.request.AffectedSOPInstanceUID),
                transfer_syntax=str(event.context.transfer_syntax),
            ), str(event.context.abstract_syntax))  # fmt: skip
        except (OSError, CxrzeroError):
            answer = Answer(OUT_OF_RESOURCES, "the object cannot be kept")
        finally:
            incoming.discard()
        if answer.comment:
            self._notify(f"{_caller(event.assoc)}: an object was not taken (0x{answer.status:04X}): {answer.comment}")
        status = Dataset()
        status.Status = answer.status
        if answer.comment:
            status.ErrorComment = answer.comment
        return status

    def _answer(self, incoming: Incoming, stated: Identity, context: str) -> Answer:
        """Take an object that has arrived, or say why not."""
        if incoming.answer:
            return incoming.answer
        if incoming.new is None:
            return Answer(CANNOT_UNDERSTAND, "the request has no data set")
        incoming.new.finish()
        try:
            found = identity_of_file(incoming.new.path)
        except ImageError:
            return Answer(CANNOT_UNDERSTAND, "the data set's header cannot be read")
        if not stated.sop_class_uid == found.sop_class_uid == context:
            return Answer(OTHER_SOP_CLASS, "the data set is of another SOP class than the request")
        if stated.sop_instance_uid != found.sop_instance_uid:
            return Answer(CANNOT_UNDERSTAND, "the data set is another instance than the request says")
        if not found.study_instance_uid:
            return Answer(CANNOT_UNDERSTAND, "the data set has no Study Instance UID")
        try:
            self._intake.take(incoming.new, found)
        except OtherContentError:
            return Answer(OTHER_CONTENT, "other content was received under this SOP Instance UID")
        return Answer(SUCCESS)

    def _say_rejected(self, event: Any) -> None:
        requested = event.assoc.requestor.primitive
        called = (requested.called_ae_title or "").strip()
        if called != self._config.ae_title:
            why = f"it calls {visible(called)!r}, which is not this node's title"
        elif self._config.callers and event.assoc.requestor.ae_title not in self._config.callers:
            why = "it is not among the callers of the configuration"
        else:
            why = "too many associations at once"
        self._notify(f"{_caller(event.assoc)} was refused: {why}")


def _caller(association: Any) -> str:
    """Who calls, as it says; an AE title is a machine's, and a peer's text."""
    return f"AE title {visible(association.requestor.ae_title or '')!r} at {association.requestor.address}"


def tls_context(tls: Tls) -> ssl.SSLContext:
    """What callers' connections are made with: TLS 1.2 or later, and of a caller a certificate where `ca` is given.

    Raises:
        ConfigError: a file cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_passphrase)
    except (OSError, ValueError) as error:
        raise ConfigError(f"[tls]: {tls.certificate} and {tls.key} cannot be used: {_why(error)}") from error
    if tls.ca:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(tls.ca)
        except OSError as error:
            raise ConfigError(f"[tls]: {tls.ca} cannot be used: {_why(error)}") from error
    return context


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")


def _why(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
