"""pynetdicom's server, bounded: how many connect, how long a peer may take, how much it may have us hold.

pynetdicom reads whatever length a PDU claims, waits for it without end, keeps messages in memory, shakes hands in TLS
before it accepts the next caller, measures time by a clock that somebody may set, and keeps an ended association's
socket until its objects are collected.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
from contextlib import suppress
from socketserver import BaseServer
from typing import Any

from pynetdicom import evt
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.timer import Timer
from pynetdicom.transport import AssociationServer, AssociationSocket, RequestHandler, ThreadedAssociationServer

from cxrzero.choices import Notify
from cxrzero.node.config import Timeouts
from cxrzero.node.incoming import Incoming
from cxrzero.node.intake import Intake

# What a peer is told to send at once (PS3.8, D.1); dcmtk's largest is as large.
PDU_BYTES = 128 * 1024
# More than any PDU has a reason to have: an association request of 128 contexts with all transfer syntaxes has 170 kB.
LONGEST_PDU = 1024 * 1024
# A command set has a dozen elements of at most 64 bytes.
COMMAND_BYTES = 16 * 1024
# No asynchronous operations are negotiated, so that one request waits at most; a peer that sends more is cut off.
REQUESTS_AHEAD = 2
# Connections beyond the associations, so that their callers can be told that there is no room.
CALLERS_AHEAD = 16

# A connection that is cut has so long to end.
SECONDS_TO_END = 2.0

INVALID = "Evt19"  # PS3.8, table 9-10: an invalid PDU came; the association is aborted


class SteadyTimer(Timer):
    """pynetdicom's timer by a clock that nobody sets."""

    _start_time: float | None
    _end_time: float | None

    @property
    def remaining(self) -> float:
        """Seconds left; 1 where it never expires."""
        if self.timeout is None or self._start_time is None:
            return 1 if self.timeout is None else self.timeout
        end = time.monotonic() if self._end_time is None else self._end_time
        return float(self.timeout - (end - self._start_time))

    def start(self) -> None:
        self._start_time, self._end_time = time.monotonic(), None

    def stop(self) -> None:
        self._end_time = time.monotonic()


class Socket(AssociationSocket):
    """A PDU comes as a whole in the time allowed, or the connection ends."""

    def recv(self, nr_bytes: int) -> bytearray:
        """Exactly so many bytes; fewer at the stream's end. Raises OSError."""
        if nr_bytes > LONGEST_PDU:
            raise OSError("the PDU is too long")
        seconds = self.assoc.network_timeout
        due = time.monotonic() + seconds
        data, got = bytearray(nr_bytes), 0
        with memoryview(data) as view:
            while got < nr_bytes:
                left = due - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self.socket.settimeout(left)
                count = self.socket.recv_into(view[got:])
                if not count:
                    break
                got += count
        self.socket.settimeout(seconds)  # of `send`
        del data[got:]
        return data


class Messages(DIMSEServiceProvider):
    """What an association has in hand; data sets go to files while they arrive.

    Attributes:
        is_handling: a request is being answered.
    """

    def __init__(self, association: Any, intake: Intake, seconds: float) -> None:
        super().__init__(association)
        self.message: Any
        self.is_handling = False
        self._intake, self._seconds = intake, seconds

    @property
    def is_busy(self) -> bool:
        return self.message is not None or self.is_handling or not self.msg_queue.empty()

    def receive_primitive(self, primitive: Any) -> None:
        """Take a part of a message."""
        if self.message is None:
            self.message = self._begin()
        message = self.message
        is_too_much = (
            self.msg_queue.qsize() >= REQUESTS_AHEAD
            or message.encoded_command_set.tell() > COMMAND_BYTES
            or message.data_set.is_overdue
        )
        try:
            if not is_too_much:
                super().receive_primitive(primitive)
                return
        # Whatever a broken command set leads to in pynetdicom and pydicom.
        except Exception:
            pass
        message.data_set.discard()
        self.dul.event_queue.put(INVALID)

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Answer."""
        super().send_msg(primitive, context_id)
        self.is_handling = False

    def close(self) -> None:
        """The association is over: leave nothing of what it had in hand."""
        if self.message is not None:
            self.message.data_set.discard()
        while not self.msg_queue.empty():
            data_set = getattr(self.msg_queue.get()[1], "DataSet", None)
            if isinstance(data_set, Incoming):
                data_set.discard()

    def _begin(self) -> Any:
        message = DIMSEMessage()
        accepted = self.assoc._accepted_cx

        def syntax() -> str:
            context = accepted.get(message.context_id)
            return str(context.transfer_syntax[0]) if context else ""

        message.data_set = Incoming(lambda: message.command_set, syntax, self._intake, self._seconds)
        return message


class Handler(RequestHandler):
    """One connection, from its first byte to its last."""

    request: Any

    def handle(self) -> None:
        server = self.server
        self.request.settimeout(server.timeouts.association)
        if server.tls:
            try:
                self.request = server.tls.wrap_socket(self.request, server_side=True)
            except OSError as error:  # ssl.SSLError is one
                reason = getattr(error, "reason", None) or type(error).__name__
                server.notify(f"a caller was refused: no TLS connection ({reason})")
                return
        messages = None
        try:
            association = self._create_association()
            messages = association.dimse
            evt.trigger(association, evt.EVT_CONN_OPEN, {"address": self.client_address})
            association.start()
            association.join()
        finally:
            if messages is not None:
                messages.close()
            server.shutdown_request(self.request)

    def _create_association(self) -> Any:
        association = super()._create_association()
        association.dul.artim_timer = SteadyTimer(association.acse_timeout)
        association.dul._idle_timer = SteadyTimer(association.network_timeout)
        association.dul.socket = None  # which `set_socket` wants; the one that it had has told of the connection
        events = association.dul.event_queue
        while not events.empty():
            events.get()
        association.set_socket(Socket(association, client_socket=self.request))
        association.dimse = Messages(association, self.server.intake, self.server.timeouts.object)
        association.bind(evt.EVT_CONN_CLOSE, _stop_waiting)
        return association


def _stop_waiting(event: Any) -> None:
    """A connection that ends before an association is asked for: it need not be waited for until the time is over."""
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)


class Server(ThreadedAssociationServer):
    """Accepts connections, each in a thread of its own, which does not keep the process from ending.

    Args:
        made: what pynetdicom's server takes, by name; see `cxrzero.node.receive`.
        tls: None where callers do not use it.
        associations: at once; who comes beyond is told so, who comes far beyond is cut off.
        notify: told of what goes wrong.
    """

    daemon_threads = True

    def __init__(
        self,
        made: dict[str, Any],
        tls: ssl.SSLContext | None,
        associations: int,
        timeouts: Timeouts,
        intake: Intake,
        notify: Notify,
    ) -> None:
        self.tls, self.timeouts, self.intake, self.notify = tls, timeouts, intake, notify
        self._most, self._connections, self._counting = associations + CALLERS_AHEAD, 0, threading.Lock()
        super().__init__(**made, request_handler=Handler)
        self.socket.listen(self._most)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for a connection."""
        with self._counting:
            return self._connections < self._most

    def process_request(self, request: Any, client_address: Any) -> None:
        """Have a thread serve it."""
        self._count(1)
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._count(-1)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._count(-1)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what no caller should bring about."""
        self.notify(f"a connection ended by a defect of cxrzero: {sys.exc_info()[0].__name__}")  # type: ignore[union-attr]

    def stop(self, seconds: float) -> None:
        """Accept nobody any more, have requests in hand answered, and end every association.

        Args:
            seconds: after these, connections are closed whatever is in hand; their callers send it again.
        """
        due = time.monotonic() + seconds
        BaseServer.shutdown(self)
        self.close()
        while self._connections and (left := due - time.monotonic()) > -SECONDS_TO_END:
            for association in self.active_associations:
                if left < 0 or not association.is_established:
                    _cut(association)
                elif not association.dimse.is_busy:
                    association.abort()
            time.sleep(0.02)

    def close(self) -> None:
        """Stop to listen."""
        AssociationServer.server_close(self)

    def _count(self, change: int) -> None:
        with self._counting:
            self._connections += change


def _cut(association: Any) -> None:
    """Close a connection whatever waits for it."""
    with suppress(AttributeError, OSError):  # it is closed
        association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
