"""A real archive, Orthanc: drawn films go in, and come back over DICOMweb and over DIMSE as what they were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pydicom
import pytest

from cxrzero import ArchiveError, Archives, Prediction, Screener
from cxrzero.archive.limits import Limits
from cxrzero.phantom import draw
from cxrzero.phantom.dicom import Modality, TransferSyntax, write_dicom
from cxrzero.sources import check_paths, find_images
from tests.archive.conftest import QUICK, held
from tests.support.orthanc import PASSWORD, USER, Orthanc, serving

SYNTAXES: tuple[TransferSyntax, ...] = get_args(TransferSyntax)
KINDS: list[tuple[TransferSyntax, Modality]] = [*((syntax, "DX") for syntax in SYNTAXES), ("explicit", "CR")]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn films in every transfer syntax, and what no one scores."""
    folder = tmp_path_factory.mktemp("films")
    for number, (syntax, modality) in enumerate(KINDS):
        write_dicom(
            folder / f"{number}.dcm", draw(number, (96, 80)), transfer_syntax=syntax, modality=modality,
            photometric="MONOCHROME1" if number % 2 else "MONOCHROME2",
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def orthanc(films: Path) -> Iterator[Orthanc]:
    with serving(DicomWeb={"Enable": True, "Root": "/dicom-web/", "MaximumResults": 2}) as archive:
        archive.store(*sorted(films.iterdir()))
        archive.store(*(held(number, 7, 7, "CT").content for number in (1, 2, 3)))
        yield archive


def addresses(orthanc: Orthanc) -> dict[str, str]:
    return {
        "dicomweb": f"dicomweb+{orthanc.dicomweb}",
        "dimse": f"dicom://127.0.0.1:{orthanc.dicom_port}/ORTHANC",
    }


def predict(bundle: Path, address: str, query: str | None = "all", limits: Limits | None = None) -> list[Prediction]:
    with Archives(query, limits=limits) as archives:
        rows = Screener(bundle, device="cpu", archives=archives, cache=False).predict(address, ["edema"])
        assert query != "all" or archives.left_out() == "3 of CT"
        return rows


@pytest.mark.parametrize("way", ["dicomweb", "dimse"])
def test_each_film_is_what_its_file_is(orthanc: Orthanc, films: Path, tiny_bundle: Path, way: str) -> None:
    """To the last bit of the probability, whatever the transfer syntax: what is stored is sent."""
    address = addresses(orthanc)[way]
    rows = predict(tiny_bundle, address)
    assert [row.path for row in rows] == [
        f"{address}/studies/{row.facts.study_instance_uid}/series/{row.facts.series_instance_uid}"
        f"/instances/{row.facts.sop_instance_uid}"
        for row in rows
    ]
    assert [row.path for row in rows] == sorted(row.path for row in rows)
    of_files = Screener(tiny_bundle, device="cpu", cache=False).predict(films, ["edema"])
    by_uid = {row.facts.sop_instance_uid: row for row in of_files}
    assert [row.status for row in rows] == ["ok"] * len(KINDS)
    assert rows == [replace(by_uid[row.facts.sop_instance_uid], path=row.path, flags=row.flags) for row in rows]
    assert {row.scores["edema"] for row in rows} == {row.scores["edema"] for row in of_files}
    assert len({row.scores["edema"] for row in rows}) == len(KINDS)


@pytest.mark.parametrize("way", ["dicomweb", "dimse"])
def test_the_bytes_are_the_stored_ones(orthanc: Orthanc, films: Path, tmp_path: Path, way: str) -> None:
    """Over DICOMweb the file itself; C-STORE has no file meta information, so of DIMSE it is the data set."""
    address = addresses(orthanc)[way]
    with Archives("all", keep=tmp_path) as archives:
        check_paths([address], archives)
        for ref in find_images([address], archives=archives):
            list(archives.decode(ref.path))
    kept = {file.stem: file.read_bytes() for file in tmp_path.rglob("*.dcm")}
    stored = {uid_of(file): file.read_bytes() for file in films.iterdir()}
    assert kept.keys() == stored.keys()
    if way == "dicomweb":
        assert kept == stored
    assert {uid: data_set(file) for uid, file in kept.items()} == {uid: data_set(file) for uid, file in stored.items()}


def uid_of(file: Path) -> str:
    return str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID)


def data_set(content: bytes) -> bytes:
    """What follows group 0002, whose length is its first element's value (PS3.10, 7.1)."""
    return content[144 + int.from_bytes(content[140:144], "little") :]


@pytest.mark.parametrize("way", ["dicomweb", "dimse"])
def test_a_query_finds_what_it_asks_for(orthanc: Orthanc, tiny_bundle: Path, way: str) -> None:
    address = addresses(orthanc)[way]
    every = predict(tiny_bundle, address)
    assert predict(tiny_bundle, address, "ModalitiesInStudy=CR") == [row for row in every if row.facts.modality == "CR"]
    two = {every[0].facts.study_instance_uid, every[1].facts.study_instance_uid}
    found = predict(tiny_bundle, address, f"StudyInstanceUID={','.join(sorted(two))}")
    assert {row.facts.study_instance_uid for row in found} == two
    assert predict(tiny_bundle, every[3].path, None) == every[3:4]
    gone = every[3].path[:-1] + ("1" if every[3].path[-1] != "1" else "2")
    (row,) = predict(tiny_bundle, gone, None, QUICK)
    # Over DIMSE Orthanc says no more than that it cannot (C000).
    assert (row.status, row.code) == ("failed", {"dicomweb": "not_in_archive", "dimse": "archive_error"}[way])


def test_an_archive_with_a_login(tiny_bundle: Path, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(login=True) as archive:
        archive.store(films / "0.dcm")
        address = f"dicomweb+{archive.dicomweb}"
        with pytest.raises(ArchiveError, match="HTTP 401"):
            predict(tiny_bundle, address)
        monkeypatch.setenv("CXRZERO_DICOMWEB_USER", USER)
        monkeypatch.setenv("CXRZERO_DICOMWEB_PASSWORD", PASSWORD)
        assert [row.status for row in predict(tiny_bundle, address, "ModalitiesInStudy=DX")] == ["ok"]
