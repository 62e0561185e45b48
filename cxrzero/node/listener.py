"""A node from its start to its end: what was in hand is brought in order, then films come in and are worked on."""

from __future__ import annotations

import threading
from contextlib import ExitStack

from cxrzero.choices import Notify
from cxrzero.display.counts import counted
from cxrzero.errors import OutputError, RunError
from cxrzero.files import make_private, open_locked
from cxrzero.node.config import NodeConfig
from cxrzero.node.intake import Intake
from cxrzero.node.objects import Objects
from cxrzero.node.queue import Queue
from cxrzero.node.receive import Receiver
from cxrzero.node.remarks import Remarks
from cxrzero.node.status import status_of_queue
from cxrzero.node.statuspage import StatusServer
from cxrzero.node.watch import Watch
from cxrzero.node.work import run as work

LOCK = "node.lock"


def listen(config: NodeConfig, stop: threading.Event, notify: Notify) -> None:
    """Run a node until `stop` is set; what is in hand is finished first.

    Args:
        notify: told when the node is ready, and what goes wrong.

    Raises:
        RunError: another node uses the state folder, or the port is taken.
        CxrzeroError: what else keeps it from running: the model, the database, the configuration's files.
    """
    with ExitStack() as stack:
        make_private(config.state)
        stack.enter_context(_only_node_of(config))
        queue = stack.enter_context(Queue(config.state))
        intake = Intake(config, Objects(config.objects), queue)
        entered, lost = intake.recover()
        if entered or lost:
            notify(f"after an end that was not clean: {counted(entered, 'object')} entered, {lost:,} lost")
        if config.status.port:
            status = stack.enter_context(
                StatusServer(config.status.address, config.status.port, lambda: status_of_queue(queue))
            )
            notify(f"status page: http://{_host(config.status.address)}:{status.port}/")
        doors = Doors(config, intake, queue, Remarks(notify), stop)

        def ready(text: str) -> None:
            for line in (*text.splitlines(), doors.open()):
                notify(line)

        try:
            work(config, queue, stop, notify, ready)
        finally:
            stop.set()
            doors.close()


class Doors:
    """Where films come in: the DICOM service and the watched folder, in threads of their own.

    Both are closed as soon as `stop` is set.
    """

    def __init__(self, config: NodeConfig, intake: Intake, queue: Queue, notify: Notify, stop: threading.Event) -> None:
        self._config, self._stop, self._is_open = config, stop, False
        self._receiver = Receiver(config, intake, notify) if config.ae_title else None
        watch = Watch(config, intake, queue.durable, notify) if config.watch else None
        self._threads = [threading.Thread(target=self._close_receiver, name="closing")] if self._receiver else []
        if watch:
            self._threads.append(threading.Thread(target=watch.run, args=(stop,), name="watch"))

    def open(self) -> str:
        """Begin; says where."""
        where = []
        self._is_open = True
        if self._receiver:
            self._receiver.start()
            where.append(f"{self._config.ae_title} listens on {self._config.address} port {self._receiver.port}")
        if self._config.watch:
            where.append(f"{self._config.watch} is watched")
        for thread in self._threads:
            thread.start()
        return "; ".join(where)

    def close(self) -> None:
        """Wait until both are closed; `stop` is set."""
        for thread in self._threads:
            if thread.ident:
                thread.join()
        if self._receiver and not self._is_open:
            self._receiver.stop()

    def _close_receiver(self) -> None:
        self._stop.wait()
        assert self._receiver
        self._receiver.stop()


def _host(address: str) -> str:
    """An address as a URL has it."""
    return f"[{address}]" if ":" in address else address


def _only_node_of(config: NodeConfig) -> ExitStack:
    """The lock on the state folder, held until it is closed.

    Raises:
        RunError: another node has it.
    """
    stack = ExitStack()
    try:
        stack.enter_context(open_locked(config.state / LOCK, mode=0o600))
    except BlockingIOError:
        raise RunError(f"another node runs with the state folder {config.state}; one is enough for it") from None
    except OSError as error:
        raise OutputError(f"the state folder {config.state} cannot be used: {error.strerror}") from error
    return stack
