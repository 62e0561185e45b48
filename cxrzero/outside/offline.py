"""The Hugging Face Hub out of reach: open_clip, timm and transformers ask it for whatever a configuration names.

What builds the model that a stranger's file describes does so under `offline`, and so runs every command but
`models pull`.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import ContextDecorator
from typing import Any

from cxrzero.outside.telemetry import is_yes, switch_on

VARIABLE = "HF_HUB_OFFLINE"
LIBRARY = "huggingface_hub.constants"  # which reads the variable once, when it is imported


class _Offline(ContextDecorator):
    """Inside, `huggingface_hub` refuses every request; after the last of those inside, all is as it was.

    The setting is the process's, and that of processes started meanwhile: other threads are refused too.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: str | None = None
        self._refused = False

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._before = os.environ.get(VARIABLE)
                loaded = sys.modules.get(LIBRARY)
                self._refused = loaded.HF_HUB_OFFLINE if loaded else _is_asked_for()
                switch_on(VARIABLE, "of cxrzero's commands only `models pull` asks the Hugging Face Hub")
                _refuse(True)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                os.environ.pop(VARIABLE)
                if self._before is not None:
                    os.environ[VARIABLE] = self._before
                _refuse(self._refused)


offline = _Offline()


def _is_asked_for() -> bool:
    """Whether the user wants it, in either of the words that the library knows."""
    return is_yes(os.environ.get(VARIABLE) or os.environ.get("TRANSFORMERS_OFFLINE"))


def _refuse(refused: bool) -> None:
    loaded: Any = sys.modules.get(LIBRARY)
    if loaded is not None:
        loaded.HF_HUB_OFFLINE = refused
