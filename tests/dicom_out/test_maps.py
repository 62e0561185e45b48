"""Maps go out as numbers or as pictures, on the film that they are of."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from typer.testing import CliRunner

from cxrzero.cli import app
from cxrzero.dicom_out.codes import Codes
from cxrzero.dicom_out.maps import Mapped
from cxrzero.dicom_out.parametric_map import parametric_map
from cxrzero.dicom_out.secondary_capture import secondary_capture
from cxrzero.dicom_out.source import read_source
from cxrzero.dicom_out.write import write_report
from cxrzero.maths import Float32s
from tests.dicom_out.conftest import Run
from tests.support import dciodvfy, needs
from tests.support.results import HEADERS, run_record, write_film

MAP: Float32s = np.linspace(-1, 2, 12, dtype=np.float32).reshape(4, 3)


def mapped(folder: Path, location: str = "not validated", label: str = "pneumothorax", **header: Any) -> Mapped:
    return Mapped(read_source(write_film(folder / "film.dcm", **header)), 1, label, 0.25, location, "patch")


def test_a_parametric_map_has_the_numbers_on_the_films_pixels(tmp_path: Path) -> None:
    needs.modules("highdicom")
    import highdicom

    of = mapped(tmp_path, PixelSpacing=["0.5", "0.25"])
    path = write_report(parametric_map(of, MAP, 8, 6, run_record(), Codes()), tmp_path)
    assert dciodvfy.errors(path) == []
    read = highdicom.imread(path)  # which has no way to the frames of numbers
    assert read.SOPClassUID.name == "Parametric Map Storage"
    np.testing.assert_array_equal(pydicom.dcmread(path).pixel_array, MAP)
    shared = read.SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [1, 0.5]  # 8 rows × 0.5 mm in 4, 6 columns × 0.25 mm in 3
    mapping = shared.RealWorldValueMappingSequence[0]
    assert (mapping.RealWorldValueIntercept, mapping.RealWorldValueSlope) == (0, 1)
    quantity, finding = shared.RealWorldValueMappingSequence[0].QuantityDefinitionSequence
    assert finding.ConceptCodeSequence[0].CodeMeaning == "Pneumothorax"
    assert quantity.ConceptCodeSequence[0].CodingSchemeDesignator == "99CXRZERO"
    derivation = shared.DerivationImageSequence[0]
    source = derivation.SourceImageSequence[0]
    assert (source.ReferencedSOPInstanceUID, source.SpatialLocationsPreserved) == ("2.25.101", "YES")
    assert "ReferencedFrameNumber" not in source
    assert "Location not validated" in derivation.DerivationDescription
    assert "not a medical device" in derivation.DerivationDescription
    assert (read.Modality, read.InstanceNumber) == ("OT", 1)
    assert (str(read.PatientName), read.PatientID) == ("Canary^Cecilia", "MRN-31337")


@pytest.mark.parametrize("name", ["plain", "japanese", "no patient at all", "no study date"])
def test_both_kinds_are_valid_with_odd_headers(tmp_path: Path, name: str) -> None:
    of = mapped(tmp_path, "validated", "Lungenödem", **HEADERS[name])
    assert "not validated" not in of.words
    flat = np.zeros((4, 3), np.float32)  # no spacing, and no height
    for made in (
        parametric_map(of, flat, 8, 6, run_record(), Codes()),
        secondary_capture(of, np.zeros((5, 7, 3), np.uint8), run_record()),
    ):
        path = write_report(made, tmp_path / "out")
        assert dciodvfy.errors(path) == []
        assert pydicom.dcmread(path).PatientName == pydicom.dcmread(tmp_path / "film.dcm").get("PatientName", "")


@pytest.mark.parametrize(
    ("stated", "axes"),
    [
        (["L", "F"], [1, 0, 0, 0, 0, -1]),
        (["R", "H"], [-1, 0, 0, 0, 0, 1]),
        (["P", "F"], [0, 1, 0, 0, 0, -1]),
        (["L", "R"], [1, 0, 0, 0, 0, -1]),
        (["X"], [1, 0, 0, 0, 0, -1]),
    ],
)
def test_directions_are_those_that_the_film_states(tmp_path: Path, stated: list[str], axes: list[int]) -> None:
    made = parametric_map(mapped(tmp_path, PatientOrientation=stated), MAP, 8, 6, run_record(), Codes())
    shared = made.SharedFunctionalGroupsSequence[0]
    assert list(shared.PlaneOrientationSequence[0].ImageOrientationPatient) == axes


@pytest.mark.parametrize(("stated", "said"), [("NO", "NO"), ("YES", "YES"), (None, "YES")])
def test_what_may_be_burned_into_a_picture_is_stated(tmp_path: Path, stated: str | None, said: str) -> None:
    picture = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    path = write_report(secondary_capture(mapped(tmp_path, BurnedInAnnotation=stated), picture, run_record()), tmp_path)
    read = pydicom.dcmread(path)
    assert read.BurnedInAnnotation == said
    np.testing.assert_array_equal(read.pixel_array, picture)
    assert read.SourceImageSequence[0].ReferencedSOPInstanceUID == "2.25.101"
    assert "Location not validated" in read.ImageComments


def test_the_same_map_is_the_same_object(tmp_path: Path) -> None:
    of = mapped(tmp_path)
    uids = [parametric_map(of, each, 8, 6, run_record(), Codes()).SOPInstanceUID for each in (MAP, MAP.copy(), MAP + 1)]
    assert uids[0] == uids[1] != uids[2]


@pytest.fixture(scope="module")
def made(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of two films and a picture, and the folder of their maps."""
    folder = tmp_path_factory.mktemp("made")
    for number in (1, 2):
        write_film(folder / "in" / f"{number}.dcm", number=number, StudyInstanceUID=f"2.25.{number}")
    Image.new("L", (40, 32)).save(folder / "in" / "picture.png")
    asked = ("--labels", "pneumothorax,lump", "--model", str(tiny_bundle), "--device", "cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in (
            ("predict", "in", "--no-cache", *asked),
            ("heatmap", "in", "--method", "occlusion", "--format", "both", "--out", "maps", *asked),
        ):
            assert CliRunner().invoke(app, command).exit_code == 0
    return folder


@pytest.fixture
def heatmaps(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same in the test's own folder, which is the current one."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "maps"


def classes(folder: str) -> list[str]:
    return sorted(str(pydicom.dcmread(path).SOPClassUID.name) for path in Path(folder).iterdir())


def test_a_folder_of_maps_becomes_objects(heatmaps: Path, cli: Run) -> None:
    result = cli("dicom-sr", "predictions.csv", "--heatmaps", "maps")
    assert result.exit_code == 3  # the picture
    said = " ".join(result.output.split())
    assert "Wrote 2 reports of 2 images and 4 maps to reports/." in said
    assert "! 3 rows are in no object: it is no DICOM file" in said  # its row, and two of its maps
    assert classes("reports") == ["Comprehensive 3D SR Storage"] * 2 + ["Parametric Map Storage"] * 4
    cli("dicom-sr", "predictions.csv", "--heatmaps", "maps", "--as", "secondary-capture", "--out", "pictures")
    assert classes("pictures") == ["Comprehensive 3D SR Storage"] * 2 + ["Secondary Capture Image Storage"] * 4
    assert all(dciodvfy.errors(path) == [] for path in [*Path("reports").iterdir(), *Path("pictures").iterdir()])


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("fingerprint", "0" * 64, "its map was made by another model than the table"),
        ("sop_instance_uid", "2.25.5", "another film is at this path now"),
        ("arrays", "../predictions.csv", "there is no file of it for --as parametric-map"),
        ("label", "scoliosis", "its file of maps has none of this finding and frame"),
        ("frame", "2", "the file has no such frame now"),
        ("status", "failed", "it has no map"),
    ],
)
def test_a_map_that_is_not_what_it_should_be_is_left_out(
    heatmaps: Path, cli: Run, column: str, value: str, said: str
) -> None:
    with (heatmaps / "heatmaps.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with (heatmaps / "heatmaps.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerow({**rows[0], column: value})
    result = cli("dicom-sr", "predictions.csv", "--heatmaps", "maps")
    assert result.exit_code == 3
    assert said in " ".join(result.output.split())
    assert "and 0 maps" in result.output


def test_a_folder_without_maps_is_refused(heatmaps: Path, cli: Run) -> None:
    result = cli("dicom-sr", "predictions.csv", "--heatmaps", "in")
    assert (result.exit_code, "has no heatmaps.csv" in result.output) == (2, True)
    assert not Path("reports").exists()
