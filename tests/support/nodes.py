"""A node's receiving half in the test's own process, and callers that say what a test wants them to say."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.transport import AssociationSocket

from cxrzero.node.config import Limits, NodeConfig, Timeouts
from cxrzero.node.intake import Intake
from cxrzero.node.objects import Objects
from cxrzero.node.queue import Object, Queue
from cxrzero.node.receive import STORAGE_CLASSES, VERIFICATION, Receiver
from tests.support.dicomfile import CR_STORAGE, SYNTAXES, dicom_bytes

CALLER = "MODALITY"


def _shut(self: AssociationSocket) -> None:
    """What pynetdicom's own does, and the socket is closed where it could not be shut down."""
    with suppress(OSError, AttributeError):
        self.socket.shutdown(socket.SHUT_RDWR)
    if self.socket is not None:
        self.socket.close()


AssociationSocket._shutdown_socket = _shut


@dataclass
class Node:
    """What a test looks at."""

    config: NodeConfig
    queue: Queue
    objects: Objects
    intake: Intake
    receiver: Receiver
    said: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.receiver.port

    @property
    def connections(self) -> int:
        """Connections that are not over."""
        return int(self.receiver._server._connections)

    def files(self) -> list[Path]:
        """Everything in the folder of objects, complete or not."""
        return sorted(self.config.objects.iterdir())

    def received(self) -> list[Object]:
        return self.queue.stored()


@contextmanager
def receiving(folder: Path, **settings: Any) -> Iterator[Node]:
    """A receiver on a free port of loopback; `limits` and `timeouts` are given as mappings."""
    limits = replace(Limits(free_disk_mb=0), **settings.pop("limits", {}))
    timeouts = replace(Timeouts(association=5, idle=5, stop=5), **settings.pop("timeouts", {}))
    config = NodeConfig(state=folder / "node", port=0, limits=limits, timeouts=timeouts, **settings)
    said: list[str] = []
    with Queue(config.state) as queue:
        objects = Objects(config.objects)
        intake = Intake(config, objects, queue)
        receiver = Receiver(config, intake, said.append)
        receiver.start()
        try:
            yield Node(config, queue, objects, intake, receiver, said)
        finally:
            receiver.stop()
    assert not [thread.name for thread in threading.enumerate() if "Acceptor" in thread.name]


def data_set(content: bytes) -> bytes:
    """A file's data set: what follows its meta information, of which the first element states the length."""
    return content[144 + int.from_bytes(content[140:144], "little") :]


def film(number: int = 1, syntax: str = "explicit", value: int = 1, side: int = 32, **attributes: Any) -> bytes:
    """A small file of DICOM that is an instance of its own."""
    bits = 8 if syntax == "jpeg_baseline" else 12
    pixels = np.full((side, side), value, np.uint8 if bits == 8 else np.uint16)
    uids = {"SOPInstanceUID": f"2.25.1.{number}", "StudyInstanceUID": f"2.25.2.{number}"}
    return dicom_bytes(pixels, syntax, **{**uids, "BitsStored": bits, **attributes})


class Caller:
    """An association with a node; closed at the end of a `with`."""

    def __init__(
        self,
        node: Node,
        *,
        title: str = CALLER,
        called: str = "CXRZERO",
        syntax: str = "explicit",
        classes: Any = STORAGE_CLASSES,
        **options: Any,
    ) -> None:
        entity = AE(title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
        entity.add_requested_context(VERIFICATION)
        for sop_class in classes:
            entity.add_requested_context(sop_class, SYNTAXES[syntax])
        self.association = entity.associate("127.0.0.1", node.port, ae_title=called, **options)

    def __enter__(self) -> Caller:
        assert self.association.is_established
        return self

    def __exit__(self, *_: object) -> None:
        if self.association.is_established:
            self.association.release()
        else:
            self.association.abort()

    @property
    def wire(self) -> socket.socket:
        found: socket.socket = self.association.dul.socket.socket
        return found

    @property
    def is_cut(self) -> bool:
        """Whether the node has ended the association."""
        return not (self.association.is_established and self.association.dul.is_alive())

    def echo(self) -> int:
        return int(self.association.send_c_echo().Status)

    def store(
        self, content: bytes, number: int = 1, sop_class: str = CR_STORAGE, instance: str | None = None
    ) -> tuple[int, str]:
        """Send the data set of a file as this instance of this class; (status, comment), (−1, "") without an answer."""
        self.request(content, number, sop_class, instance)
        _, answer = self.association.dimse.get_msg(block=True)
        return (-1, "") if answer is None else (int(answer.Status), str(answer.ErrorComment or ""))

    def request(
        self, content: bytes, number: int = 1, sop_class: str = CR_STORAGE, instance: str | None = None
    ) -> None:
        """As `store`, without waiting for the answer."""
        request = C_STORE()
        request.MessageID, request.Priority = 1, 2
        request.AffectedSOPClassUID = sop_class
        request.AffectedSOPInstanceUID = instance or f"2.25.1.{number}"
        request.DataSet = BytesIO(data_set(content))
        contexts = {str(each.abstract_syntax): each.context_id for each in self.association.accepted_contexts}
        self.association._reactor_checkpoint.clear()  # answers are the test's
        self.association.dimse.send_msg(request, contexts.get(sop_class) or contexts[CR_STORAGE])
