"""The archives that a command reads from: how they are asked, and their films.

Nothing is asked before `instances` or `decode` is called, and nobody but the services that `check` was told of.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cxrzero.archive.address import Address, kept_file, parse_address
from cxrzero.archive.credentials import Login, logins_for
from cxrzero.archive.limits import Limits
from cxrzero.archive.query import Query, parse_query
from cxrzero.choices import CALLING_TITLE, Notify, silent
from cxrzero.display.counts import counted, together
from cxrzero.errors import ImageError, UsageError
from cxrzero.files import WholeFile, cannot_write, make_private
from cxrzero.images.sniff import HEAD_BYTES, kind_of_bytes
from cxrzero.places.kind import kind_of_place

if TYPE_CHECKING:
    from cxrzero.archive.listing import Listed
    from cxrzero.archive.service import Service
    from cxrzero.images.codecs import DecodeFrame
    from cxrzero.images.radiograph import DecodeOptions, Facts, Radiograph

CA_FILE = "CXRZERO_CA_FILE"
# Instances that are listed and wait to be looked up in the cache.
LISTED_AHEAD = 1000


class Archives:
    """Archives by their addresses, see docs/archive.md. Logins come from the environment or a netrc file.

        >>> archives = Archives("ModalitiesInStudy=DX,StudyDate=20260101-")
        >>> with Screener(archives=archives) as screener:
        ...     rows = screener.predict("dicomweb+https://pacs.example/dicom-web")  # doctest: +SKIP

    Args:
        query: which studies of an archive; None where addresses name studies, series or instances.
        refetch: ask also for what the cache knows.
        keep: a folder for the files that are fetched; None keeps none.
        ca_file: certificates by which those of archives are checked; None takes CXRZERO_CA_FILE, else the usual ones.
        calling_title: our AE title.
        limits: of patience and size.
        notify: is told what there is to say before a run.

    Attributes:
        unfetched: instances that were listed and are not asked for, by their modality.
    """

    def __init__(
        self,
        query: str | Query | None = None,
        *,
        refetch: bool = False,
        keep: Path | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        calling_title: str = CALLING_TITLE,
        limits: Limits | None = None,
        notify: Notify = silent,
    ) -> None:
        self.query = parse_query(query) if isinstance(query, str) else query
        self.limits = limits or Limits()
        self.unfetched: Counter[str] = Counter()
        self._refetch, self._keep = refetch, keep
        self._ca_file = os.fspath(ca_file or os.environ.get(CA_FILE) or "") or None
        self._calling_title, self._notify = calling_title, notify
        self._places: dict[str, Address] = {}
        self._services: dict[str, Service] = {}
        self._stop = threading.Event()
        self._at_once = threading.Semaphore(self.limits.requests)

    def check(self, paths: Sequence[str]) -> None:
        """Get ready to ask those of these paths that are addresses; nobody is asked yet.

        Raises:
            UsageError: an address that is none, or names an archive without a query; a login that cannot be used.
            MissingExtraError: the library that speaks to it is not installed.
        """
        addresses = (path for path in paths if kind_of_place(path) == "archive")
        places = {str(place): place for place in map(parse_address, addresses)}
        if self.query is None and any(not place.study for place in places.values()):
            raise UsageError(
                'an archive is asked for some studies: add --query "ModalitiesInStudy=DX,StudyDate=20260101-20260131" '
                "(--query all for all of them), or the study to the address (…/studies/UID)"
            )
        if self._keep is not None and self._keep.exists() and not self._keep.is_dir():
            raise UsageError(f"--keep-files {self._keep} is no folder")
        self._places |= {str(place.service): place.service for place in places.values()}
        logins = logins_for([service for service in self._places.values() if service.is_dicomweb])
        for name, service in self._places.items():
            if name not in self._services:
                self._services[name] = self._open(service, logins.get(service))
                if not service.is_encrypted and not service.is_local:
                    self._notify(f"Note: {name} is asked without encryption: others can read films on their way.")

    def instances(self, path: str) -> Iterator[Listed]:
        """The instances at an address that may be scored, in order; see `cxrzero.archive.listing`.

        Raises:
            ArchiveError: the list of studies cannot be had.
        """
        from cxrzero.archive.ahead import read_ahead
        from cxrzero.archive.listing import instances_in

        place = parse_address(path)
        found = instances_in(self._service(place), place, self.query or Query(), self.unfetched)
        for listed in read_ahead(found, LISTED_AHEAD, self.hurried):
            if listed.error is not None:
                listed.error.facts = facts_of(listed.address)
            yield listed

    def left_out(self) -> str:
        """`unfetched` in words."""
        return together([f"{count:,} of {modality}" for modality, count in sorted(self.unfetched.items())])

    def is_wanted_anew(self, address: str) -> bool:
        """Whether an instance is fetched though the cache knows it."""
        return self._refetch or (self._keep is not None and not kept_file(self._keep, address).exists())

    def decode(
        self, path: str, options: DecodeOptions | None = None, decoder: DecodeFrame | None = None
    ) -> Iterator[Radiograph]:
        """Fetch an instance, and decode it from memory; safe to call from many threads.

        Raises:
            ImageError: it cannot be had, or not be decoded; see docs/images.md for the codes.
            ArchiveError: the archive does not answer any more.
        """
        from cxrzero.images import decode_content
        from cxrzero.images.radiograph import Facts

        place = parse_address(path)
        try:
            yield from decode_content(self._fetch(place), options, decoder)
        except ImageError as error:
            stated = error.facts or Facts()
            error.facts = tuple(one or other for one, other in zip(stated, facts_of(place), strict=True))
            raise

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Meanwhile, what waits or is being received ends."""
        self._stop.set()
        try:
            yield
        finally:
            self._stop.clear()

    def close(self) -> None:
        self._stop.set()
        for service in self._services.values():
            service.close()

    def _open(self, service: Address, login: Login | None) -> Service:
        if not service.is_dicomweb:
            from cxrzero.archive.dimse import Dimse

            return Dimse(service, self._calling_title, self.limits, self._stop, self._ca_file)
        from cxrzero.archive.dicomweb import open_dicomweb

        return open_dicomweb(service, login, self.limits, self._stop, self._ca_file)

    def _service(self, place: Address) -> Service:
        service = self._services.get(str(place.service))
        if service is None:
            raise UsageError("the archive of this address was not named")
        return service

    def _fetch(self, place: Address) -> bytes:
        with self._at_once:
            content = self._service(place).fetch(place.study, place.series, place.instance)
        _check_instance(content, place.instance)
        if self._keep is not None:
            _keep(kept_file(self._keep, str(place)), content)
        return content

    def __repr__(self) -> str:
        return f"<Archives: {counted(len(self._services), 'archive')} named>"

    def __bool__(self) -> bool:
        """Whether an archive is named at all."""
        return bool(self._services)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def facts_of(place: Address) -> Facts:
    """What an address tells of its row."""
    from cxrzero.images.radiograph import Facts

    return Facts(study_instance_uid=place.study, series_instance_uid=place.series, sop_instance_uid=place.instance)


def _check_instance(content: bytes, uid: str) -> None:
    """Raise ImageError unless it is the object with this SOP Instance UID."""
    from cxrzero.images.dicom_file import open_dicom, text

    if kind_of_bytes(content[:HEAD_BYTES]) != "dicom":
        raise ImageError("archive_error", "the archive sends something else than a DICOM object")
    with open_dicom(BytesIO(content)) as dicom:
        if text(dicom.header, "SOPInstanceUID") != uid:
            raise ImageError("other_instance", "the archive sends another object than was asked for")


def _keep(file: Path, content: bytes) -> None:
    make_private(file.parent)
    with WholeFile(file, private=True) as whole:
        try:
            whole.file.write(content)
            whole.commit()
        except OSError as error:
            raise cannot_write(file, error) from error
