"""What a test needs beyond the core: it is skipped where that is missing, and fails there in continuous integration.

`CXRZERO_CI=1` says that everything was installed that can be: then nothing is missing by intent.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

CI = os.environ.get("CXRZERO_CI") == "1"


def program(name: str, package: str) -> str:
    """Path of a program of the Debian package `package`, which `.ci/install` installs.

    Not one of a Python environment: pynetdicom brings a `storescu` of its own, which knows other options than dcmtk's.
    """
    found = next(
        (path for place in os.get_exec_path() if (path := shutil.which(name, path=place)) and not _ours(path)), None
    )
    if found is None:
        missing(f"the program {name} is not installed (Debian: apt install {package})")
    return str(found)


def _ours(program: str) -> bool:
    """Whether pip has made it: a script that a Python runs."""
    with open(program, "rb") as file:
        first = file.readline(200)
    return first.startswith(b"#!") and b"python" in first


def empty_network() -> list[str]:
    """What, before a command, runs it as root of a network namespace of its own, where nobody is reached."""
    if sys.platform != "linux":
        pytest.skip("network namespaces are Linux's")
    program("ip", "iproute2")
    unshare, refusal = program("unshare", "util-linux"), ""
    for command in ([unshare, "--map-root-user", "--net"], [unshare, "--net"]):
        tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            return command
        refusal = refusal or tried.stderr.strip()
    missing(f"an empty network namespace is not permitted here ({refusal})")
    return []


def modules(*names: str) -> None:
    """At the head of a file of tests that all need these packages, before they are imported."""
    for name in names:
        if CI:
            importlib.import_module(name)
        else:
            pytest.importorskip(name)


class optional:  # noqa: N801
    """A package that some tests of a file use: `pd = optional("pandas")`. It is imported when one of them does."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        modules(self._name)
        return getattr(importlib.import_module(self._name), attribute)


def missing(why: str) -> None:
    if CI:
        pytest.fail(why)
    pytest.skip(why)
