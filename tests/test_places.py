"""What a path names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cxrzero.places.kind import PlaceKind, is_file, is_local, kind_of_place
from cxrzero.places.members import Member, parse_member


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("film.dcm", "file"),
        ("/a/b", "file"),
        ("@list", "file"),
        ("dicom:/x", "file"),
        ("C:\\films", "file"),
        ("C://films", "file"),
        ("a.zip", "file"),
        ("a.zip/x.dcm", "file"),
        ("a.zip!", "file"),
        ("a.zip!/", "file"),
        (".zip!/x.dcm", "file"),
        ("a/.zip!/x.dcm", "file"),
        ("a.rar!/x.dcm", "file"),
        ("postgresql://host/db", "file"),
        ("sqlite:///a.sqlite", "file"),
        ("dicomweb+https://pacs.example/dicom-web", "archive"),
        ("DICOM://pacs:104/A.zip!/x", "archive"),
        ("https://pacs.example/dicom-web", "object"),
        ("s3://bucket/films/", "object"),
        ("simplecache::s3://bucket/films/", "object"),
        ("memory://a", "object"),
        ("a.zip!/x.dcm", "member"),
        ("/a/B.TAR!/dir/x y.dcm", "member"),
        ("s3://bucket/shard-000.tar!/x.png", "member"),
    ],
)
def test_four_kinds_of_places(path: str, kind: PlaceKind) -> None:
    assert kind_of_place(path) == kind
    assert is_file(path) == (kind == "file")
    assert is_local(path) == (kind == "file" or (kind == "member" and "://" not in path))


def test_a_member_has_a_container_and_a_name() -> None:
    assert parse_member("/a/b.zip!/dir/x.dcm") == Member("/a/b.zip", "dir/x.dcm")
    assert parse_member("b.zip!/c.tar!/x.dcm") == Member("b.zip", "c.tar!/x.dcm")
    assert str(Member("s3://b/A.TAR", "x\ny")) == "s3://b/A.TAR!/x\ny"
    assert parse_member("s3://b/A.TAR!/x\ny") == Member("s3://b/A.TAR", "x\ny")


def test_a_folder_may_have_the_name_of_a_container(tmp_path: Path) -> None:
    (tmp_path / "a.zip!").mkdir()
    assert kind_of_place(str(tmp_path / "a.zip!" / "x.dcm")) == "file"
    assert kind_of_place(str(tmp_path / "b.zip!" / "x.dcm")) == "member"


def test_a_walk_of_files_loads_nothing_of_archive_files() -> None:
    code = (
        "import sys; from cxrzero.sources import find_images; list(find_images(['README.md'])); "
        "print({'tarfile', 'zipfile', 'numpy', 'cxrzero.containers.zips'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
