"""Reports to a peer by STOW-RS (PS3.18, 10.5)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

import requests
from dicomweb_client.web import DICOMwebClient
from pydicom import dcmread
from pydicom.dataset import Dataset

from cxrzero.archive.address import parse_address
from cxrzero.archive.credentials import logins_for
from cxrzero.node.config import Peer
from cxrzero.node.recipient import Answer, PeerDownError

# Answers that are about this report and not about the service: another report may fare better.
ABOUT_THE_REPORT = (400, 409, 413, 415, 422)


class StowRecipient:
    """A DICOMweb service.

    What it needs to log in comes from where `predict` takes it for an archive (`cxrzero.archive.credentials`).
    Redirects are not followed.

    Raises:
        ConfigError: half a login, or one that would go over an open line.
    """

    def __init__(self, peer: Peer) -> None:
        service = parse_address(f"dicomweb+{peer.stow}")
        login = logins_for([service]).get(service)
        session = requests.Session()
        session.trust_env = False  # it would take a password from a netrc file that others can read
        session.proxies = requests.utils.get_environ_proxies(peer.stow)
        session.max_redirects = 0
        if login and login.token:
            session.headers["Authorization"] = f"Bearer {login.token}"
        elif login:
            session.auth = (login.user.encode(), login.password.encode())
        if peer.tls:
            session.verify = str(peer.tls.ca) if peer.tls.ca else True
            session.cert = (str(peer.tls.certificate), str(peer.tls.key)) if peer.tls.certificate else None
        self._client = DICOMwebClient(peer.stow.rstrip("/"), session=session, timeout=peer.timeout)
        self._client.set_http_retry_params(retry=False)  # `deliver` does this, and does not sleep over it

    def send(self, paths: Sequence[Path]) -> Generator[Answer, None, None]:
        """Store reports, each by a request of its own, see `cxrzero.node.recipient.Recipient`."""
        for path in paths:
            yield self._store(dcmread(path))

    def _store(self, report: Dataset) -> Answer:
        try:
            answer = self._client.store_instances([report])
        except requests.HTTPError as error:
            code = f"http_{error.response.status_code}"
            if error.response.status_code in ABOUT_THE_REPORT:
                return Answer(False, code)
            raise PeerDownError(code) from None
        except requests.TooManyRedirects:
            raise PeerDownError("peer_redirects") from None
        except requests.Timeout:
            raise PeerDownError("peer_no_answer") from None
        except requests.RequestException:
            raise PeerDownError("peer_unreachable") from None
        except Exception:  # whatever reading an answer raises that is none of DICOM's
            raise PeerDownError("peer_bad_answer") from None
        return answer_of(answer, report.SOPInstanceUID)


def answer_of(answer: Dataset, sop_instance: str) -> Answer:
    """What a Store Instances Response (PS3.18 Annex I) says of one report.

    Some services send an empty FailedSOPSequence with what they stored: its length counts. A report that is in neither
    sequence is not known to be stored, whatever the HTTP status was: a proxy's page has one, too.
    """
    for item in _items(answer, "FailedSOPSequence"):
        if item.get("ReferencedSOPInstanceUID", sop_instance) == sop_instance:
            return Answer(False, f"status_{_number(item, 'FailureReason'):04x}")
    for item in _items(answer, "ReferencedSOPSequence"):
        if item.get("ReferencedSOPInstanceUID") == sop_instance:
            warning = _number(item, "WarningReason")
            return Answer(True, f"status_{warning:04x}" if warning else "")
    return Answer(False, "not_confirmed")


def _items(answer: Dataset, keyword: str) -> list[Dataset]:
    return list(answer.get(keyword) or ())


def _number(item: Dataset, keyword: str) -> int:
    found = item.get(keyword)
    return found if isinstance(found, int) else 0
