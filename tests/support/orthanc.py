"""An archive of the test's own: Orthanc on loopback, its storage in a temporary folder, DICOMweb and DICOM open.

`serving()` starts one, and ends it. Debian's Orthanc 1.10 answers within a second.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import needs

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "reader", "correct-horse-7"
START_S = 30
TRIES = 3  # somebody may take a port between its choice and its use
# What Orthanc does with each object that it receives, but from the modality itself.
ROUTE = """
function OnStoredInstance(id, tags, metadata, origin)
  if origin['RemoteAet'] ~= '{title}' then
    SendToModality(id, '{name}')
  end
end
"""


@dataclass(frozen=True)
class Orthanc:
    """An archive that runs.

    Attributes:
        http_port: of its own interface and of DICOMweb.
        dicom_port: of DICOM.
        folder: its configuration, storage and log.
        has_login: whether HTTP wants USER and PASSWORD.
    """

    http_port: int
    dicom_port: int
    folder: Path
    has_login: bool = False
    title: str = "ORTHANC"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def dicomweb(self) -> str:
        """The DICOMweb service."""
        return f"{self.url}/dicom-web"

    def store(self, *files: Path | bytes) -> list[str]:
        """Put DICOM files in; their Orthanc identifiers, which are not their UIDs."""
        contents = (file if isinstance(file, bytes) else file.read_bytes() for file in files)
        return [self.ask("/instances", content)["ID"] for content in contents]

    def instances(self, **tags: str) -> list[dict[str, Any]]:
        """What it holds: instances by keyword of their header, e.g. Modality="SR"; each as Orthanc describes it."""
        return list(self.ask("/tools/find", json.dumps({"Level": "Instance", "Query": tags, "Expand": True}).encode()))

    def content(self, identifier: str) -> bytes:
        """The file of an instance."""
        return self._answer(f"/instances/{identifier}/file", None)

    def delete(self, identifier: str) -> None:
        request = urllib.request.Request(f"{self.url}/instances/{identifier}", method="DELETE", headers=self._headers())
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()

    def ask(self, path: str, body: bytes | None = None) -> Any:
        """Orthanc's own interface: GET, or POST of a body; the answer's JSON."""
        return json.loads(self._answer(path, body))

    def _answer(self, path: str, body: bytes | None) -> bytes:
        request = urllib.request.Request(self.url + path, data=body, headers=self._headers())
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bytes(answer.read())

    def _headers(self) -> dict[str, str]:
        if not self.has_login:
            return {}
        return {"Authorization": "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}


@contextmanager
def serving(
    *,
    modalities: Mapping[str, tuple[str, str, int]] | None = None,
    route: str | None = None,
    login: bool = False,
    **options: Any,
) -> Iterator[Orthanc]:
    """Start Orthanc; where there is none, the test is skipped (`needs`).

    Args:
        modalities: those that it knows, by their name in Orthanc: (AE title, host, port).
        route: name of a modality to which it sends everything that it receives, but what comes from it.
        login: HTTP wants USER and PASSWORD.
        options: of orthanc.json, such as `DicomCheckCalledAet=True` or `DicomWeb={"MaximumResults": 2}`.
    """
    program = needs.program("Orthanc", "orthanc")
    if not PLUGIN.exists():
        needs.missing(f"there is no {PLUGIN} (Debian: apt install orthanc-dicomweb)")
    with tempfile.TemporaryDirectory(prefix="orthanc-") as place:
        folder = Path(place)
        for last in range(TRIES - 1, -1, -1):
            http_port, dicom_port = free_ports(2)
            settings = _settings(folder, http_port, dicom_port, modalities or {}, route, login) | options
            (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
            with (folder / "log").open("wb") as log:
                process = subprocess.Popen(
                    [program, str(folder / "orthanc.json")], stdout=log, stderr=log, start_new_session=True
                )
            orthanc = Orthanc(http_port, dicom_port, folder, login)
            try:
                if _answers(orthanc, process):
                    yield orthanc
                    return
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(timeout=30)
            if not last:
                pytest.fail(f"Orthanc does not start:\n{(folder / 'log').read_text(errors='replace')[-2000:]}")


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    holders = [socket.socket() for _ in range(count)]
    try:
        for holder in holders:
            holder.bind(("127.0.0.1", 0))
        return [holder.getsockname()[1] for holder in holders]
    finally:
        for holder in holders:
            holder.close()


def _settings(
    folder: Path,
    http_port: int,
    dicom_port: int,
    modalities: Mapping[str, tuple[str, str, int]],
    route: str | None,
    login: bool,
) -> dict[str, Any]:
    script = folder / "route.lua"
    if route:
        script.write_text(ROUTE.format(name=route, title=modalities[route][0]), encoding="utf-8")
    return {
        "Name": "tests",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "TemporaryDirectory": str(folder),
        "Plugins": [str(PLUGIN)],
        "LuaScripts": [str(script)] if route else [],
        "HttpPort": http_port,
        "HttpBindAddresses": ["127.0.0.1"],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": login,
        "RegisteredUsers": {USER: PASSWORD} if login else {},
        "DicomAet": Orthanc.title,
        "DicomPort": dicom_port,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomModalities": {name: list(where) for name, where in modalities.items()},
        "SaveJobs": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False, "Host": "localhost", "Ssl": False},
    }


def _answers(orthanc: Orthanc, process: subprocess.Popen[bytes]) -> bool:
    """Whether it comes to answer; not where it ends first."""
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            orthanc.ask("/system")
            return True
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    return False
