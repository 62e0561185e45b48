"""The DICOM service: what it takes, refuses and survives (PS3.4, annex B; PS3.7, annex C; PS3.8)."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest

from cxrzero.errors import MissingExtraError, RunError
from cxrzero.images.dicom_frames import TRANSFER_SYNTAXES
from cxrzero.node.config import NodeConfig
from cxrzero.node.receive import STORAGE_CLASSES, Receiver
from tests.support.dicomfile import CR_STORAGE, SECONDARY_CAPTURE, SYNTAXES, dicom_bytes
from tests.support.needs import modules, program

modules("pynetdicom")

from pynetdicom.dimse_messages import C_STORE_RQ  # noqa: E402
from pynetdicom.dimse_primitives import C_STORE  # noqa: E402

from tests.support.nodes import Caller, Node, data_set, film, receiving  # noqa: E402

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with receiving(tmp_path) as node:
        yield node


def until(is_so: Any, seconds: float = 20.0) -> None:
    """Wait for what comes about in other threads."""
    due = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < due
        time.sleep(0.01)


def test_an_object_is_a_whole_file_named_by_its_digest_when_success_is_answered(node: Node) -> None:
    content = film(7, PatientName="CANARY^NAME")
    with Caller(node) as caller:
        assert caller.echo() == 0x0000
        assert caller.store(content, 7) == (0x0000, "")
        [file] = node.files()
        [noted] = node.received()
    assert hashlib.sha256(file.read_bytes()).hexdigest() == file.name == noted.file == noted.digest
    assert (noted.study, noted.series, noted.sop_instance) == ("2.25.2.7", "2.25.3", "2.25.1.7")
    assert noted.sop_class == CR_STORAGE
    assert file.read_bytes().endswith(data_set(content)), "the data set is kept as it was encoded"
    read = pydicom.dcmread(file)
    assert read.file_meta.TransferSyntaxUID == SYNTAXES["explicit"]
    assert read.file_meta.MediaStorageSOPInstanceUID == read.SOPInstanceUID == "2.25.1.7"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert node.said == []


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_transfer_syntax_that_is_decoded_is_accepted(node: Node, syntax: str) -> None:
    with Caller(node, syntax=syntax) as caller:
        assert caller.store(film(1, syntax)) == (0x0000, "")
    assert pydicom.dcmread(node.files()[0]).SOPInstanceUID == "2.25.1.1"


def test_contexts_are_those_of_the_conformance_statement(node: Node) -> None:
    """CR, DX for presentation and for processing, SC (PS3.4, B.5), and nothing else."""
    names = {pydicom.uid.UID(each).name for each in STORAGE_CLASSES}
    assert names == {
        "Computed Radiography Image Storage",
        "Digital X-Ray Image Storage - For Presentation",
        "Digital X-Ray Image Storage - For Processing",
        "Secondary Capture Image Storage",
    }
    assert set(TRANSFER_SYNTAXES) >= set(SYNTAXES.values())
    with Caller(node, classes=[CT_STORAGE, SECONDARY_CAPTURE]) as caller:
        accepted = {str(each.abstract_syntax) for each in caller.association.accepted_contexts}
    assert accepted == {SECONDARY_CAPTURE, "1.2.840.10008.1.1"}


def test_the_same_instance_twice_is_answered_with_success_and_kept_once(node: Node) -> None:
    with Caller(node) as caller:
        assert [caller.store(film())[0] for _ in range(3)] == [0, 0, 0]
    assert len(node.files()) == len(node.received()) == 1


def test_an_instance_in_another_transfer_syntax_is_the_same(node: Node) -> None:
    for syntax in ("explicit", "implicit"):
        with Caller(node, syntax=syntax) as caller:
            assert caller.store(film(1, syntax)) == (0x0000, "")
    assert len(node.files()) == len(node.received()) == 1


def test_other_content_under_a_known_uid_is_refused(node: Node) -> None:
    with Caller(node) as caller:
        caller.store(film())
        assert caller.store(film(value=2)) == (
            0xC001, "other content was received under this SOP Instance UID",
        )  # fmt: skip
    assert len(node.files()) == 1


def test_what_was_delivered_and_deleted_is_not_kept_again(node: Node) -> None:
    with Caller(node) as caller:
        caller.store(film())
        node.objects.delete(node.files()[0].name)
        node.queue.removed(node.received())
        assert caller.store(film()) == (0x0000, "")
    assert node.files() == []
    assert node.received() == []


@pytest.mark.parametrize(
    ("content", "sent", "answer"),
    [
        (film(SOPClassUID=SECONDARY_CAPTURE), {}, 0xA900),
        (film(), {"sop_class": SECONDARY_CAPTURE}, 0xA900),
        (film(), {"instance": "2.25.99"}, 0xC000),
        (film(2), {}, 0xC000),
        (dicom_bytes(b"", StudyInstanceUID=None, SOPInstanceUID="2.25.1.1"), {}, 0xC000),
        (dicom_bytes(b"", StudyInstanceUID="Doe^John", SOPInstanceUID="2.25.1.1"), {}, 0xC000),
        (film()[:420], {}, 0xC000),
    ],
    ids=["class", "context", "instance", "other instance", "no study", "a name for a UID", "half"],
)
def test_what_is_not_as_the_request_says_is_refused(
    node: Node, content: bytes, sent: dict[str, str], answer: int
) -> None:
    with Caller(node) as caller:
        assert caller.store(content, **sent)[0] == answer  # type: ignore[arg-type]
        assert caller.store(film(3), 3) == (0x0000, "")
    assert len(node.files()) == 1
    assert "Doe" not in " ".join(node.said)
    assert len(node.said) == 1


def test_a_full_queue_is_answered_with_out_of_resources(tmp_path: Path) -> None:
    with receiving(tmp_path, limits={"waiting": 2}) as node, Caller(node) as caller:
        assert [caller.store(film(n), n) for n in (1, 2, 3)] == [(0, ""), (0, ""), (0xA700, "the queue is full")]
        assert len(node.files()) == 2


def test_a_full_disk_is_answered_with_out_of_resources(tmp_path: Path) -> None:
    with receiving(tmp_path, limits={"free_disk_mb": 10**9}) as node, Caller(node) as caller:
        assert caller.store(film()) == (0xA700, "the disk is full")
        assert node.files() == []


def test_a_disk_that_fails_in_the_middle(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, Caller(node) as caller:
        patch.setattr("cxrzero.node.objects.os.fsync", fail)
        assert caller.store(film()) == (0xA700, "the object cannot be kept")
    assert node.files() == []
    assert node.received() == []


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
def test_a_disk_that_takes_no_more_in_the_middle_of_an_object(node: Node) -> None:
    """The system refuses to let a file grow, as it does where a disk is full."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Caller(node) as caller:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
        try:
            assert caller.store(film(side=1024)) == (0xA700, "the object cannot be written")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert node.files() == []
        assert caller.store(film(side=1024)) == (0x0000, "")


def test_an_object_above_the_limit_is_refused_while_it_comes(tmp_path: Path) -> None:
    with receiving(tmp_path, limits={"object_mb": 1}) as node, Caller(node) as caller:
        big = film(side=1024)
        assert caller.store(big) == (0xA700, "the object is larger than is allowed here")
        assert caller.store(film()) == (0x0000, "")
        assert len(node.files()) == 1


def test_titles_decide_who_may_call(tmp_path: Path) -> None:
    with receiving(tmp_path, callers=("MODALITY",)) as node:
        with Caller(node) as caller:
            assert caller.echo() == 0
        stranger = Caller(node, title="STRANGER").association
        assert (stranger.is_rejected, stranger.acceptor.primitive.diagnostic) == (True, 3)
        elsewhere = Caller(node, called="OTHER").association
        assert (elsewhere.is_rejected, elsewhere.acceptor.primitive.diagnostic) == (True, 7)
    assert [line.split(": ", 1)[1] for line in node.said] == [
        "it is not among the callers of the configuration",
        "it calls 'OTHER', which is not this node's title",
    ]


def test_a_title_that_a_terminal_would_act_on_is_written_out(node: Node) -> None:
    """Control characters are no part of a title (PS3.5, 6.2), but a hostile peer sends them."""
    head = b"\0\1\0\0" + b"\x1b[2J".ljust(16) + b"\x1b]0;x\x07".ljust(16) + b"\0" * 32
    items = b"\x10\0\0\x151.2.840.10008.3.1.1.1"
    items += b"\x20\0\0\x2e\1\0\0\0\x30\0\0\x11" + b"1.2.840.10008.1.1" + b"\x40\0\0\x11" + b"1.2.840.10008.1.2"
    items += b"\x50\0\0\x08\x51\0\0\x04\0\0\x40\0"
    with _wire(node) as wire:
        wire.sendall(b"\1\0" + struct.pack(">I", len(head + items)) + head + items)
        assert wire.recv(1) in (b"\3", b"\7")
    until(lambda: not node.connections)
    assert not [line for line in node.said if not line.isprintable()]


def test_more_associations_than_allowed_are_told_so(tmp_path: Path) -> None:
    with receiving(tmp_path, limits={"associations": 2}) as node:
        with Caller(node), Caller(node):
            third = Caller(node).association
            # PS3.8, 9.3.4: transient, by the service provider, local limit exceeded
            reason = third.acceptor.primitive
            assert (reason.result, reason.result_source, reason.diagnostic) == (2, 3, 2)
        until(lambda: not node.connections)
        with Caller(node) as caller:
            assert caller.echo() == 0


def test_connections_beyond_all_bounds_are_cut(tmp_path: Path) -> None:
    with receiving(tmp_path, limits={"associations": 1}) as node:
        wires = [_wire(node) for _ in range(17)]
        until(lambda: node.connections == 17)
        with _wire(node) as beyond:
            assert beyond.recv(1) == b""
        for wire in wires:
            wire.close()
        until(lambda: not node.connections)


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "nothing": b"",
    "a PDU of 4 GiB": b"\1\0\xff\xff\xff\xff" + b"x" * 100,
    "an empty request": b"\1\0\0\0\0\0",
    "data first": b"\4\0\0\0\0\x06\0\0\0\2\1\3",
    "an abort": b"\7\0\0\0\0\4\0\0\0\0",
    "random": bytes(range(256)) * 8,
}


@pytest.mark.parametrize("bytes_sent", GARBAGE.values(), ids=list(GARBAGE))
def test_garbage_in_place_of_an_association(node: Node, bytes_sent: bytes) -> None:
    with _wire(node) as wire:
        wire.sendall(bytes_sent)
    until(lambda: not node.connections)
    with Caller(node) as caller:
        assert caller.echo() == 0


AFTER = {
    "no PDU": b"\xfe" * 60,
    "an empty PDV": b"\4\0\0\0\0\5\0\0\0\1\1",
    "a broken command set": b"\4\0\0\0\0\x0c\0\0\0\x08\1\3abcdef",
    "a data set without a command": b"\4\0\0\0\0\x0c\0\0\0\x08\1\2abcdef",
    "a second request": b"\1\0\0\0\0\4abcd",
    "a PDV longer than its PDU": b"\4\0\0\0\0\6\xff\xff\xff\xff\1\3",
}


@pytest.mark.parametrize("bytes_sent", AFTER.values(), ids=list(AFTER))
def test_garbage_in_an_association(node: Node, bytes_sent: bytes) -> None:
    caller = Caller(node)
    caller.wire.sendall(bytes_sent)
    until(lambda: caller.is_cut)
    until(lambda: not node.connections)
    assert node.files() == []
    with Caller(node) as caller:
        assert caller.store(film()) == (0, "")


def test_a_command_set_without_end_is_cut_off(node: Node) -> None:
    part = b"\4\0" + struct.pack(">II", 0x2000 + 6, 0x2000 + 2) + b"\1\1" + b"\0" * 0x2000
    caller = Caller(node)
    for _ in range(8):
        caller.wire.sendall(part)
    until(lambda: caller.is_cut)
    until(lambda: not node.connections)


def test_requests_that_do_not_wait_for_answers_are_cut_off(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """No asynchronous operations were negotiated (PS3.7, D.3.3.3); files of what waits would fill the disk."""
    hold = threading.Event()
    take = node.intake.take

    def slow(*arguments: Any, **named: Any) -> bool:
        hold.wait(20)
        return take(*arguments, **named)

    monkeypatch.setattr(node.intake, "take", slow)
    caller = Caller(node)
    for number in range(8):
        caller.request(film(number), number)
    until(lambda: caller.is_cut)
    most = len(node.files())
    hold.set()
    until(lambda: not node.connections)
    assert most <= 4
    assert not [file for file in node.files() if file.suffix]


@pytest.mark.parametrize("end", ["abort", "close", "half a PDU"])
def test_half_an_object_leaves_nothing(node: Node, end: str) -> None:
    caller = Caller(node)
    _begin_store(caller)
    until(lambda: node.files())
    assert node.files()[0].suffix == ".part"
    if end == "abort":
        caller.association.abort()
    else:
        if end == "half a PDU":
            caller.wire.sendall(b"\4\0\0\0\x40\0" + b"\0" * 100)
        caller.wire.close()
    until(lambda: not node.connections)
    assert node.files() == []
    assert node.received() == []


@pytest.mark.parametrize("where", ["before a request", "in an association", "in an object", "in a PDU"])
def test_a_peer_that_stalls_is_dropped(tmp_path: Path, where: str) -> None:
    with receiving(tmp_path, timeouts={"association": 0.3, "idle": 0.3}) as node:
        if where == "before a request":
            with _wire(node) as wire:
                assert wire.recv(1) in (b"", b"\7")
        else:
            caller = Caller(node)
            if where == "in an object":
                _begin_store(caller)
            if where == "in a PDU":
                caller.wire.sendall(b"\4\0\0\0\x40\0" + b"\0" * 100)
            until(lambda: caller.is_cut)
        until(lambda: not node.connections)
        assert node.files() == []


def test_an_object_that_drips_is_dropped(tmp_path: Path) -> None:
    """Each part comes in time, the whole does not."""
    with receiving(tmp_path, timeouts={"object": 0.5}) as node:
        caller = Caller(node)
        _begin_store(caller)
        drop = b"\4\0\0\0\0\x08\0\0\0\4\3\0ab"
        while not caller.is_cut:
            try:
                caller.wire.sendall(drop)
            except (OSError, AttributeError):
                break
            time.sleep(0.05)
        until(lambda: not node.connections)
        assert node.files() == []


@pytest.mark.skipif(sys.platform != "linux", reason="open files are counted in /proc")
def test_many_tiny_associations_leave_nothing_behind(node: Node) -> None:
    def threads_and_files() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    with Caller(node) as caller:
        caller.echo()
    until(lambda: not node.connections)
    before = threads_and_files()
    for _ in range(60):
        with _wire(node) as wire:
            wire.sendall(GARBAGE["random"])
    for _ in range(10):
        with Caller(node) as caller:
            caller.echo()
    until(lambda: not node.connections)
    until(lambda: threads_and_files() <= before)


def test_a_stop_lets_an_object_in_hand_be_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving(tmp_path) as node:
        begun, take = threading.Event(), node.intake.take

        def slow(*arguments: Any, **named: Any) -> bool:
            begun.set()
            time.sleep(0.5)
            return take(*arguments, **named)

        monkeypatch.setattr(node.intake, "take", slow)
        caller, idle = Caller(node), Caller(node)
        caller.request(film())
        assert begun.wait(20)
        node.receiver.stop()
        _, answer = caller.association.dimse.get_msg(block=True)
        assert answer.Status == 0x0000
        assert len(node.received()) == 1
        until(lambda: idle.is_cut)
        with pytest.raises(OSError, match="refused"):
            _wire(node)
        node.receiver.stop = lambda: None  # type: ignore[method-assign]


def test_a_stop_ends_connections_that_ask_for_nothing(tmp_path: Path) -> None:
    with receiving(tmp_path, timeouts={"association": 60, "idle": 60}) as node, _wire(node) as silent:
        until(lambda: node.connections == 1)
        node.receiver.stop()
        assert node.connections == 0
        assert silent.recv(1) == b""
        node.receiver.stop = lambda: None  # type: ignore[method-assign]


def test_nothing_of_a_header_is_said_or_logged(
    node: Node, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    secret: dict[str, Any] = {"PatientName": "CANARY^NAME", "PatientID": "CANARY-7", "AccessionNumber": "CANARY8"}
    with caplog.at_level("DEBUG"), Caller(node) as caller:
        caller.store(film(1, **secret))
        caller.store(film(2, **secret), 3)
        caller.store(film(1, value=3, **secret))
        caller.store(film(4, SOPClassUID="CANARY", **secret), 4)
    said = " ".join([caplog.text, *node.said, *capfd.readouterr()])
    assert "CANARY" not in said
    state = [path for path in node.config.state.rglob("*") if path.is_file() and path.parent != node.config.objects]
    assert [path for path in state if b"CANARY" in path.read_bytes()] == []
    assert [path for path in node.files() if "CANARY" in path.name] == []


def test_storescu_of_dcmtk(node: Node, tmp_path: Path) -> None:
    """Compressed and not, many files, with the options that sites use."""
    storescu = program("storescu", "dcmtk")
    for syntax, option in (("explicit", "-xe"), ("implicit", "-xi"), ("jpeg2000_lossless", "-xv"), ("rle", "-xr")):
        number = len(node.files()) + 1
        file = tmp_path / f"{syntax}.dcm"
        file.write_bytes(film(number, syntax))
        command = [storescu, option, "-aec", "CXRZERO", "127.0.0.1", str(node.port), str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        assert len(node.files()) == number
    stored = {str(pydicom.dcmread(file).file_meta.TransferSyntaxUID) for file in node.files()}
    assert stored == {SYNTAXES[each] for each in ("explicit", "implicit", "jpeg2000_lossless", "rle")}


def test_it_listens_on_ipv6(tmp_path: Path) -> None:
    with receiving(tmp_path, address="::1") as node, socket.create_connection(("::1", node.port), timeout=20) as wire:
        wire.sendall(GARBAGE["an abort"])
        assert wire.recv(1) == b""


def test_without_the_extra_its_command_is_said(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynetdicom", None)
    with pytest.raises(MissingExtraError, match=r"^pynetdicom is not installed; run: pip install 'cxrzero\[pacs\]'$"):
        Receiver(node.config, node.intake, print)


def test_a_port_that_is_taken(node: Node) -> None:
    config = NodeConfig(state=node.config.state, port=node.port)
    with pytest.raises(RunError, match=f"port {node.port} cannot be listened on: Address already in use"):
        Receiver(config, node.intake, print)


def _wire(node: Node) -> Any:
    return socket.create_connection(("127.0.0.1", node.port), timeout=20)


def _begin_store(caller: Caller) -> None:
    """A request, and the first part of its data set."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CR_STORAGE, "2.25.1.1"
    request.DataSet = BytesIO(data_set(film(side=200)))
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    context = next(each for each in caller.association.accepted_contexts if each.abstract_syntax == CR_STORAGE)
    caller.association._reactor_checkpoint.clear()
    for part in list(message.encode_msg(context.context_id, 16_384))[:2]:
        caller.association.dul.send_pdu(part)


@pytest.mark.parametrize("hours", [-24, 24])
def test_a_clock_that_jumps_ends_no_association_and_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """pynetdicom measures by the wall clock, which somebody may set."""
    real = time.time
    with receiving(tmp_path, timeouts={"idle": 1}) as node, Caller(node) as caller:
        assert caller.echo() == 0
        caller.association.network_timeout = None  # what the caller's own pynetdicom makes of it is not asked
        monkeypatch.setattr(time, "time", lambda: real() + hours * 3600)
        if hours > 0:
            assert caller.store(film()) == (0x0000, "")
        until(lambda: not node.connections, seconds=15)  # it is idle, and dropped in time
