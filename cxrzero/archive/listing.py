"""What an archive holds of a query: studies, series, instances, each sorted by UID as text.

The UIDs of the studies are asked for first, all of them, so that the order is that of no server, and what comes in
during a long run moves nothing. Series and instances are asked for study by study, on the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from cxrzero.archive.address import Address, is_uid
from cxrzero.archive.query import Query
from cxrzero.archive.service import Series, Service
from cxrzero.errors import ArchiveError, ImageError, SkippedImage
from cxrzero.images.dicom import require_modality

LOGIN_HINT = "; a login belongs into CXRZERO_DICOMWEB_USER and CXRZERO_DICOMWEB_PASSWORD, or into a netrc file"


class Listed(NamedTuple):
    """One instance to be asked for, or the place of which the list could not be had."""

    address: Address
    error: ImageError | None = None


def instances_in(service: Service, place: Address, query: Query, unfetched: Counter[str]) -> Iterator[Listed]:
    """The instances at an address that may be scored, one by one.

    Args:
        place: names the archive, or a study, series or instance in it.
        unfetched: is told how many instances of which modality are not, since it is none that is scored.

    Raises:
        ArchiveError: the list of studies cannot be had.
    """
    if place.instance:
        yield Listed(place)
        return
    for study in _studies(service, place, query):
        if not is_uid(study):
            yield Listed(place, _no_uid("study"))
            continue
        try:
            keys = query.of_series | ({"SeriesInstanceUID": place.series} if place.series else {})
            found = sorted(set(service.series(study, keys)))
        except ImageError as error:
            yield Listed(place.service.within(study), error)
            continue
        for series in found:
            yield from _in_series(service, place.service.within(study), series, query, unfetched)


def _studies(service: Service, place: Address, query: Query) -> list[str]:
    if place.study and not query.of_studies:
        return [place.study]
    keys = query.of_studies | ({"StudyInstanceUID": place.study} if place.study else {})
    try:
        return sorted(set(service.studies(keys)))
    except ImageError as error:
        hint = LOGIN_HINT if error.code == "archive_refused" and place.is_dicomweb else ""
        raise ArchiveError(f"{place.service}: {error.message}{hint}") from None


def _in_series(
    service: Service, study: Address, series: Series, query: Query, unfetched: Counter[str]
) -> Iterator[Listed]:
    if not is_uid(series.uid):
        yield Listed(study, _no_uid("series"))
        return
    place = study.within(study.study, series.uid)
    modality = series.modality.upper()
    is_scored = _is_scored(modality, "")
    if not is_scored and series.instances is not None and not query.of_instances:
        unfetched[_shown(modality)] += series.instances
        return
    try:
        found = sorted(set(service.instances(study.study, series.uid, query.of_instances)))
    except ImageError as error:
        yield Listed(place, error)
        return
    for instance in found:
        if not is_scored or not _is_scored(modality, instance.sop_class):
            unfetched[_shown(modality)] += 1
        elif is_uid(instance.uid):
            yield Listed(place.within(study.study, series.uid, instance.uid))
        else:
            yield Listed(place, _no_uid("instance"))


def _is_scored(modality: str, sop_class: str) -> bool:
    try:
        require_modality(modality, sop_class)
    except SkippedImage:
        return False
    return True


def _shown(modality: str) -> str:
    """A modality for people; what is none is not repeated."""
    return modality if modality.isascii() and modality.isalnum() and len(modality) <= 16 else "other"


def _no_uid(what: str) -> ImageError:
    return ImageError("archive_error", f"the archive lists a {what} without a valid UID")
