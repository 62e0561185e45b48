"""Zero-shot chest X-ray screening: images and plain words in, probabilities out. Not a medical device.

from cxrzero import Screener
rows = Screener().predict("folder/", labels=["pneumonia", "edema"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cxrzero._version import __version__
from cxrzero.errors import CxrzeroError

if TYPE_CHECKING:
    from cxrzero.prediction import Prediction
    from cxrzero.screener import Screener

__all__ = ["CxrzeroError", "Prediction", "Screener", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the API on first use, so that `cxrzero --help` loads neither NumPy nor ONNX Runtime."""
    if name == "Screener":
        from cxrzero.screener import Screener

        return Screener
    if name == "Prediction":
        from cxrzero.prediction import Prediction

        return Prediction
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
