"""Published models → bundles that run without torch.

    source (file of weights | open_clip folder | transformers folder)
      └─► load_model: weights, architecture, lineage, tokenizer ─► towers ─► onnx_export (checked) ─► bundle

Needs the extra [torch], transformers' folders also [hf]. Importing this package loads neither.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cxrzero.errors import MissingExtraError

if TYPE_CHECKING:
    from cxrzero.convert.importer import ImportReport
    from cxrzero.convert.loaded import LoadedModel

__all__ = ["import_model", "load_model"]


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


def _require_torch() -> None:
    for module in ("torch", "open_clip", "onnx", "safetensors"):
        try:
            __import__(module)
        except ImportError as error:
            raise MissingExtraError(module, "torch") from error
