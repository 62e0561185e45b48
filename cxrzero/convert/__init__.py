"""Published models, and encoders of a user's own → bundles that run without torch.

    source (file of weights | open_clip folder | transformers folder)
      └─► load_model: weights, architecture, lineage, tokenizer ─► towers ─► onnx_export (checked) ─► bundle

    own/: image.onnx, text.onnx, tokenizer.json, steps.json ─► checked, rewritten, tried ─► bundle

Needs the extra [torch], transformers' folders also [hf]; encoders of one's own need [onnx] alone. Importing this
package loads none of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cxrzero.errors import MissingExtraError

if TYPE_CHECKING:
    from cxrzero.convert.importer import ImportReport
    from cxrzero.convert.loaded import LoadedModel
    from cxrzero.convert.own.asked import OwnEncoders

__all__ = ["import_model", "import_own", "load_model"]


def load_model(
    source: Path, card: str | None = None, arch: str | None = None, tokenizer: Path | None = None
) -> LoadedModel:
    """See `cxrzero.convert.importer.load_model`."""
    _require_torch()
    from cxrzero.convert.importer import load_model as load

    return load(source, card, arch, tokenizer)


def import_model(
    source: Path,
    out: Path,
    *,
    name: str | None = None,
    card: str | None = None,
    arch: str | None = None,
    tokenizer: Path | None = None,
) -> ImportReport:
    """See `cxrzero.convert.importer.import_model`.

    Raises:
        MissingExtraError: torch, open_clip or onnx is not installed.
    """
    _require_torch()
    from cxrzero.convert.importer import import_model as do_import

    return do_import(source, out, name=name, card=card, arch=arch, tokenizer=tokenizer)


def import_own(asked: OwnEncoders, out: Path, name: str) -> tuple[str, ...]:
    """See `cxrzero.convert.own.importer.import_encoders`.

    Raises:
        MissingExtraError: onnx is not installed.
    """
    _require("onnx", extra="onnx")
    from cxrzero.convert.own.importer import import_encoders

    return import_encoders(asked, out, name)


def _require_torch() -> None:
    _require("torch", "open_clip", "onnx", "safetensors", extra="torch")


def _require(*modules: str, extra: str) -> None:
    for module in modules:
        try:
            __import__(module)
        except ImportError as error:
            raise MissingExtraError(module, extra) from error
