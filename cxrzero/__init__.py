"""Zero-shot chest X-ray screening: images and plain words in, probabilities out. Not a medical device.

from cxrzero import Screener
rows = Screener().predict("folder/", labels=["pneumonia", "edema"])

What `__all__` names is the public API (docs/api.md). Everything else may change with any version.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cxrzero._version import __version__
from cxrzero.errors import (
    AmbiguousModelError,
    ArchiveError,
    BundleError,
    ConfigError,
    CxrzeroError,
    DeviceError,
    ImageInputError,
    ImagesEndedError,
    ImportModelError,
    LabelError,
    MissingExtraError,
    NoInputError,
    RemoteError,
    RunError,
    TokenizerError,
    UsageError,
)
from cxrzero.outside import telemetry as _telemetry

if TYPE_CHECKING:
    from cxrzero.archive.archives import Archives
    from cxrzero.embeddings.ask import Hit
    from cxrzero.embeddings.embeddings import Embeddings
    from cxrzero.embeddings.origin import Origin
    from cxrzero.heatmap.arrays import FilmMaps, Region
    from cxrzero.images.radiograph import DecodeOptions, Facts
    from cxrzero.pipeline.selection import Selection
    from cxrzero.prediction import Prediction, Predictions
    from cxrzero.remote.objects import Objects
    from cxrzero.screener import Screener

__all__ = [
    "AmbiguousModelError",
    "ArchiveError",
    "Archives",
    "BundleError",
    "ConfigError",
    "CxrzeroError",
    "DecodeOptions",
    "DeviceError",
    "Embeddings",
    "Facts",
    "FilmMaps",
    "Hit",
    "ImageInputError",
    "ImagesEndedError",
    "ImportModelError",
    "LabelError",
    "MissingExtraError",
    "NoInputError",
    "Objects",
    "Origin",
    "Prediction",
    "Predictions",
    "Region",
    "RemoteError",
    "RunError",
    "Screener",
    "Selection",
    "TokenizerError",
    "UsageError",
    "__version__",
]

_telemetry.turn_off()  # before the libraries that have some are imported

# Imported on first use, so that `cxrzero --help` loads neither NumPy nor ONNX Runtime.
_HOMES = {
    "Archives": "cxrzero.archive.archives",
    "DecodeOptions": "cxrzero.images.radiograph",
    "Embeddings": "cxrzero.embeddings.embeddings",
    "Facts": "cxrzero.images.radiograph",
    "FilmMaps": "cxrzero.heatmap.arrays",
    "Hit": "cxrzero.embeddings.ask",
    "Objects": "cxrzero.remote.objects",
    "Origin": "cxrzero.embeddings.origin",
    "Prediction": "cxrzero.prediction",
    "Predictions": "cxrzero.prediction",
    "Region": "cxrzero.heatmap.arrays",
    "Screener": "cxrzero.screener",
    "Selection": "cxrzero.pipeline.selection",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
