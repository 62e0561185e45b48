"""An archive that speaks DIMSE: lists by C-FIND, objects by C-GET, which come back over the same connection (PS3.4, C).

Nothing listens here, as C-MOVE would need. What the peer claims is believed no further than it has sent: pynetdicom
would reserve memory for any length, and wait for a trickle without end.
"""

from __future__ import annotations

import queue
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from cxrzero.archive.address import Address
from cxrzero.archive.limits import Limits, Patience, TransientError
from cxrzero.archive.service import Instance, Series
from cxrzero.errors import ArchiveError, ConfigError, ImageError, MissingExtraError
from cxrzero.images.dicom import CR_STORAGE, DX_FOR_PRESENTATION, DX_FOR_PROCESSING, SECONDARY_CAPTURE
from cxrzero.images.dicom_file import text
from cxrzero.images.quiet import ignore_warnings_of

T = TypeVar("T")

FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root Query/Retrieve Information Model
GET = "1.2.840.10008.5.1.4.1.2.2.3"
# Each pair of a class and a syntax is a proposal of its own, so that an archive sends objects as it stores them; an
# association has 128 (PS3.8, 9.3.2.2). The order is of no meaning.
CLASSES = (CR_STORAGE, DX_FOR_PRESENTATION, DX_FOR_PROCESSING, SECONDARY_CAPTURE)
SYNTAXES = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203",
)  # fmt: skip
# Secondary captures of several frames are rare; of them the usual syntaxes.
MULTI_FRAME = tuple(f"{SECONDARY_CAPTURE}.{number}" for number in range(1, 5))
USUAL = tuple(SYNTAXES[number] for number in (0, 1, 4, 5, 8, 11))
MOST_PDU_BYTES = 2**20
OWN_PDU_BYTES = 2**17  # what a PDU of the archive may have, of which more take time and fewer take more of it
# PS3.4, C.4.1.1.4 and C.4.3.1.4, and PS3.7, annex C.
SUCCESS, PENDING, UNSUPPORTED_KEYS, REFUSED_TITLES = 0x0000, 0xFF00, 0xFF01, 0x0124
NO_SUCH_INSTANCE = 0xC000
OUT_OF_RESOURCES = 0xA7  # its upper half


class Dimse:
    """See `cxrzero.archive.service.Service`. Connections are kept for the next request, and closed when idle.

    Args:
        title: our AE title.
        ca_file: certificates by which an encrypted connection's is checked; None takes the system's.

    Raises:
        MissingExtraError: pynetdicom is not installed.
        ConfigError: `ca_file` or `title` cannot be used.
    """

    def __init__(
        self, address: Address, title: str, limits: Limits, stop: threading.Event, ca_file: str | None = None
    ) -> None:
        try:
            from pynetdicom import AE
        except ImportError:
            raise MissingExtraError("pynetdicom", "pacs") from None
        ignore_warnings_of("pynetdicom")
        self._address, self._limits, self._ca_file = address, limits, ca_file
        self._patience = Patience(limits, str(address.service), stop)
        try:
            self._entity: Any = AE(ae_title=title)
        except (ValueError, TypeError):
            raise ConfigError("--calling-title has 1 to 16 plain characters, without backslashes") from None
        self._entity.maximum_pdu_size = OWN_PDU_BYTES
        self._entity.connection_timeout = self._entity.acse_timeout = limits.connect_s
        self._entity.dimse_timeout = self._entity.network_timeout = limits.read_s
        self._tls = _tls(ca_file) if address.is_encrypted else None
        self._idle: queue.LifoQueue[_Connection] = queue.LifoQueue()

    def studies(self, keys: Mapping[str, str]) -> Collection[str]:
        found = self._find("STUDY", keys, ("StudyInstanceUID",))
        return dict.fromkeys(text(each, "StudyInstanceUID") for each in found)

    def series(self, study: str, keys: Mapping[str, str]) -> list[Series]:
        wanted = ("SeriesInstanceUID", "Modality", "NumberOfSeriesRelatedInstances")
        found = self._find("SERIES", {**keys, "StudyInstanceUID": study}, wanted)
        return [
            Series(text(each, "SeriesInstanceUID"), text(each, "Modality"), _count(each, wanted[2])) for each in found
        ]

    def instances(self, study: str, series: str, keys: Mapping[str, str]) -> Iterator[Instance]:
        place = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
        for each in self._find("IMAGE", {**keys, **place}, ("SOPInstanceUID", "SOPClassUID")):
            yield Instance(text(each, "SOPInstanceUID"), text(each, "SOPClassUID"))

    def fetch(self, study: str, series: str, instance: str) -> bytes:
        keys = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": instance}
        identifier = _identifier("IMAGE", keys)
        return self._with_connection(lambda connection: connection.get(identifier, instance))

    def close(self) -> None:
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

    def _find(self, level: str, keys: Mapping[str, str], wanted: Collection[str]) -> list[Any]:
        identifier = _identifier(level, {**dict.fromkeys(wanted, ""), **keys})
        return self._with_connection(lambda connection: connection.find(identifier))

    def _with_connection(self, work: Callable[[_Connection], T]) -> T:
        def once() -> T:
            with self._connection() as connection:
                return work(connection)

        return self._patience(once)

    @contextmanager
    def _connection(self) -> Iterator[_Connection]:
        """One that nobody uses; it is kept if all went well."""
        connection = self._idle_connection() or _Connection(self._entity, self._address, self._tls, self._limits)
        try:
            yield connection
        except BaseException:
            connection.abort()
            raise
        self._idle.put(connection)

    def _idle_connection(self) -> _Connection | None:
        while True:
            try:
                connection = self._idle.get_nowait()
            except queue.Empty:
                return None
            if connection.is_open:
                return connection


class _Connection:
    """One association; one request at a time.

    Raises:
        TransientError: nobody answers.
        ImageError: the archive refuses us.
        ArchiveError: it does not offer what is needed.
    """

    def __init__(self, entity: Any, address: Address, tls: ssl.SSLContext | None, limits: Limits) -> None:
        from pynetdicom import build_role, evt

        self._limits = limits
        self._meter = _Meter(limits)
        self._received: list[Any] = []
        self._wanted = ""
        host = address.host.strip("[]")
        self._association: Any = entity.associate(
            host,
            address.port,
            contexts=_contexts(),
            ae_title=address.base,
            ext_neg=[build_role(each, scp_role=True) for each in (*CLASSES, *MULTI_FRAME)],
            evt_handlers=[(evt.EVT_CONN_OPEN, self._on_open), (evt.EVT_C_STORE, self._on_store)],
            tls_args=(tls, host) if tls else None,
        )
        if not self._association.is_established:
            self._meter.close()
        if self._association.is_rejected:
            raise ImageError(
                "archive_refused",
                "the archive refuses the association; it may not know our AE title (--calling-title), or have another "
                "than the address states",
            )
        if not self._association.is_established:
            certificate = ", or its certificate cannot be verified (--ca-file)" if tls else ""
            raise _absence(f"there is no connection to the archive{certificate}")
        accepted = {each.abstract_syntax for each in self._association.accepted_contexts}
        if missing := [name for name, uid in (("C-FIND", FIND), ("C-GET", GET)) if uid not in accepted]:
            self.abort()
            raise ArchiveError(
                f"the archive does not offer {' and '.join(missing)} of the Study Root model. C-MOVE is not used: have "
                "the archive send its films to cxrzero listen, or ask it for DICOMweb"
            )

    @property
    def is_open(self) -> bool:
        return bool(self._association.is_established)

    def find(self, identifier: Any) -> list[Any]:
        """The identifiers of all matches."""
        found: list[Any] = []
        self._meter.begin(self._limits.listing_bytes * 8)
        for status, match in self._answers(self._association.send_c_find, identifier, FIND):
            if status in (PENDING, UNSUPPORTED_KEYS) and match is not None:
                found.append(match)
                if len(found) > self._limits.studies:
                    raise ArchiveError(f"more than {self._limits.studies:,} results; ask for fewer with --query")
            elif status != SUCCESS:
                raise _refusal(status, "the list")
        return found

    def get(self, identifier: Any, instance: str) -> bytes:
        """The one object that has this UID."""
        self._received, self._wanted = [], instance
        self._meter.begin(self._limits.object_bytes)
        last = SUCCESS
        for status, _ in self._answers(self._association.send_c_get, identifier, GET):
            last = status
        received, self._received = self._received, []
        if len(received) == 1 and received[0] is not None:
            return bytes(received[0])
        if received:
            raise ImageError("other_instance", "the archive sends another object than was asked for")
        if last == SUCCESS:
            raise ImageError("not_in_archive", "the archive does not have it")
        raise _refusal(last, "the object")

    def close(self) -> None:
        if self.is_open:
            self._association.release()
        self._meter.close()

    def abort(self) -> None:
        self._association.abort()
        self._meter.close()

    def _answers(self, send: Callable[..., Any], identifier: Any, model: str) -> Iterator[tuple[int, Any]]:
        try:
            for status, match in send(identifier, model):
                if "Status" not in status:  # how pynetdicom says that nothing came, or nonsense
                    raise self._broken_off()
                yield int(status.Status), match
        except (RuntimeError, ValueError):
            raise self._broken_off() from None

    def _broken_off(self) -> ImageError:
        if self._meter.is_exceeded:
            return ImageError("file_too_large", "the archive sends more than is taken; refused")
        return _absence("the archive broke off, or does not go on with its answer")

    def _on_open(self, event: Any) -> None:
        self._meter.attach(event.assoc.dul.socket)

    def _on_store(self, event: Any) -> int:
        """Take what was asked for; None stands for anything else."""
        is_wanted = str(event.request.AffectedSOPInstanceUID) == self._wanted and not self._received
        self._received.append(event.encoded_dataset() if is_wanted else None)
        return SUCCESS if is_wanted else NO_SUCH_INSTANCE


class _Meter:
    """Reads for a connection, no more than a request may bring and no longer than one may take.

    Attributes:
        is_exceeded: whether more was sent.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._line: Any = None
        self.is_exceeded = False
        self.begin(MOST_PDU_BYTES)

    def begin(self, most_bytes: int) -> None:
        self._left = most_bytes + MOST_PDU_BYTES  # what is around them
        self._end = time.monotonic() + self._limits.whole_s

    def attach(self, carrier: Any) -> None:
        """Read in place of a pynetdicom AssociationSocket, whose `recv` this is."""
        self._line = carrier.socket
        carrier.recv = lambda count: self._recv(carrier.socket, count)

    def close(self) -> None:
        """pynetdicom leaves the socket of a connection that broke to the garbage collector."""
        if self._line is not None:
            self._line.close()

    def _recv(self, line: Any, count: int) -> bytearray:
        """Raises OSError, on which pynetdicom ends the connection."""
        self._left -= count
        if count > MOST_PDU_BYTES or self._left < 0:
            self.is_exceeded = True
            raise OSError("more than is taken")
        read = bytearray()
        end = min(self._end, time.monotonic() + self._limits.read_s)
        before = line.gettimeout()
        try:
            while len(read) < count:
                line.settimeout(max(0.001, end - time.monotonic()))
                if not (some := line.recv(count - len(read))):
                    break
                read += some
        finally:
            line.settimeout(before)
        return read


def _contexts() -> list[Any]:
    from pynetdicom import build_context

    pairs = [(each, syntax) for each in CLASSES for syntax in SYNTAXES]
    pairs += [(each, syntax) for each in MULTI_FRAME for syntax in USUAL]
    return [*(build_context(model) for model in (FIND, GET)), *(build_context(*pair) for pair in pairs)]


def _identifier(level: str, keys: Mapping[str, str]) -> Any:
    from pydicom.datadict import dictionary_VR
    from pydicom.dataset import Dataset

    dataset = Dataset()
    dataset.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        # A list of UIDs (PS3.4, C.2.2.2.2) has backslashes here, and commas in DICOMweb.
        listed = value.replace(",", "\\") if dictionary_VR(keyword) == "UI" else value
        try:
            setattr(dataset, keyword, listed)
        except (TypeError, ValueError):
            raise ConfigError(f"--query: {keyword} cannot have this value") from None
        if not value.isascii():
            dataset.SpecificCharacterSet = "ISO_IR 192"
    return dataset


def _count(found: Any, keyword: str) -> int | None:
    try:
        return max(0, int(found.get(keyword)))
    except (TypeError, ValueError):
        return None


def _tls(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise ConfigError(f"--ca-file {ca_file} cannot be read, or has no certificate (PEM) in it") from None


def _refusal(status: int, what: str) -> ImageError:
    if status == REFUSED_TITLES:
        return ImageError("archive_refused", "the archive refuses (not authorised)")
    kind = TransientError if status >> 8 == OUT_OF_RESOURCES else ImageError
    return kind("archive_error", f"the archive does not send {what} (DIMSE status {status:04X})")


def _absence(message: str) -> TransientError:
    return TransientError("archive_error", message, is_absence=True)
