"""What `dciodvfy` (David Clunie's dicom3tools) says of a DICOM object: the errors by the standard's own tables."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

from tests.support import needs


def errors(path: Path) -> list[str]:
    """The lines that it calls errors; its exit status says nothing, and warnings are not asked for."""
    beside = Path(sysconfig.get_path("scripts"), "dciodvfy")  # of the registry's package
    program = str(beside) if beside.is_file() else needs.program("dciodvfy", "dicom3tools")
    done = subprocess.run([program, "-new", path], capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
    assert any(not line.startswith(("Error", "Warning")) for line in said), "it names the kind of object that it found"
    return [line for line in said if line.startswith("Error")]
