"""A store, films in it, and commands that have little patience."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cxrzero.archive.limits import Limits
from cxrzero.cli import app
from cxrzero.remote import objects as module
from cxrzero.remote.objects import Objects
from cxrzero.sources import ImageRef, WalkCounts
from tests.support import needs
from tests.support.dicomfile import dicom_bytes
from tests.support.pictures import picture

needs.modules("fsspec", "s3fs", "moto", "requests")
from tests.support.stores import LOGIN, Bucket, serving_s3  # noqa: E402

Run = Callable[..., Result]
QUICK = Limits(requests=8, tries=4, wait_s=0.01, longest_wait_s=0.2, failures=4, object_bytes=2**20, read_s=5)


@pytest.fixture(autouse=True)
def no_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's login, proxy, certificates or configuration come from outside of a test."""
    for name in (
        "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE", "CXRZERO_ANONYMOUS", "NETRC",
        "CXRZERO_CA_FILE", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "STORAGE_EMULATOR_HOST",
        "AZURE_STORAGE_CONNECTION_STRING", "GOOGLE_APPLICATION_CREDENTIALS",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    for name, value in LOGIN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CXRZERO_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Limits:
    """What all stores have that are opened meanwhile, by commands too."""
    monkeypatch.setattr(module, "LIMITS", QUICK)
    return QUICK


@pytest.fixture(scope="module")
def served() -> Iterator[Bucket]:
    with serving_s3() as bucket:
        yield bucket


@pytest.fixture
def s3(served: Bucket, quick: Limits, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket `films`."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", served.endpoint)
    served.behave = None
    for key in served.keys():  # noqa: SIM118 (it asks)
        served.client.delete_object(Bucket="films", Key=key)
    served.asked.clear()
    yield served
    served.behave = None


@pytest.fixture
def cxrzero(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in tmp_path."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(name: str, *arguments: str | Path) -> Result:
        model = ["--model", str(tiny_bundle)] if name in ("predict", "heatmap", "search") else []
        labels = ["--labels", "edema"] if name in ("predict", "heatmap") else []
        return CliRunner().invoke(app, [name, *map(str, arguments), *labels, *model])

    return run


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder of drawn films of several kinds, of what is none, and of a file that is damaged."""
    from PIL import Image

    folder = tmp_path / "films"
    for number, name in enumerate(("a/one.dcm", "a/two.dcm", "b/ä ö%20.dcm", "b/deep/three", "z.dcm")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(
            dicom_bytes(picture(number, (64, 48)), Modality="DX", StudyInstanceUID=f"1.2.{number}")
        )
    Image.fromarray(picture(9, (64, 48))).save(folder / "b" / "four.png")
    (folder / "b" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (folder / "notes").write_text("no film", encoding="utf-8")
    (folder / "a" / "._one.dcm").write_bytes(b"a fork")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "one.png").write_bytes(b"a fork, too")
    return folder


def listed(objects: Objects, address: str, counts: WalkCounts | None = None) -> list[ImageRef]:
    objects.check([address])
    return list(objects.films([address], WalkCounts() if counts is None else counts))


def on_files(rows: list[dict[str, Any]], address: str, folder: Path) -> list[dict[str, Any]]:
    """The rows of a store as a folder of this machine would have them."""
    return [row | {"path": row["path"].replace(address, str(folder))} for row in rows]
