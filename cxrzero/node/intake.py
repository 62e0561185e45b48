"""How an object becomes the node's: whole on disk, then a row of the queue, then whoever brought it is told.

The receiver and the watched folder both end here.
"""

from __future__ import annotations

import threading

from cxrzero.errors import ImageError
from cxrzero.node.config import NodeConfig
from cxrzero.node.identity import Identity, identity_of_file
from cxrzero.node.objects import NewObject, Objects
from cxrzero.node.queue import Queue

MIB = 1024 * 1024


class OtherContentError(Exception):
    """The same SOP Instance UID was received before, with another content."""


class Intake:
    """What a node takes in.

    Args:
        config: its limits.
        objects: where files go.
        queue: where they are noted.
    """

    def __init__(self, config: NodeConfig, objects: Objects, queue: Queue) -> None:
        self._limits = config.limits
        self._objects = objects
        self._queue = queue
        # A file and its row are seen together: no other thread deletes one that it has just found unneeded.
        self._taking = threading.Lock()

    @property
    def max_bytes(self) -> int:
        """Of one object."""
        return self._limits.object_mb * MIB

    def lack(self, size: int = 0) -> str:
        """What there is no room for now, in a few words; "" where there is.

        Args:
            size: of what is to come, if it is known.
        """
        if self._objects.free_bytes() - size < self._limits.free_disk_mb * MIB:
            return "the disk is full"
        if self._queue.waiting() >= self._limits.waiting:
            return "the queue is full"
        return ""

    def begin(self) -> NewObject:
        """Begin an object; `take` or discard it. Raises OSError."""
        return self._objects.begin()

    def take(self, new: NewObject, identity: Identity, source: str = "") -> bool:
        """Make an object the node's own, for good once this returns; `new` was finished before.

        Args:
            identity: what it says it is.
            source: where it was found, if it was not sent.

        Returns:
            Whether it is new. What is known, by SOP Instance UID and content, is kept no second time, and so is an
            instance in another transfer syntax: in that it is the same (PS3.5, 10).

        Raises:
            OtherContentError: its UID is known with another content in the same transfer syntax.
            OSError, WriteError: it cannot be kept now.
        """
        with self._taking:
            uid = identity.sop_instance_uid
            if uid and (others := self._queue.other_syntaxes(uid, new.name)):
                if identity.transfer_syntax in others:
                    raise OtherContentError
                return False
            is_new_file = new.commit()
            is_new = self._note(new.name, identity, new.size, source)
            if not is_new and is_new_file:  # it was here, was delivered and deleted
                self._objects.delete(new.name)
            return is_new

    def recover(self) -> tuple[int, int]:
        """Bring files and rows together after a node that was killed; (files entered, rows whose file is gone).

        To be called before anything else is, while no other node runs here.
        """
        self._objects.clean()
        there = set(self._objects.names())
        lost = [each for each in self._queue.stored() if each.file not in there]
        self._queue.lost(lost)
        entered = sum(self._enter(name) for name in there if not self._queue.needs(name))
        return entered, len(lost)

    def _enter(self, name: str) -> bool:
        """Note a file without a row, or delete it: nobody was told that it is here, so it comes again."""
        path = self._objects.path(name)
        try:
            identity = identity_of_file(path)
        except ImageError:
            identity = Identity()
        # Without a UID it is of the watched folder, where it still is, with its name.
        is_new = bool(identity.sop_instance_uid) and self._note(name, identity, path.stat().st_size)
        if not is_new:
            self._objects.delete(name)
        return is_new

    def _note(self, name: str, identity: Identity, size: int, source: str = "") -> bool:
        return self._queue.received(
            name,
            identity.study_instance_uid,
            identity.series_instance_uid,
            identity.sop_instance_uid,
            identity.sop_class_uid,
            identity.transfer_syntax,
            size,
            name,
            source,
        )
