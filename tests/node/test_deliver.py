"""Reports reach a peer that is down, refuses, hangs or warns: once, in the end, or they are dead letters."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from cxrzero.errors import ConfigError, MissingExtraError
from cxrzero.node.config import NodeConfig, Peer, PeerTls, Retries
from cxrzero.node.deliver import Delivery, recipient_of, wait_s
from cxrzero.node.outbox import DELIVERED, FAILED, REPORTED, SCORED, Letter
from cxrzero.node.queue import Queue, Result
from cxrzero.node.recipient import Answer, PeerDownError, Recipient
from tests.support import needs
from tests.support.certificates import make_certificates
from tests.support.orthanc import free_ports
from tests.support.working import storage_peer

needs.modules("pynetdicom")

SR = "1.2.840.10008.5.1.4.1.1.88.34"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Peers:
    """A recipient that does what the test says: an answer, or an error, for each report that it is sent."""

    def __init__(self, *script: Answer | str) -> None:
        self.script, self.sent = list(script), list[str]()

    def send(self, paths: Sequence[Path]) -> Generator[Answer, None, None]:
        for path in paths:
            next_one = self.script.pop(0) if self.script else Answer(True)
            if isinstance(next_one, str):
                raise PeerDownError(next_one)
            self.sent.append(path.name)
            yield next_one


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return NodeConfig(state=tmp_path, retries=Retries(first=2.0, longest=60.0, tries=4))


@pytest.fixture
def queue(config: NodeConfig) -> Iterator[Queue]:
    with Queue(config.state) as queue:
        yield queue


def write_reports(queue: Queue, config: NodeConfig, count: int) -> None:
    """Closed studies with their reports."""
    config.reports.mkdir(exist_ok=True)
    for number in range(count):
        study, digest = f"1.2.{number}", f"{number:064x}"
        queue.received(digest, study, "1.3", f"1.4.{number}", "1.5", "1.6", 1, digest)
        queue.scored([Result(each.id, "") for each in queue.to_score(study)], 1)
        queue.close_studies([study], "2026-11-27T12:00:00+00:00", 0)
        [report] = queue.outbox.reports(SCORED)
        uid = f"2.25.{number + 1}"
        (config.reports / f"{uid}.dcm").write_bytes(report_bytes(uid))
        queue.outbox.written(report, [Letter(f"{uid}.dcm", SR, uid)], {})


def report_bytes(uid: str) -> bytes:
    from io import BytesIO

    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    report = Dataset()
    report.file_meta = FileMetaDataset()
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID = UID(SR)
    report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID = UID(uid)
    report.StudyInstanceUID, report.SeriesInstanceUID, report.PatientID, report.Modality = "1.2", "1.3", "A", "SR"
    stream = BytesIO()
    report.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def delivery(queue: Queue, config: NodeConfig, peer: Recipient, clock: Clock | None = None) -> Delivery:
    return Delivery(queue, config, peer, clock=clock or Clock())


def test_a_wait_doubles_up_to_the_longest_and_is_never_the_same() -> None:
    retries = Retries(first=2.0, longest=60.0)
    for attempts, longest in ((0, 2.0), (1, 4.0), (4, 32.0), (5, 60.0), (10_000, 60.0)):
        waits = {wait_s(retries, attempts) for _ in range(50)}
        assert len(waits) > 1
        assert min(waits) >= longest / 2
        assert max(waits) <= longest


def test_what_is_delivered_is_delivered_once_and_its_file_goes(queue: Queue, config: NodeConfig) -> None:
    write_reports(queue, config, 3)
    peer = Peers()
    sender = delivery(queue, config, peer)
    assert sender.step()
    assert not sender.step()
    assert peer.sent == ["2.25.1.dcm", "2.25.2.dcm", "2.25.3.dcm"]
    assert queue.outbox.counts() == {DELIVERED: 3}
    assert list(config.reports.iterdir()) == []


def test_a_peer_that_is_down_is_tried_again_and_holds_nothing_up(queue: Queue, config: NodeConfig) -> None:
    write_reports(queue, config, 2)
    clock, peer = Clock(), Peers("peer_unreachable", "peer_unreachable")
    sender = delivery(queue, config, peer, clock)
    assert sender.step()
    assert not sender.step()  # not at once
    clock.now += 2.0
    assert sender.step()
    clock.now += 1.9  # the second wait is of 2 to 4 s
    assert not sender.step()
    clock.now += 2.1
    assert sender.step()
    assert queue.outbox.counts() == {DELIVERED: 2}


def test_a_restart_tries_at_once_and_then_is_as_patient_as_before(queue: Queue, config: NodeConfig) -> None:
    write_reports(queue, config, 1)
    clock = Clock()
    for _ in range(2):
        assert delivery(queue, config, Peers("peer_unreachable"), clock).step()
    after = delivery(queue, config, Peers("peer_unreachable"), clock)
    assert after.step()
    clock.now += 3.9  # the third wait is of 4 to 8 s
    assert not after.step()
    clock.now += 4.1
    assert after.step()


def test_a_report_that_is_refused_holds_no_other_up_and_is_given_up(queue: Queue, config: NodeConfig) -> None:
    write_reports(queue, config, 2)
    clock, said = Clock(), list[str]()
    peer = Peers(Answer(False, "status_a900"), Answer(True), *[Answer(False, "status_a900")] * 3)
    sender = Delivery(queue, config, peer, said.append, clock)
    for _ in range(4):
        assert sender.step()
        clock.now += 60.0
    assert not sender.step()
    [dead] = queue.outbox.reports(FAILED)
    assert (dead.sop_instance, dead.code, dead.attempts) == ("2.25.1", "status_a900", 4)
    assert [report.sop_instance for report in queue.outbox.reports(DELIVERED)] == ["2.25.2"]
    assert (config.reports / "2.25.1.dcm").exists()
    assert "given up after 4 attempts" in said[-1]
    queue.outbox.requeue([dead.id])
    assert sender.step()
    assert queue.outbox.counts() == {DELIVERED: 2}


def test_a_report_over_which_the_peer_always_ends_holds_no_other_up(queue: Queue, config: NodeConfig) -> None:
    class Poisoned(Peers):
        def send(self, paths: Sequence[Path]) -> Generator[Answer, None, None]:
            for path in paths:
                if path.name == "2.25.1.dcm":
                    raise PeerDownError("peer_aborted")
                self.sent.append(path.name)
                yield Answer(True)

    write_reports(queue, config, 3)
    clock, peer = Clock(), Poisoned()
    sender = delivery(queue, config, peer, clock)
    for _ in range(4):
        sender.step()
        clock.now += 60.0
    assert peer.sent == ["2.25.2.dcm", "2.25.3.dcm"]
    assert [(report.sop_instance, report.attempts) for report in queue.outbox.reports(FAILED)] == [("2.25.1", 4)]


def test_a_report_whose_file_is_gone_is_to_be_written_again(queue: Queue, config: NodeConfig) -> None:
    write_reports(queue, config, 1)
    (config.reports / "2.25.1.dcm").unlink()
    assert not delivery(queue, config, Peers()).step()
    assert queue.outbox.counts() == {SCORED: 1}


def with_peer(config: NodeConfig, port: int, **keys: float) -> NodeConfig:
    peer = Peer(ae_title="ARCHIVE", host="127.0.0.1", port=port, **({"timeout": 5.0} | keys))  # type: ignore[arg-type]
    return replace(config, peer=peer)


def sender_to(queue: Queue, config: NodeConfig, said: list[str]) -> Delivery:
    recipient = recipient_of(config)
    assert recipient is not None
    return Delivery(queue, config, recipient, said.append)


def test_by_c_store_byte_for_byte(queue: Queue, config: NodeConfig) -> None:
    write_reports(queue, config, 2)
    files = {path.stem: path.read_bytes() for path in config.reports.iterdir()}
    with storage_peer() as peer:
        sender_to(queue, with_peer(config, peer.port), []).step()
    assert [uid for uid, _ in peer.reports] == ["2.25.1", "2.25.2"]
    for uid, encoded in peer.reports:
        assert files[uid].endswith(encoded)  # behind the file's meta information
    assert queue.outbox.counts() == {DELIVERED: 2}


@pytest.mark.parametrize(
    ("status", "state", "code"),
    [
        (0xB000, DELIVERED, "status_b000"),  # coercion of data elements: stored
        (0xB006, DELIVERED, "status_b006"),  # elements discarded: stored
        (0x0107, DELIVERED, "status_0107"),  # attribute list error: a warning
        (0xA700, REPORTED, "status_a700"),  # out of resources
        (0xA900, REPORTED, "status_a900"),  # data set does not match SOP class
        (0xC123, REPORTED, "status_c123"),  # cannot understand
        (0x0124, REPORTED, "status_0124"),  # not authorised
    ],
)
def test_a_status_of_c_store(queue: Queue, config: NodeConfig, status: int, state: str, code: str) -> None:
    write_reports(queue, config, 1)
    said: list[str] = []
    with storage_peer(lambda _: status) as peer:
        sender_to(queue, with_peer(config, peer.port), said).step()
    [report] = queue.outbox.reports(state)
    assert report.code == code
    assert any(code in line for line in said) is (state == DELIVERED)


def test_a_peer_that_calls_us_a_stranger(queue: Queue, config: NodeConfig) -> None:
    write_reports(queue, config, 1)
    said: list[str] = []
    with storage_peer(title="OTHER") as peer:
        sender_to(queue, with_peer(config, peer.port), said).step()
    [report] = queue.outbox.reports(REPORTED)
    assert (report.code, report.attempts) == ("peer_rejected", 1)
    assert said == ["the peer does not take reports (peer_rejected); they are kept and tried again"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a socket that pynetdicom forgets
def test_a_peer_that_is_not_there(queue: Queue, config: NodeConfig) -> None:
    write_reports(queue, config, 1)
    sender_to(queue, with_peer(config, free_ports(1)[0]), []).step()
    assert [report.code for report in queue.outbox.reports(REPORTED)] == ["peer_unreachable"]


def test_a_peer_that_hangs_over_a_report(queue: Queue, config: NodeConfig) -> None:
    write_reports(queue, config, 2)
    held = threading.Event()

    def hang(_: Dataset) -> int:
        held.wait(30)
        return 0x0000

    with storage_peer(hang) as peer:
        sender_to(queue, with_peer(config, peer.port, timeout=0.3), []).step()
        held.set()
    assert [(report.code, report.attempts) for report in queue.outbox.reports(REPORTED)] == [
        ("peer_no_answer", 1),
        ("", 0),  # it was not its turn
    ]


def test_a_peer_that_hangs_over_the_association(queue: Queue, config: NodeConfig) -> None:
    """It accepts the connection and says nothing."""
    write_reports(queue, config, 1)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        sender_to(queue, with_peer(config, deaf.getsockname()[1], timeout=0.3), []).step()
    assert [report.code for report in queue.outbox.reports(REPORTED)] == ["peer_unreachable"]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("tls"))


def in_tls(config: NodeConfig, port: int, **files: Path) -> NodeConfig:
    found = with_peer(config, port)
    assert found.peer is not None
    return replace(found, peer=replace(found.peer, tls=PeerTls(**files)))


def test_by_c_store_in_tls(queue: Queue, config: NodeConfig, certificates: Path) -> None:
    """The peer shows a certificate of the authority, and wants to see one."""
    write_reports(queue, config, 1)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificates / "node.pem", certificates / "node.key")
    ours = {"certificate": certificates / "modality.pem", "key": certificates / "modality.key"}
    with storage_peer(tls=context) as peer:
        sender_to(queue, in_tls(config, peer.port, ca=certificates / "ca.pem", **ours), []).step()
    assert queue.outbox.counts() == {DELIVERED: 1}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a socket that pynetdicom forgets
def test_a_peer_with_a_certificate_of_nobody(queue: Queue, config: NodeConfig, certificates: Path) -> None:
    write_reports(queue, config, 1)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "node.pem", certificates / "node.key")
    with storage_peer(tls=context) as peer:
        sender_to(queue, in_tls(config, peer.port), []).step()  # the system does not know this authority
    assert peer.reports == []
    assert [report.code for report in queue.outbox.reports(REPORTED)] == ["peer_unreachable"]


def test_files_of_tls_that_cannot_be_used(config: NodeConfig, certificates: Path) -> None:
    ours = certificates / "modality.pem"
    for files in (
        {"ca": certificates / "nowhere.pem"},
        {"ca": certificates / "names"},
        {"certificate": ours, "key": certificates / "node.key"},
        {"certificate": ours, "key": certificates / "locked.key"},
    ):
        with pytest.raises(ConfigError, match=r"\[peer\.tls\]"):
            recipient_of(in_tls(config, 1, **files))


@pytest.mark.parametrize(
    ("peer", "module", "ours"),
    [
        (Peer(ae_title="ARCHIVE", host="127.0.0.1", port=1), "pynetdicom", "cxrzero.node.cstore"),
        (Peer(stow="http://127.0.0.1:1/dicom-web"), "dicomweb_client.web", "cxrzero.node.stow"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(
    config: NodeConfig, monkeypatch: pytest.MonkeyPatch, peer: Peer, module: str, ours: str
) -> None:
    monkeypatch.delitem(sys.modules, ours, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cxrzero\[pacs\]'"):
        recipient_of(replace(config, peer=peer))


def test_without_a_peer_there_is_nobody_to_send_to(config: NodeConfig) -> None:
    assert recipient_of(config) is None
