"""The address of an archive, or of what it holds.

    dicomweb+https://HOST[:PORT]/PATH       DICOMweb (PS3.18); dicomweb+http without encryption
    dicom+tls://HOST:PORT/TITLE             DIMSE (PS3.4) and the archive's AE title; dicom without encryption

and behind it, as in PS3.18, /studies/UID, /series/UID, /instances/UID. An instance's address is the `path` of its rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

from cxrzero.errors import UsageError

# Scheme, those of `cxrzero.places.kind` → port where none is stated; DIMSE has many in use, so that its is named.
SCHEMES = {"dicomweb+https": 443, "dicomweb+http": 80, "dicom": None, "dicom+tls": None}
# The longest AE title (PS3.5, 6.2).
TITLE_CHARS = 16
# PS3.5, 9.1, but for leading zeros, which some archives have: nothing in it leads elsewhere, in a URL or in a folder.
_UID = re.compile(r"(?=.{1,64}$)[0-9]+(?:\.[0-9]+)*")
_PLACE = re.compile(r"(?P<base>.*?)(?:/studies/([^/]+)(?:/series/([^/]+)(?:/instances/([^/]+))?)?)?/*")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
NOTHING = ".no-instance"
FORM = "write dicomweb+https://HOST/dicom-web or dicom://HOST:PORT/TITLE; see docs/archive.md"


def is_uid(text: str) -> bool:
    return bool(_UID.fullmatch(text))


@dataclass(frozen=True, slots=True)
class Address:
    """One address; its text is the same however the user wrote it.

    Attributes:
        scheme: a key of SCHEMES.
        host: lower case; an IPv6 address has its brackets.
        base: of DICOMweb the path, without a slash at its end; of DIMSE the AE title.
        study, series, instance: UIDs; empty where it names more than that.
    """

    scheme: str
    host: str
    port: int
    base: str
    study: str = ""
    series: str = ""
    instance: str = ""

    @property
    def is_dicomweb(self) -> bool:
        return self.scheme.startswith("dicomweb")

    @property
    def is_encrypted(self) -> bool:
        return self.scheme in ("dicomweb+https", "dicom+tls")

    @property
    def is_local(self) -> bool:
        """Whether it is this machine, on which nobody listens to what goes by."""
        return self.host in ("localhost", "[::1]") or bool(re.fullmatch(r"127(\.[0-9]{1,3}){3}", self.host))

    @property
    def service(self) -> Address:
        """The archive itself."""
        return replace(self, study="", series="", instance="")

    @property
    def url(self) -> str:
        """Of DICOMweb what HTTP is asked for."""
        return str(self).removeprefix("dicomweb+")

    def within(self, study: str, series: str = "", instance: str = "") -> Address:
        return replace(self, study=study, series=series, instance=instance)

    def __str__(self) -> str:
        port = "" if self.port == SCHEMES[self.scheme] else f":{self.port}"
        base = self.base if self.is_dicomweb else "/" + quote(self.base, safe="")
        parts = (("studies", self.study), ("series", self.series), ("instances", self.instance))
        return f"{self.scheme}://{self.host}{port}{base}" + "".join(f"/{name}/{uid}" for name, uid in parts if uid)


def parse_address(text: str) -> Address:
    """Read an address.

    Raises:
        UsageError: it is none. The message does not quote it, for it may hold a password.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise UsageError(f"the address of an archive cannot be read; {FORM}") from None
    if "@" in parts.netloc:
        raise UsageError(
            "the address of an archive has no user name and no password in it, for addresses are written into tables; "
            "put them into CXRZERO_DICOMWEB_USER and CXRZERO_DICOMWEB_PASSWORD, or into a netrc file"
        )
    if parts.query or parts.fragment:
        raise UsageError('the address of an archive ends before a "?" or "#"; what is asked of it is said by --query')
    return _address(parts, port)


def _address(parts: SplitResult, port: int | None) -> Address:
    scheme = parts.scheme.lower()
    host, found = _host(parts.netloc.lower(), port), _PLACE.fullmatch(parts.path)
    stated = port if port is not None else SCHEMES.get(scheme)
    if scheme not in SCHEMES or not _HOST.fullmatch(host) or not stated or found is None:
        raise UsageError(f"the address of an archive has no host, or no port; {FORM}")
    base, *uids = (group or "" for group in found.groups())
    if not all(map(is_uid, filter(None, uids))):
        raise UsageError("the address of an archive has something else than a UID where one belongs")
    if scheme.startswith("dicomweb"):
        if not re.fullmatch(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:%-]+)*/*", base):
            raise UsageError(f"the path of the archive's address cannot be read; {FORM}")
        base = base.rstrip("/")
    else:
        base = unquote(base.strip("/"))
        if not re.fullmatch(r"[ -\[\]-~]+", base) or not 1 <= len(base.strip()) <= TITLE_CHARS:
            raise UsageError(f"the archive's AE title has 1 to {TITLE_CHARS} plain characters; {FORM}")
    return Address(scheme, host, stated, base, *uids)


def _host(netloc: str, port: int | None) -> str:
    return netloc.removesuffix(":") if port is None else netloc.rpartition(":")[0]


def kept_file(folder: Path, address: str) -> Path:
    """Where --keep-files keeps the instance of this address; for any other text a place where nothing is kept."""
    try:
        place = parse_address(address)
    except UsageError:
        return folder / NOTHING
    return folder / place.study / place.series / f"{place.instance}.dcm" if place.instance else folder / NOTHING
