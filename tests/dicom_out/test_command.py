"""`cxrzero dicom-sr` and `predict --dicom-sr`: what they write, what they refuse, and what they count."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pydicom
import pytest

from cxrzero.dicom_out.options import DicomSrOptions
from cxrzero.dicom_out.run import make_reports
from tests.dicom_out.conftest import Run
from tests.support import dciodvfy
from tests.support.leaks import leaks
from tests.support.results import MULTI_FRAME, named, write_film
from tests.support.tables import table

CANARIES = ("Canary", "Cecilia", "31337", "ACC-4711", "19700203")


def reports(folder: str = "reports") -> dict[str, pydicom.FileDataset]:
    """Study → report, of one a study."""
    found = [pydicom.dcmread(path) for path in sorted(Path(folder).iterdir())]
    assert all(f"{each.SOPInstanceUID}.dcm" in os.listdir(folder) for each in found)
    return {each.StudyInstanceUID: each for each in found}


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Two films of a study, one of another, in one folder."""
    for number, study in ((1, "2.25.2"), (2, "2.25.2"), (3, "2.25.7")):
        write_film(tmp_path / "in" / f"{number}.dcm", number=number, StudyInstanceUID=study)
    return tmp_path / "in"


def probabilities(report: pydicom.Dataset) -> dict[tuple[str, str], float]:
    """(SOP Instance UID, label) → probability."""
    return {
        (
            named(group, "Source of Measurement")[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID,
            named(group, "Tracking Identifier")[0].TextValue,
        ): float(named(group, "Certainty of Finding")[0].MeasuredValueSequence[0].NumericValue) / 100
        for group in named(report, "Measurement Group")
    }


def test_predict_writes_reports_whose_numbers_are_the_tables(films: Path, predict: Run) -> None:
    result = predict("in", "--dicom-sr", "reports")
    assert result.exit_code == 0, result.output
    assert "Wrote 2 reports of 3 images to reports/." in result.output
    found = reports()
    assert set(found) == {"2.25.2", "2.25.7"}
    shown = {key: value for report in found.values() for key, value in probabilities(report).items()}
    stated = {
        (row["sop_instance_uid"], label): float(row[label]) for row in table() for label in ("pneumothorax", "lump")
    }
    assert shown == pytest.approx(stated, abs=1e-6)
    for path in Path("reports").iterdir():
        assert dciodvfy.errors(path) == []
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(Path("reports").stat().st_mode) == 0o700


def test_nothing_but_the_reports_tells_who_it_is(films: Path, predict: Run, cli: Run, tmp_path: Path) -> None:
    assert leaks(films, CANARIES)  # the search would find them
    said = predict("in", "--dicom-sr", "reports").output + cli("dicom-sr", "predictions.csv", "--out", "again").output
    assert not any(canary in said for canary in CANARIES)
    assert leaks(tmp_path / "predictions.csv", CANARIES) == leaks(tmp_path / "predictions.run.json", CANARIES) == []
    assert leaks(tmp_path / "reports", ["Canary"])
    assert {each.name for each in tmp_path.iterdir()} == {
        "in", "reports", "again", "predictions.csv", "predictions.run.json"
    }  # fmt: skip


def test_the_same_table_gives_the_same_bytes(films: Path, predict: Run, cli: Run) -> None:
    predict("in", "--dicom-sr", "reports")
    before = {path.name: path.read_bytes() for path in Path("reports").iterdir()}
    assert cli("dicom-sr", "predictions.csv", "--out", "other").exit_code == 0
    assert {path.name: path.read_bytes() for path in Path("other").iterdir()} == before
    assert cli("dicom-sr", "predictions.csv", "--out", "other").exit_code == 0  # and finds them there


def test_an_object_that_is_there_and_differs_is_replaced_on_request_only(films: Path, predict: Run, cli: Run) -> None:
    predict("in", "--dicom-sr", "reports")
    path = sorted(Path("reports").iterdir())[0]
    whole = path.read_bytes()
    path.write_bytes(b"something else")
    result = cli("dicom-sr", "predictions.csv", "--out", "reports")
    assert result.exit_code == 3
    assert "differs; give --overwrite" in result.output.replace("\n", " ")
    assert path.read_bytes() == b"something else"
    assert cli("dicom-sr", "predictions.csv", "--out", "reports", "--overwrite").exit_code == 0
    assert path.read_bytes() == whole


def test_one_report_for_each_image(films: Path, predict: Run, cli: Run) -> None:
    predict("in")
    assert cli("dicom-sr", "predictions.csv", "--per", "image").exit_code == 0
    found = [pydicom.dcmread(path) for path in Path("reports").iterdir()]
    assert sorted((each.StudyInstanceUID, each.InstanceNumber) for each in found) == [
        ("2.25.2", 1), ("2.25.2", 2), ("2.25.7", 1)
    ]  # fmt: skip
    assert len({each.SeriesInstanceUID for each in found}) == 2
    assert all(len(probabilities(each)) == 2 for each in found)


def test_what_has_no_report_is_counted_and_said(films: Path, predict: Run, cli: Run, png: Any) -> None:
    write_film(films / "4.dcm", number=4, StudyInstanceUID="2.25.8")
    write_film(films / "5.dcm", number=5, StudyInstanceUID="2.25.9")
    write_film(films / "6.dcm", number=6, StudyInstanceUID="2.25.2", PatientID="SOMEBODY-ELSE")
    write_film(films / "7.dcm", number=1, StudyInstanceUID="2.25.2")
    write_film(films / "8.dcm", number=8, Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    png("in/picture.png")
    (films / "broken.dcm").write_bytes((films / "1.dcm").read_bytes()[:-30])
    assert predict("in").exit_code == 3
    write_film(films / "4.dcm", number=99, StudyInstanceUID="2.25.8")
    (films / "5.dcm").unlink()
    result = cli("dicom-sr", "predictions.csv")
    assert result.exit_code == 3
    said = " ".join(result.output.split())
    for fault in (
        "another film is at this path now",
        "there is no file at this path now",
        "its study has films of two patients",
        "it is no DICOM file",
        "the run could not read it",
    ):
        assert f"! 1 row is in no object: {fault}" in said
    assert "1 row is a copy of an image that its report has already." in said
    assert "1 row that the run skipped: in no object." in said
    assert "Wrote 2 reports of 3 images" in said
    assert not any(canary in said for canary in (*CANARIES, "SOMEBODY"))


def test_of_rows_with_the_same_fault_one_is_named(films: Path, predict: Run, cli: Run, png: Any) -> None:
    for name in ("a", "b", "c"):
        png(f"in/{name}.png")
    predict("in")
    said = " ".join(cli("dicom-sr", "predictions.csv").output.split())
    assert "! 3 rows are in no object: it is no DICOM file, so no object can refer to it the first is in/a.png" in said
    assert "b.png" not in said
    assert "c.png" not in said


def test_where_nothing_can_be_reported_the_command_fails(predict: Run, cli: Run, png: Any) -> None:
    png("in/picture.png")
    assert predict("in", "--dicom-sr", "reports").exit_code == 3  # the table is there, and says all
    assert cli("dicom-sr", "predictions.csv").exit_code == 1
    assert not Path("reports").exists()


def test_frames_are_numbered(predict: Run, tmp_path: Path) -> None:
    write_film(tmp_path / "in" / "f.dcm", frames=2, NumberOfFrames=2, SOPClassUID=MULTI_FRAME, Modality="CR")
    assert predict("in", "--dicom-sr", "reports").exit_code == 0
    (report,) = reports().values()
    sources = [each.ReferencedSOPSequence[0].ReferencedFrameNumber for each in named(report, "Source of Measurement")]
    assert sources == [1, 1, 2, 2]


def test_a_calibration_decides_in_the_report(films: Path, predict: Run, tmp_path: Path) -> None:
    predict("in")
    record = json.loads(Path("predictions.run.json").read_text(encoding="utf-8"))
    record["calibration"] = {"source": "file", "sha256": "c" * 64, "worth": "fitted on so many", "labels": {}}
    Path("predictions.run.json").write_text(json.dumps(record), encoding="utf-8")
    lines = Path("predictions.csv").read_text(encoding="utf-8").splitlines()
    more = [",lump_calibrated,lump_decision", *[f",0.25,{number % 2}" for number in range(3)]]
    Path("predictions.csv").write_text("\n".join(map("".join, zip(lines, more, strict=True))), encoding="utf-8")
    made = make_reports(DicomSrOptions(Path("predictions.csv")))
    assert made.notes == ["predictions.csv has changed since its run; its record is taken for what it is now"]
    report = reports()["2.25.2"]
    assert [each.ConceptCodeSequence[0].CodeMeaning for each in named(report, "Presence of property")] == [
        "Absent",
        "Present",
    ]
    comments = "\n".join(each.TextValue for each in named(report, "Comment"))
    assert "fitted on so many" in comments
    assert "c" * 64 in comments


def test_pseudonyms_lead_to_no_film(films: Path, predict: Run, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(films.parent / "config"))
    assert predict("in", "--pseudonymise").exit_code == 0
    result = cli("dicom-sr", "predictions.csv")
    assert result.exit_code == 2
    assert "has pseudonyms in the place of paths and UIDs" in " ".join(result.output.split())
    result = predict("in", "--pseudonymise", "--dicom-sr", "reports", "--out", "b.csv")
    assert result.exit_code == 2
    assert not Path("b.csv").exists()


@pytest.mark.parametrize(
    "arguments",
    [("--out", "-"), ("--long",), ("--shard", "1/2", "--out", "part.csv")],
    ids=lambda arguments: arguments[0],
)
def test_predict_refuses_what_reports_could_not_be_made_of(
    films: Path, predict: Run, arguments: tuple[str, ...]
) -> None:
    result = predict("in", "--dicom-sr", "reports", *arguments)
    assert result.exit_code == 2
    assert "--dicom-sr" in result.output
    assert not Path("reports").exists()


def test_the_record_must_be_beside_the_table(films: Path, predict: Run, cli: Run) -> None:
    predict("in")
    record = json.loads(Path("predictions.run.json").read_text(encoding="utf-8"))
    Path("predictions.run.json").write_text(json.dumps({**record, "prompts": []}), encoding="utf-8")
    result = cli("dicom-sr", "predictions.csv")
    assert (result.exit_code, "does not know the label 'pneumothorax'" in result.output) == (2, True)
    Path("predictions.run.json").unlink()
    result = cli("dicom-sr", "predictions.csv")
    assert (result.exit_code, "there is no record of the run" in result.output) == (2, True)
    Path("file").write_text("x", encoding="utf-8")
    result = predict("in", "--dicom-sr", "file", "--out", "c.csv")
    assert (result.exit_code, "is not a folder" in result.output) == (1, True)
    assert not Path("c.csv").exists()


def test_films_are_found_from_another_folder(
    films: Path, predict: Run, cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict("in")
    (films.parent / "elsewhere").mkdir()
    monkeypatch.chdir(films.parent / "elsewhere")
    assert cli("dicom-sr", "../predictions.csv").exit_code == 1
    assert cli("dicom-sr", "../predictions.csv", "--images", "..").exit_code == 0


def test_a_dry_run_names_the_folder(films: Path, predict: Run) -> None:
    result = predict("in", "--dicom-sr", "reports", "--dry-run")
    assert "reports/, with a DICOM report for each study" in result.output
    assert not Path("reports").exists()
