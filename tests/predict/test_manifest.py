"""The record of a run says each thing once."""

from types import SimpleNamespace
from typing import Any

from cxrzero.predict.manifest import reasons


def test_a_reason_that_two_models_have_is_stated_once() -> None:
    small, large = "no NVIDIA driver was found", "no NVIDIA driver was found; OpenVINO is installed"
    encoders: list[Any] = [SimpleNamespace(reason=reason) for reason in (small, large)]
    assert reasons(encoders) == large
