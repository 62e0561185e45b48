"""Addresses, queries and logins as users type them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cxrzero.archive.address import SCHEMES, Address, kept_file, parse_address
from cxrzero.archive.credentials import Login, logins_for
from cxrzero.archive.query import Query, parse_query
from cxrzero.errors import ConfigError, UsageError
from cxrzero.places.kind import ARCHIVE_SCHEMES, kind_of_place

PACS = parse_address("dicomweb+https://pacs.example/dicom-web")


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("dicomweb+https://PACS.example:443/dicom-web/", "dicomweb+https://pacs.example/dicom-web"),
        ("DICOMweb+https://pacs.example", "dicomweb+https://pacs.example"),
        ("dicomweb+http://127.0.0.1:8042/dicom-web", "dicomweb+http://127.0.0.1:8042/dicom-web"),
        ("dicomweb+https://[::1]:8443/a/b", "dicomweb+https://[::1]:8443/a/b"),
        ("dicomweb+https://h/x/studies/1.2/series/1.3/instances/1.4/",
         "dicomweb+https://h/x/studies/1.2/series/1.3/instances/1.4"),
        ("dicom://pacs:104/ORTHANC", "dicom://pacs:104/ORTHANC"),
        ("dicom+tls://pacs:2762/MY%20PACS/studies/1.2", "dicom+tls://pacs:2762/MY%20PACS/studies/1.2"),
    ],
)  # fmt: skip
def test_an_address_has_one_form(typed: str, canonical: str) -> None:
    assert kind_of_place(typed) == "archive"
    assert str(parse_address(typed)) == canonical
    assert str(parse_address(canonical)) == canonical


def test_the_parts_of_an_address() -> None:
    found = parse_address("dicom+tls://pacs:2762/MY%20PACS/studies/1.2/series/1.3/instances/1.4")
    assert found == Address("dicom+tls", "pacs", 2762, "MY PACS", "1.2", "1.3", "1.4")
    assert parse_address("dicomweb+https://h/x/studies/1.2").url == "https://h/x/studies/1.2"


@pytest.mark.parametrize(
    "typed",
    [
        "dicomweb+https://reader:hunter2@pacs.example/dicom-web", "dicom://hunter2@pacs:104/ORTHANC",
        "dicomweb+https://h/x?PatientID=hunter2", "dicomweb+https://h/x#hunter2", "dicomweb+https:///hunter2",
        "dicomweb+https://h:port/hunter2", "dicomweb+https://h/x/studies/hunter2", "dicom://h/hunter2",
        "dicom://h:104", "dicom://h:104/hunter2-with-much-behind", "dicomweb+https://h/hunter2 x",
        "dicomweb+https://h/x/studies/..", "dicomweb+https://h/x/studies/1.2/series/1..3", "dicom://h:99999/hunter2",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_and_not_repeated(typed: str) -> None:
    assert kind_of_place(typed) == "archive"
    with pytest.raises(UsageError) as caught:
        parse_address(typed)
    assert "hunter2" not in str(caught.value)


def test_each_scheme_names_an_archive() -> None:
    assert SCHEMES.keys() == ARCHIVE_SCHEMES


def test_no_address_leads_out_of_the_folder_of_kept_files(tmp_path: Path) -> None:
    kept = kept_file(tmp_path, "dicomweb+https://h/x/studies/1.2/series/1.3/instances/1.4")
    assert kept == tmp_path / "1.2" / "1.3" / "1.4.dcm"
    for odd in (
        "dicomweb+https://h/x",
        "dicomweb+https://h/studies/../series/../instances/..",
        "dicom://h:1/X/studies/1",
    ):
        assert kept_file(tmp_path, odd) == tmp_path / ".no-instance"


def test_a_query_is_parted_by_level() -> None:
    query = parse_query("ModalitiesInStudy=DX, StudyDate=20260101-20260131,Modality=DX,SOPInstanceUID=1.2,1.3")
    assert query.of_studies == {"ModalitiesInStudy": "DX", "StudyDate": "20260101-20260131"}
    assert query.of_series == {"Modality": "DX"}
    assert query.of_instances == {"SOPInstanceUID": "1.2,1.3"}
    assert parse_query(" ALL ") == Query()


def test_a_query_shows_no_patient() -> None:
    query = parse_query("PatientID=MRN-31337,PatientName=SECRET^*,StudyDate=20260101-,StudyInstanceUID=1.2")
    shown = "PatientID=***,PatientName=***,StudyDate=20260101-,StudyInstanceUID=***"
    assert str(query) == repr(query) == shown
    assert str(Query()) == "all"


@pytest.mark.parametrize(
    "typed", ["", "StudyDate", "StudyDate=", "StudyDay=1", "StudyDate=1,StudyDate=2", "StudyID=\x1b"]
)
def test_what_is_no_query_is_refused(typed: str) -> None:
    with pytest.raises(ConfigError, match="--query"):
        parse_query(typed)


def set_environment(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"CXRZERO_DICOMWEB_{name}", value)


def test_a_login_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert logins_for([PACS]) == {}
    set_environment(monkeypatch, USER="reader", PASSWORD="hunter2")
    assert logins_for([PACS]) == {PACS: Login("reader", "hunter2")}
    assert "hunter2" not in repr(logins_for([PACS]))
    assert "reader" not in repr(logins_for([PACS]))


def test_a_login_for_nobody_knows_which_archive_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, TOKEN="hunter2")
    with pytest.raises(ConfigError, match="netrc") as caught:
        logins_for([PACS, parse_address("dicomweb+https://other.example/")])
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "values", [{"USER": "reader"}, {"USER": "a", "PASSWORD": "b", "TOKEN": "c"}, {"TOKEN": "a\nb"}, {"TOKEN": "é"}]
)
def test_half_a_login_is_refused(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    set_environment(monkeypatch, **values)
    with pytest.raises(ConfigError, match="CXRZERO_DICOMWEB_"):
        logins_for([PACS])


@pytest.mark.parametrize("service", ["dicomweb+http://pacs.example/x", "dicomweb+http://10.0.0.1/"])
def test_no_login_goes_over_an_open_line(monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    set_environment(monkeypatch, TOKEN="hunter2")
    with pytest.raises(ConfigError, match="https"):
        logins_for([parse_address(service)])
    here = parse_address("dicomweb+http://127.0.0.1:8042/")
    assert logins_for([here]) == {here: Login(token="hunter2")}


def test_a_login_of_a_netrc_file_is_that_of_its_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".netrc"
    file.write_text("machine pacs.example login reader password hunter2\ndefault login any password other\n")
    file.chmod(0o600)
    other = parse_address("dicomweb+https://other.example/")
    assert logins_for([PACS, other]) == {PACS: Login("reader", "hunter2")}
    file.rename(tmp_path / "elsewhere")
    assert logins_for([PACS]) == {}
    monkeypatch.setenv("NETRC", str(tmp_path / "elsewhere"))
    assert logins_for([PACS]) == {PACS: Login("reader", "hunter2")}


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_netrc_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / ".netrc"
    file.write_text("machine pacs.example login reader password hunter2\n")
    file.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600") as caught:
        logins_for([PACS])
    assert "hunter2" not in str(caught.value)
    assert logins_for([parse_address("dicomweb+https://other.example/")]) == {}  # of which it holds nothing
    assert stat.S_IMODE(file.stat().st_mode) == mode


def test_a_broken_netrc_file_is_named_and_not_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".netrc"
    file.write_text("machine pacs.example hunter2 hunter2\n")
    with pytest.raises(ConfigError, match="line 1") as caught:
        logins_for([PACS])
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("NETRC", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="NETRC"):
        logins_for([PACS])
