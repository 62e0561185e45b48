"""Reports of use that libraries underneath would send: off as soon as cxrzero is imported, before they are.

What each of them does, and how it is stopped, stands in docs/models.md; tests/test_network.py listens.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Read once, when the library starts. Both take these words for yes, in any case, and everything else for no.
VARIABLES = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY")
TELLS_NOBODY = "cxrzero tells nobody about its use"
YES = ("1", "on", "true", "yes")
# Ray reports where this is not 0 when it is imported.
RAY_REPORTS = "RAY_USAGE_STATS_ENABLED"
OPENVINO = "openvino_telemetry"

log = logging.getLogger("cxrzero")


def turn_off() -> None:
    """Turn it off for this process and all that it starts; say so where the user wanted it on, or it comes too late."""
    is_late = "onnxruntime" in sys.modules and not is_yes(os.environ.get("ORT_DISABLE_TELEMETRY"))
    for variable in VARIABLES:
        switch_on(variable, TELLS_NOBODY)
    if is_yes(os.environ.get(RAY_REPORTS)):
        log.warning("%s=%s is taken as 0: %s", RAY_REPORTS, os.environ[RAY_REPORTS], TELLS_NOBODY)
    os.environ[RAY_REPORTS] = "0"
    if is_late:
        _hush_onnxruntime()


def switch_on(variable: str, why: str) -> None:
    """Set a variable to 1; one that the user has set to the opposite is named."""
    before = os.environ.get(variable)
    if is_yes(before):
        return
    if before:
        log.warning("%s=%s is taken as 1: %s", variable, before, why)
    os.environ[variable] = "1"


def is_yes(value: str | None) -> bool:
    return value is not None and value.lower() in YES


def _hush_onnxruntime() -> None:
    """All that can be done once it has started. Its first report is not stopped by that, so this is said."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    if tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 29):
        log.warning(
            "onnxruntime was imported before cxrzero, with its telemetry on. It is turned off now, but what it began "
            "goes on: it asks for mobile.events.data.microsoft.com and keeps a device id in the user's cache folder. "
            "Import cxrzero first, or set ORT_DISABLE_TELEMETRY=1, and it does neither"
        )


@contextmanager
def openvino_unheard() -> Iterator[None]:
    """Import OpenVINO inside: it takes a stub of its own where its telemetry package cannot be imported.

    With it, `import openvino` itself asks for www.google-analytics.com, and nothing but the package's absence stops it.
    """
    there = {name: module for name, module in sys.modules.items() if name.split(".")[0] == OPENVINO}
    if there and "openvino" in sys.modules:
        log.warning(
            "openvino was imported before cxrzero took it, and has asked for www.google-analytics.com unless you opted "
            "out; uninstall openvino-telemetry, and it does not"
        )
    for name in there:
        del sys.modules[name]
    sys.modules[OPENVINO] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[OPENVINO]
        sys.modules.update(there)
