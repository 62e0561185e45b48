"""The whole way round: films go to an archive, the archive routes them here, and their reports come back to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrzero import Screener
from cxrzero.node.config import Peer
from cxrzero.node.recipient import Answer
from tests.node.test_deliver import report_bytes
from tests.support import needs, orthanc

needs.modules("highdicom", "pynetdicom", "dicomweb_client")

from tests.support.listening import Listener  # noqa: E402
from tests.support.roundtrip import phantoms, read_back, send_to, wait_for_reports, wait_until_tidy  # noqa: E402


def test_films_that_an_archive_routes_come_back_as_reports(tmp_path: Path, tiny_bundle: Path) -> None:
    files = phantoms(tmp_path / "films", 12, (160, 140))
    expected = {
        row.facts.sop_instance_uid: dict(row.scores)
        for row in Screener(tiny_bundle, cache=False).predict(tmp_path / "films")
    }
    assert len(expected) == 12
    [port] = orthanc.free_ports(1)
    with orthanc.serving(modalities={"node": ("CXRZERO", "127.0.0.1", port)}, route="node") as archive:
        tables = f'[peer]\nae_title = "{archive.title}"\nhost = "127.0.0.1"\nport = {archive.dicom_port}\n'
        listener = Listener(tmp_path, tiny_bundle, tables, port=port, callers=[archive.title])
        try:
            listener.start()
            send_to(archive, files)
            reports = wait_for_reports(archive, len(expected))
            wait_until_tidy(listener.state / "objects")
            assert listener.stop() == 0
        finally:
            listener.close()
        found = [read_back(archive.content(each["ID"])) for each in archive.instances(Modality="SR")]
    assert len(reports) == len(found) == len(expected)
    assert {uid for report in found for uid in report} == expected.keys()
    for report in found:
        [(uid, scores)] = report.items()
        assert scores == pytest.approx(expected[uid], abs=1e-6)


def test_stow_to_a_real_archive(tmp_path: Path) -> None:
    """Whose answer has a FailedSOPSequence, which is empty."""
    from cxrzero.node.stow import StowRecipient

    path = tmp_path / "report.dcm"
    path.write_bytes(report_bytes("2.25.4711"))
    with orthanc.serving() as archive:
        recipient = StowRecipient(Peer(stow=archive.dicomweb))
        for _ in range(2):  # as after a kill: it is stored once
            assert list(recipient.send([path])) == [Answer(True)]
        [stored] = archive.instances(SOPInstanceUID="2.25.4711")
        assert archive.content(stored["ID"])[144:] == path.read_bytes()[144:]  # but for its own meta information
