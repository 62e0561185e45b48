"""The machine and the libraries that a measurement is about."""

from __future__ import annotations

import os
import platform

from cxrzero.backends.base import cpu_count
from cxrzero.backends.processor import processor_name
from cxrzero.files import software

PACKAGES = (
    "numpy", "pillow", "pydicom", "imagecodecs", "tifffile", "onnxruntime", "onnxruntime-gpu", "openvino", "torch",
)  # fmt: skip


def machine() -> dict[str, str | int]:
    """Processor, cores that this process may use, memory in GB, operating system."""
    found: dict[str, str | int] = {"processor": processor_name(), "cores": cpu_count(), "system": platform.system()}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory_gb"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9)
    return found


def versions() -> dict[str, str]:
    """Versions of cxrzero, Python and what decodes and encodes, where it is installed."""
    return software(PACKAGES)
