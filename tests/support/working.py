"""Films for a node, nodes without a network, and peers that take reports."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from cxrzero.database import open_database
from cxrzero.node.config import NodeConfig
from cxrzero.node.identity import identity_of_file
from cxrzero.node.objects import Objects
from cxrzero.node.outbox import REPORTED
from cxrzero.node.queue import Object, Queue
from cxrzero.node.scorer import Study, StudyRows, StudyScorer
from cxrzero.node.scoring import ScoringDiedError
from cxrzero.node.work import Work
from tests.support.films import DX
from tests.support.pictures import picture

# A patient's name and number, which may be in objects and reports and nowhere else.
NAME, NUMBER = "CANARY^BIRD", "MRN-90210"
# Pixels of a file that its decoder crashes over, for those who play that it does.
CRASH = b"crashes its decoder"


def film(seed: int, study: str = "2.25.500", *, patient: str = NUMBER, pixels: bytes | None = None) -> bytes:
    """A film as a DICOM file, unlike that of any other seed; instance 2.25.1000 + seed."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = DX
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID(f"2.25.{1000 + seed}")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"{study}.1"
    dataset.PatientName, dataset.PatientID = NAME, patient
    dataset.Modality, dataset.ViewPosition, dataset.BodyPartExamined = "DX", "PA", "CHEST"
    dataset.Rows, dataset.Columns = 64, 48
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = picture(seed, (64, 48)).tobytes() if pixels is None else pixels
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def broken_film(seed: int, study: str = "2.25.500") -> bytes:
    """A film with a whole header and too few pixels."""
    return film(seed, study, pixels=b"\0" * 10)


def config_of(folder: Path, bundle: Path, **keys: Any) -> NodeConfig:
    """A node in a folder, which scores at once."""
    state = folder / "state"
    plain: dict[str, Any] = {
        "state": state,
        "out": str(folder / "results.sqlite"),
        "model": (str(bundle),),
        "study_quiet_seconds": 0.0,
    }
    return NodeConfig(**(plain | keys))


def take_in(queue: Queue, config: NodeConfig, *files: bytes) -> list[bool]:
    """Have files received, as the receiver does."""
    objects = Objects(config.objects)
    known = []
    for content in files:
        new = objects.begin()
        try:
            new.write(content)
            new.finish()
            uids = identity_of_file(new.path)
            new.commit()
        finally:
            new.discard()
        known.append(
            queue.received(
                new.name,
                uids.study_instance_uid,
                uids.series_instance_uid,
                uids.sop_instance_uid,
                uids.sop_class_uid,
                uids.transfer_syntax,
                new.size,
                new.name,
            )
        )
    return known


class ScoringHere:
    """`Scoring` without a process; over a file with CRASH in it the process "dies"."""

    def __init__(self, config: NodeConfig) -> None:
        self._scorer = StudyScorer(config)
        self.record = self._scorer.record
        self.batches: list[int] = []

    def score(self, studies: Sequence[Study]) -> list[StudyRows]:
        self.batches.append(sum(map(len, studies)))
        if any(CRASH in Path(path).read_bytes() for study in studies for path in study):
            raise ScoringDiedError("as if")
        return self._scorer.score(studies)


class Node:
    """The working half of a node, whose loops the test turns."""

    def __init__(self, config: NodeConfig) -> None:
        self.config = config
        self.queue = Queue(config.state)
        self.scoring = ScoringHere(config)
        self.database = open_database(config.out)
        self.said: list[str] = []
        run = self.database.begin_run(self.scoring.record)
        self.work = Work(config, self.queue, self.scoring, self.database, run, self.said.append)  # type: ignore[arg-type]

    def receive(self, *files: bytes) -> None:
        take_in(self.queue, self.config, *files)

    def turn(self) -> None:
        while self.work.step() or self.work.tidy():
            pass

    def deliver(self) -> None:
        for report in self.queue.outbox.reports(REPORTED):
            self.queue.outbox.delivered(report)
            (self.config.reports / report.file).unlink()

    @property
    def reports(self) -> list[Path]:
        """Written ones, in the order of their closing."""
        return [self.config.reports / each.file for each in self.queue.outbox.reports(REPORTED)]

    @property
    def objects(self) -> list[Object]:
        return [each for line in self.lines for each in self.queue.found_in(line["study"])]

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.config.state / "studies.jsonl").read_text().splitlines()]

    def close(self) -> None:
        self.queue.close()
        self.database.close()


@contextmanager
def storage_peer(
    answer: Callable[[Dataset], int] = lambda dataset: 0x0000,
    *,
    title: str = "ARCHIVE",
    tls: ssl.SSLContext | None = None,
) -> Iterator[StoragePeer]:
    """An SCP on loopback; `answer` says with which status it answers a report."""
    peer = StoragePeer(answer, title, tls)
    try:
        yield peer
    finally:
        peer.stop()


class StoragePeer:
    """What takes reports.

    Attributes:
        port: where.
        reports: what was stored, in order, by SOP Instance UID.
    """

    def __init__(self, answer: Callable[[Dataset], int], title: str, tls: ssl.SSLContext | None) -> None:
        from pynetdicom import AE, evt

        self._answer, self._lock = answer, threading.Lock()
        self.reports: list[tuple[str, bytes]] = []
        entity = AE(title)
        entity.require_called_aet = True
        entity.add_supported_context("1.2.840.10008.5.1.4.1.1.88.34")
        self._server = entity.start_server(
            ("127.0.0.1", 0), block=False, ssl_context=tls, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        self.port: int = self._server.server_address[1]

    def stop(self) -> None:
        self._server.shutdown()

    def _store(self, event: Any) -> int:
        report = event.dataset
        status = self._answer(report)
        if status == 0 or status & 0xF000 == 0xB000:
            with self._lock:
                self.reports.append((str(report.SOPInstanceUID), event.encoded_dataset(include_meta=False)))
        return status


def probabilities(report: Path | bytes) -> dict[str, dict[str, float]]:
    """Of a report: SOP Instance UID of the image → label → probability, the first of its certainties."""
    dataset = pydicom.dcmread(BytesIO(report) if isinstance(report, bytes) else report)
    found: dict[str, dict[str, float]] = {}
    for group in _containers(dataset, "125007"):
        named = {item.ConceptNameCodeSequence[0].CodeValue: item for item in reversed(list(group.ContentSequence))}
        image = named["121112"].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        number = float(named["111012"].MeasuredValueSequence[0].NumericValue) / 100
        found.setdefault(image, {})[named["112039"].TextValue] = number
    return found


def _containers(item: Dataset, code: str) -> Iterator[Dataset]:
    for each in item.get("ContentSequence", []):
        if each.get("ConceptNameCodeSequence") and each.ConceptNameCodeSequence[0].CodeValue == code:
            yield each
        yield from _containers(each, code)
