"""Which module speaks to which store; opening one is what first asks the network."""

from __future__ import annotations

import os
import threading
from importlib.util import find_spec
from urllib.parse import urlsplit

from cxrzero.archive.limits import Limits, Patience
from cxrzero.errors import MissingExtraError
from cxrzero.remote.address import AZURE, ObjectAddress
from cxrzero.remote.service import Service

# Of the environment: show no login, as public stores want it.
ANONYMOUS = "CXRZERO_ANONYMOUS"


def check_installed(place: ObjectAddress) -> None:
    """Find out whether there is what speaks to a store, asking nobody.

    Raises:
        UsageError: nobody knows such a store.
        MissingExtraError: its library is not installed.
    """
    if place.is_web:
        needed = "requests"
    elif place.scheme in AZURE:
        needed = "adlfs"
    else:
        needed = {"s3": "s3fs", "gs": "gcsfs"}.get(place.scheme, "fsspec")
    if find_spec(needed) is None:
        raise MissingExtraError(needed, "cloud")
    if needed == "fsspec":
        from cxrzero.remote.filesystem import check_scheme

        check_scheme(place.scheme)


def opened(
    place: ObjectAddress, limits: Limits, patience: Patience, stop: threading.Event, ca_file: str | None
) -> Service:
    """Open a store.

    Raises:
        RemoteError: there is no login.
        ConfigError: the login, or the file of certificates, cannot be used.
    """
    is_anonymous = os.environ.get(ANONYMOUS, "").lower() in ("1", "on", "true", "yes")
    if place.is_web:
        from cxrzero.archive.credentials import login_for_host
        from cxrzero.remote.web import Web

        is_safe = place.is_encrypted or place.is_local
        login = None if is_anonymous else login_for_host(urlsplit(place.service).hostname or "", is_safe=is_safe)
        return Web(place, limits, stop, login, ca_file)
    if place.scheme == "s3":
        from cxrzero.remote.s3 import S3

        return S3(place, limits, patience, is_anonymous=is_anonymous)
    if place.scheme == "gs":
        from cxrzero.remote.gcs import Gcs

        return Gcs(place, limits, patience, is_anonymous=is_anonymous)
    if place.scheme in AZURE:
        from cxrzero.remote.azure import Azure

        return Azure(place, limits, patience, is_anonymous=is_anonymous)
    from cxrzero.remote.filesystem import FileSystem

    return FileSystem(place, limits, patience)
