"""A report says what its rows say, has the identity of its source byte for byte, and is as the standard asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from cxrzero.dicom_out.report import report_of
from cxrzero.dicom_out.source import IDENTITY, SourceFilm, read_source
from cxrzero.dicom_out.write import encoded, write_report
from cxrzero.errors import ConfigError, ImageError
from tests.support import dciodvfy, needs
from tests.support.dicomfile import As, dicom_bytes
from tests.support.results import HEADERS, KOREAN, SCORES, items, named, run_record, scored, write_film


@pytest.fixture
def film(tmp_path: Path) -> SourceFilm:
    return scored(write_film(tmp_path / "film.dcm"))


def read_back(folder: Path, films: list[SourceFilm], **record: Any) -> pydicom.FileDataset:
    return pydicom.dcmread(write_report(report_of(films, run_record(**record)), folder / "reports"))


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big_endian"])
def test_identity_is_the_sources_own_bytes(tmp_path: Path, name: str, syntax: str) -> None:
    path = write_film(tmp_path / "film.dcm", syntax, **HEADERS[name])
    ours, theirs = read_back(tmp_path, [scored(path)]), pydicom.dcmread(path)
    for keyword in ("SpecificCharacterSet", *IDENTITY):
        before, after = (each.get_item(keyword) for each in (theirs, ours))
        if before is None:
            assert after is None or not after.value  # the standard wants it there, and empty
        elif isinstance(before, RawDataElement) and dictionary_VR(keyword) != "SQ":
            assert after is not None
            assert (after.value or b"") == (before.value or b"")
        else:
            assert ours[keyword].value == theirs[keyword].value
    if syntax == "explicit" and name != "gbk":  # which dciodvfy takes for the default repertoire
        assert dciodvfy.errors(tmp_path / "reports" / f"{ours.SOPInstanceUID}.dcm") == []


def test_a_broken_report_is_found_out(tmp_path: Path, film: SourceFilm) -> None:
    report = report_of([film], run_record())
    del report.VerificationFlag
    del named(report, "Source of Measurement")[0].ReferencedSOPSequence
    named(report, "Finding")[0].ValueType = "CODES"
    said = "\n".join(dciodvfy.errors(write_report(report, tmp_path)))
    assert "VerificationFlag" in said
    assert "ReferencedSOPSequence" in said
    assert "CODES" in said


def test_numbers_and_decisions_are_the_tables(tmp_path: Path) -> None:
    film = scored(
        write_film(tmp_path / "film.dcm"),
        calibrated={"pneumothorax": 0.25, "pneumonia": None},
        decision={"pneumothorax": 0, "pneumonia": 1},
        sd={"pneumothorax": 0.01},
    )
    first, second = named(read_back(tmp_path, [film]), "Measurement Group")
    shown = {}
    for number in named(first, "Certainty of Finding"):
        measured = number.MeasuredValueSequence[0]
        assert measured.MeasurementUnitsCodeSequence[0].CodeValue == "%"
        assert float(measured.NumericValue) == pytest.approx(measured.FloatingPointValue, abs=1e-6)
        shown[number.ContentSequence[0].ConceptCodeSequence[0].CodeMeaning] = measured.FloatingPointValue / 100
    assert shown == pytest.approx(
        {"Probability by the model, not calibrated": 0.123456789, "Calibrated probability": 0.25,
         "Standard Deviation": 0.01}, abs=1e-12,
    )  # fmt: skip
    assert named(first, "Presence of property")[0].ConceptCodeSequence[0].CodeValue == "272519000"
    assert named(second, "Presence of property")[0].ConceptCodeSequence[0].CodeValue == "52101004"
    (number,) = named(second, "Certainty of Finding")
    assert number.MeasuredValueSequence[0].FloatingPointValue == 75.0
    assert [each.TextValue for each in named(first, "Tracking Identifier")] == ["pneumothorax"]
    assert named(first, "Finding")[0].ConceptCodeSequence[0].CodeValue == "36118008"
    assert named(first, "Source of Measurement")[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.101"


def test_what_is_known_against_a_finding_goes_with_it(tmp_path: Path) -> None:
    film = scored(write_film(tmp_path / "film.dcm"), flags=frozenset({"lateral", "low_contrast"}))
    report = read_back(
        tmp_path, [film], at_chance={"pneumonia": "measured at chance with tiny"},
        location={"pneumothorax": "not validated", "pneumonia": "validated"},
    )  # fmt: skip
    said = [
        "\n".join(each.TextValue for each in named(group, "Comment")) for group in named(report, "Measurement Group")
    ]
    assert "At chance" not in said[0]
    assert "Location not validated" in said[0]
    assert "At chance: measured at chance with tiny." in said[1]
    assert "Location" not in said[1]
    assert all("lateral (The header says lateral view" in each and "low_contrast" in each for each in said)
    comments = "\n".join(each.TextValue for each in named(report, "Comment"))
    assert "not a medical device" in comments
    assert "not calibrated" in comments


def test_it_states_what_made_it(tmp_path: Path, film: SourceFilm) -> None:
    report = read_back(tmp_path, [film])
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    (equipment,) = report.ContributingEquipmentSequence
    purpose = equipment.PurposeOfReferenceCodeSequence[0]
    assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("109102", "DCM")
    assert (equipment.Manufacturer, equipment.ManufacturerModelName) == ("cxrzero", "tiny")
    assert equipment.SoftwareVersions[0] == "cxrzero 0.1"
    assert equipment.DeviceUID == named(report, "Device Observer UID")[0].UID
    group = named(report, "Measurement Group")[0]
    (parameters,) = (each.TextValue for each in named(group, "Algorithm Parameters"))
    for part in (f"fingerprint {'f' * 64}", '"pneumothorax", "pneumothorax seen"', '"no pneumothorax"'):
        assert part in parameters
    assert "no pneumonia" not in parameters


def test_an_ensemble_names_all_its_models(tmp_path: Path, film: SourceFilm) -> None:
    asked = run_record().prompts[0]
    report = read_back(tmp_path, [film], models=(("a", "1" * 64), ("b", "2" * 64)), prompts=(asked, asked))
    parameters = [each.TextValue for each in named(named(report, "Measurement Group")[0], "Algorithm Parameters")]
    assert [each.split(";")[0] for each in parameters] == ["model a", "model b"]
    assert report.ManufacturerModelName == "a + b"
    assert dciodvfy.errors(tmp_path / "reports" / f"{report.SOPInstanceUID}.dcm") == []


def test_the_same_result_is_the_same_object(tmp_path: Path, film: SourceFilm) -> None:
    record = run_record()
    report = report_of([film], record)
    assert encoded(report_of([scored(tmp_path / "film.dcm")], record)) == encoded(report)
    later = report_of([film], replace(record, started="2027-01-01T00:00:00+00:00"))
    assert later.SOPInstanceUID == report.SOPInstanceUID
    assert (later.ContentDate, report.ContentDate, report.ContentTime) == ("20270101", "20260304", "050607.089000")
    other_patient = scored(write_film(tmp_path / "other.dcm", PatientName="Other^Name", PatientID="7"))
    assert report_of([other_patient], record).SOPInstanceUID == report.SOPInstanceUID


@pytest.mark.parametrize(
    "change",
    [
        {"models": (("tiny", "e" * 64),)},
        {"precision": "fp16"},
        {"version": "0.2"},
        {"calibration_sha256": "c" * 64},
        {"labels": tuple(SCORES)[::-1]},
        {"at_chance": {"pneumonia": "so"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_run_makes_another_object(film: SourceFilm, change: dict[str, Any]) -> None:
    assert report_of([film], run_record(**change)).SOPInstanceUID != report_of([film], run_record()).SOPInstanceUID


def test_another_number_makes_another_object(tmp_path: Path, film: SourceFilm) -> None:
    near = scored(tmp_path / "film.dcm", scores={**SCORES, "pneumonia": 0.75000006})  # the next float32
    assert report_of([near], run_record()).SOPInstanceUID != report_of([film], run_record()).SOPInstanceUID


def test_times_are_in_the_zone_that_the_source_states(tmp_path: Path) -> None:
    film = scored(write_film(tmp_path / "film.dcm", TimezoneOffsetFromUTC="-0530"))
    report = report_of([film], run_record())
    assert (report.TimezoneOffsetFromUTC, report.ContentDate, report.ContentTime) == (
        "-0530",
        "20260303",
        "233607.089000",
    )
    assert "TimezoneOffsetFromUTC" not in report_of([scored(write_film(tmp_path / "b.dcm"))], run_record())


def test_each_frame_is_referred_to_by_its_number(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.dcm", frames=3, NumberOfFrames=3, Modality="OT")
    report = read_back(tmp_path, [scored(path, frame=1), scored(path, frame=3)])
    referenced = [each.ReferencedSOPSequence[0] for each in named(report, "Source of Measurement")]
    assert [each.ReferencedFrameNumber for each in referenced] == [1, 1, 3, 3]
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    assert len(study.ReferencedSeriesSequence[0].ReferencedSOPSequence) == 1
    assert dciodvfy.errors(tmp_path / "reports" / f"{report.SOPInstanceUID}.dcm") == []


def test_letters_that_the_source_lacks_put_all_of_it_into_utf_8(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.dcm", **HEADERS["korean"])
    report = read_back(tmp_path, [scored(path, scores={"Lungenödem": 0.5})], labels=("Lungenödem",))
    assert report.SpecificCharacterSet == "ISO_IR 192"
    assert report.PatientName == pydicom.dcmread(path).PatientName
    assert "洪^吉洞" in str(report.PatientName)
    assert [each.TextValue for each in named(report, "Tracking Identifier")] == ["Lungenödem"]
    assert dciodvfy.errors(tmp_path / "reports" / f"{report.SOPInstanceUID}.dcm") == []


@pytest.mark.parametrize(
    ("characters", "name"),
    [(None, "Müller^Jürgen".encode("latin-1")), ("ISO_IR 999", "山田^太郎".encode("shift_jis")),
     ("GB18030", b"Wang\xff\xff^X")],
)  # fmt: skip
def test_bytes_that_nobody_can_read_stay_as_they_are(tmp_path: Path, characters: str | None, name: bytes) -> None:
    """Letters that the stated character set lacks: put into UTF-8, they would become something else."""
    path = write_film(tmp_path / "film.dcm", SpecificCharacterSet=characters, PatientName=name)
    report = read_back(tmp_path, [scored(path, scores={"Lungenödem": 0.5})], labels=("Lungenödem",))
    assert report.get_item("PatientName").value == name + b" " * (len(name) % 2)
    assert [each.TextValue for each in named(report, "Tracking Identifier")] == ["Lungen\\xf6dem"]


def test_a_label_that_would_be_obeyed_is_written_out(tmp_path: Path) -> None:
    label = "mass\x1b$B\\ left" + "x" * 80
    film = scored(write_film(tmp_path / "film.dcm"), scores={label: 0.5})
    report = read_back(tmp_path, [film], labels=(label,))
    (tracking,) = named(report, "Tracking Identifier")
    assert tracking.TextValue.startswith(r"mass\x1b$B\ left")
    meaning = named(report, "Finding")[0].ConceptCodeSequence[0].CodeMeaning
    assert meaning.startswith("mass/x1b$B/ left")
    assert len(meaning) == 64
    assert dciodvfy.errors(tmp_path / "reports" / f"{report.SOPInstanceUID}.dcm") == []


def test_without_a_model_or_a_date_there_is_no_report(film: SourceFilm) -> None:
    with pytest.raises(ConfigError, match="names no model"):
        report_of([film], run_record(models=(), prompts=()))
    with pytest.raises(ConfigError, match="when it started"):
        report_of([film], run_record(started="yesterday"))


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"])
def test_a_film_without_a_uid_cannot_be_referred_to(tmp_path: Path, keyword: str) -> None:
    wrong: dict[str, Any] = {keyword: "CANARY 1"}
    (tmp_path / "film.dcm").write_bytes(dicom_bytes(None, **wrong))
    with pytest.raises(ImageError, match=f"no_uids: .*{keyword}") as raised:
        read_source(tmp_path / "film.dcm")
    assert "CANARY" not in str(raised.value)


@pytest.mark.parametrize(
    ("syntax", "header"),
    [
        ("explicit", {"PatientName": As("ZZ", b"Canary")}),
        ("implicit", {"PatientID": b"Canary" * 12_000}),
        ("implicit", {"IssuerOfAccessionNumberSequence": As("OB", b"Canary")}),
        ("explicit", {"IssuerOfAccessionNumberSequence": [{"LocalNamespaceEntityID": As("QQ", b"Canary")}]}),
    ],
    ids=["unknown VR", "too long", "no sequence", "unknown VR inside"],
)
def test_identity_that_cannot_be_taken_over_is_a_fault_of_the_film(
    tmp_path: Path, syntax: str, header: dict[str, Any]
) -> None:
    path = write_film(tmp_path / "film.dcm", syntax, **header)
    with pytest.raises(ImageError, match=r"^bad_header: ") as raised:
        read_source(path)
    assert "Canary" not in str(raised.value)


def test_highdicom_reads_what_the_rows_say(tmp_path: Path) -> None:
    needs.modules("highdicom")
    import highdicom

    films = [scored(write_film(tmp_path / f"{number}.dcm", number=number)) for number in (1, 2)]
    read = highdicom.sr.srread(write_report(report_of(films, run_record()), tmp_path))
    assert isinstance(read, highdicom.sr.Comprehensive3DSR)
    groups = read.content.get_image_measurement_groups()
    found = [
        (group.tracking_identifier, group.get_measurements(codes.DCM.CertaintyOfFinding)[0].value / 100)
        for group in groups
    ]
    assert found == [(label, pytest.approx(value, abs=1e-12)) for label, value in [*SCORES.items(), *SCORES.items()]]
    assert [group.source_images[0].referenced_sop_instance_uid for group in groups] == ["2.25.101"] * 2 + [
        "2.25.102"
    ] * 2
    assert len(read.get_evidence()) == 2


def test_the_tree_is_the_one_that_highdicom_builds(tmp_path: Path, film: SourceFilm) -> None:
    needs.modules("highdicom")
    report = report_of([film], run_record(location=dict.fromkeys(SCORES, "validated")))
    assert plain(_by_highdicom(report)) == plain(report)


def plain(item: Dataset) -> Any:
    """A content item and all below it, as JSON has it."""
    kept = (
        "RelationshipType", "ValueType", "ConceptNameCodeSequence", "TextValue", "UID", "ConceptCodeSequence",
        "MeasuredValueSequence", "ReferencedSOPSequence", "ContinuityOfContent", "ContentTemplateSequence",
    )  # fmt: skip
    own = {keyword: item[keyword].to_json_dict(None, 1024) for keyword in kept if keyword in item}
    return own, [plain(each) for each in item.get("ContentSequence", ())]


def _by_highdicom(report: Dataset) -> Dataset:
    """The same content, put together by highdicom's templates."""
    from highdicom import sr

    def text(meaning: str, place: Dataset = report) -> str:
        return str(named(place, meaning)[0].TextValue)

    device = sr.DeviceObserverIdentifyingAttributes(
        uid=named(report, "Device Observer UID")[0].UID, name=text("Device Observer Name"),
        manufacturer_name=text("Device Observer Manufacturer"), model_name=text("Device Observer Model Name"),
        serial_number=text("Device Observer Serial Number"),
    )  # fmt: skip
    groups = []
    for group in named(report, "Measurement Group"):
        number = named(group, "Certainty of Finding")[0]
        method = number.ContentSequence[0].ConceptCodeSequence[0]
        finding = named(group, "Finding")[0].ConceptCodeSequence[0]
        groups.append(
            sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=sr.TrackingIdentifier(
                    uid=named(group, "Tracking Unique Identifier")[0].UID, identifier=text("Tracking Identifier", group)
                ),
                finding_type=sr.CodedConcept(finding.CodeValue, finding.CodingSchemeDesignator, finding.CodeMeaning),
                algorithm_id=sr.AlgorithmIdentification(
                    name=text("Algorithm Name", group), version=text("Algorithm Version", group),
                    manufacturer=text("Algorithm Manufacturer", group),
                    parameters=[text("Algorithm Parameters", group)],
                ),
                measurements=[
                    sr.Measurement(
                        codes.DCM.CertaintyOfFinding, number.MeasuredValueSequence[0].FloatingPointValue,
                        codes.UCUM.Percent,
                        method=sr.CodedConcept(method.CodeValue, method.CodingSchemeDesignator, method.CodeMeaning),
                    )
                ],
                source_images=[sr.SourceImageForMeasurementGroup("1.2.840.10008.5.1.4.1.1.1.1", "2.25.101")],
            )
        )  # fmt: skip
    built = sr.MeasurementReport(
        sr.ObservationContext(sr.ObserverContext(codes.DCM.Device, device)), codes.SCT.ImagingProcedure, groups
    )[0]
    built.ContentSequence.append(sr.ContentItem._from_dataset_derived(report.ContentSequence[-1]))
    return Dataset(built)


def test_every_item_has_a_relation_but_the_root(film: SourceFilm) -> None:
    report = report_of([film], run_record())
    assert "RelationshipType" not in report
    assert all("RelationshipType" in each for each in list(items(report))[1:])
    assert KOREAN not in encoded(report)
