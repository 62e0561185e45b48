"""An archive that speaks DICOMweb: lists by QIDO-RS, objects by WADO-RS (PS3.18).

`dicomweb_client` makes the requests for lists and reads the answers. Objects are asked for without it: it holds any
number of bytes, takes one that is cut off for whole, and gives it parsed, not as it is stored. No URL that an answer
names is ever asked; all are made from the user's address and from UIDs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from cxrzero.archive.address import Address
from cxrzero.archive.credentials import Login
from cxrzero.archive.http import Http
from cxrzero.archive.limits import Limits
from cxrzero.archive.multipart import object_in
from cxrzero.archive.service import Instance, Series
from cxrzero.errors import ArchiveError, ImageError, MissingExtraError
from cxrzero.images.quiet import ignore_warnings_of

# As it is stored; without "*" a server changes the transfer syntax to its default.
ACCEPT_OBJECT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
MODALITY, SOP_CLASS, SERIES_INSTANCES = "00080060", "00080016", "00201209"

Found = dict[str, Any]
# (limit=, offset=, search_filters=, fields=) → a page of results
Search = Callable[..., list[Found]]


def open_dicomweb(
    address: Address, login: Login | None, limits: Limits, stop: threading.Event, ca_file: str | None = None
) -> DicomWeb:
    """Get ready; nobody is asked yet.

    Raises:
        MissingExtraError: dicomweb-client is not installed.
        ConfigError: `ca_file` cannot be used.
    """
    try:
        import dicomweb_client.web  # noqa: F401
    except ImportError:
        raise MissingExtraError("dicomweb-client", "pacs") from None
    return DicomWeb(address, Http(address.url, login, limits, stop, ca_file), limits)


class DicomWeb:
    """See `cxrzero.archive.service.Service`."""

    def __init__(self, address: Address, http: Http, limits: Limits) -> None:
        from dicomweb_client.web import DICOMwebClient

        for package in ("dicomweb_client", "retrying"):  # whose logs quote addresses, and so what is asked for
            ignore_warnings_of(package)
        self._address, self._http, self._limits = address, http, limits
        self._client = DICOMwebClient(address.url, session=_Session(http, limits.listing_bytes))
        self._client.set_http_retry_params(retry=False)  # `Http` does that, and heeds Retry-After

    def studies(self, keys: Mapping[str, str]) -> Collection[str]:
        found: dict[str, None] = {}
        for each in self._pages(self._client.search_for_studies, STUDY, keys):
            found[_text(each, STUDY)] = None
            if len(found) > self._limits.studies:
                raise ArchiveError(f"--query finds more than {self._limits.studies:,} studies; ask for fewer at a time")
        return found

    def series(self, study: str, keys: Mapping[str, str]) -> list[Series]:
        def search(**wanted: Any) -> list[Found]:
            return list(self._client.search_for_series(study, **wanted))

        return [
            Series(_text(each, SERIES), _text(each, MODALITY), _number(each, SERIES_INSTANCES))
            for each in self._pages(search, SERIES, keys)
        ]

    def instances(self, study: str, series: str, keys: Mapping[str, str]) -> Iterator[Instance]:
        def search(**wanted: Any) -> list[Found]:
            return list(self._client.search_for_instances(study, series, **wanted))

        for each in self._pages(search, INSTANCE, keys):
            yield Instance(_text(each, INSTANCE), _text(each, SOP_CLASS))

    def fetch(self, study: str, series: str, instance: str) -> bytes:
        url = self._address.within(study, series, instance).url
        return self._http.get(url, ACCEPT_OBJECT, self._limits.object_bytes, _object_of)

    def close(self) -> None:
        self._http.close()

    def _pages(self, search: Search, uid: str, keys: Mapping[str, str]) -> Iterator[Found]:
        """All results, each once.

        A server may give fewer than it is asked for, so that a short page is not the last one: an empty page is. What
        comes in while pages are turned moves the others on, so that some are seen twice.
        """
        offset, before = 0, frozenset[str]()
        while page := self._page(search, keys, offset):
            here = frozenset(_text(each, uid) for each in page)
            if here == before:
                raise ArchiveError(
                    f"{self._address.service} gives the same page of results again (it does not know offset), so that "
                    f"what comes after the first {offset:,} is not found; ask for fewer at a time with --query"
                )
            seen = set(before)
            for each in page:
                if _text(each, uid) not in seen:
                    seen.add(_text(each, uid))
                    yield each
            offset, before = offset + len(page), here

    def _page(self, search: Search, keys: Mapping[str, str], offset: int) -> list[Found]:
        limit = self._limits.page
        try:
            page = search(limit=limit, offset=offset, search_filters=dict(keys) or None)
        except (ValueError, RecursionError):  # of JSON
            page = [None]  # type: ignore[list-item]
        if not isinstance(page, list) or not all(isinstance(each, dict) for each in page):
            raise ImageError("archive_error", "the archive's list is no DICOM JSON; is this the address of DICOMweb?")
        return page


class _Session:
    """What `dicomweb_client` uses of a `requests.Session`."""

    def __init__(self, http: Http, most_bytes: int) -> None:
        self._http, self._most_bytes = http, most_bytes

    def get(self, url: str, headers: Mapping[str, str], **_: Any) -> Any:
        """Of the client's headers only what it accepts: it states the host without its port."""
        return self._http.get(url, headers.get("Accept", "*/*"), self._most_bytes, lambda response: response)


def _object_of(response: Any) -> bytes:
    return object_in(response.content, response.headers.get("Content-Type", ""))


def _text(found: Found, tag: str) -> str:
    """The first value of an attribute (PS3.18, F.2.2); "" where it has none that is text."""
    element = found.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    first = values[0] if isinstance(values, list) and values else None
    return first.strip(" \0") if isinstance(first, str) else ""


def _number(found: Found, tag: str) -> int | None:
    element = found.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    first = values[0] if isinstance(values, list) and values else None
    text = str(first)  # some servers write numbers as texts
    return int(text) if text.isdecimal() and len(text) < 10 else None
