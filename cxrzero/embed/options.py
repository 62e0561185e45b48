"""What `cxrzero embed` is asked to do. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from cxrzero.choices import Backend, CacheBy, DecodeIn, Device, Invert, Precision, View
from cxrzero.options import option, option_of
from cxrzero.predict.options import PredictOptions
from cxrzero.predict.shard import Shard


@dataclass(frozen=True, slots=True)
class EmbedOptions:
    """One `cxrzero embed`; what it shares with `predict` means the same there."""

    paths: tuple[str, ...] = option_of(PredictOptions, "paths")
    out: Path = option(
        Path("embeddings.parquet"),
        "Write the embeddings to this file: .parquet, which may have any number of films, or .npz for NumPy.",
        short="-o",
        metavar="FILE",
        decides="nothing",
        recorded=False,
    )
    overwrite: bool = option(False, "Replace files that exist already.", decides="nothing", recorded=False)
    model: tuple[str, ...] = option_of(PredictOptions, "model")
    device: Device = option_of(PredictOptions, "device")
    backend: Backend = option_of(PredictOptions, "backend")
    precision: Precision = option_of(PredictOptions, "precision")
    batch_size: int | None = option_of(PredictOptions, "batch_size")
    workers: int | None = option_of(PredictOptions, "workers")
    decode_in: DecodeIn = option_of(PredictOptions, "decode_in")
    cache: bool = option_of(PredictOptions, "cache")
    cache_by: CacheBy = option_of(PredictOptions, "cache_by")
    invert: Invert = option_of(PredictOptions, "invert")
    fast_decode: bool = option_of(PredictOptions, "fast_decode")
    gpu_decode: bool = option_of(PredictOptions, "gpu_decode")
    skip: tuple[str, ...] = option_of(PredictOptions, "skip")
    only: View | None = option_of(PredictOptions, "only")
    pseudonymise: bool = option_of(PredictOptions, "pseudonymise")
    pseudonym_key: Path | None = option_of(PredictOptions, "pseudonym_key")
    shard: Shard | None = option_of(PredictOptions, "shard")
    allow_remote_list: bool = option_of(PredictOptions, "allow_remote_list")

    def as_predict(self) -> PredictOptions:
        """The same models, decoders and films, for what `predict` does with them; it is asked nothing."""
        names = {field.name for field in dataclasses.fields(PredictOptions)}
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name in names}
        return PredictOptions(**shared | {"out": str(self.out)})
