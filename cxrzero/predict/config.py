"""What a command was asked to do, as plain data. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxrzero.choices import Aggregate, Backend, DecodeIn, Device, Invert, Level, Precision, TableFormat, View
from cxrzero.predict.shard import Shard


@dataclass(frozen=True, slots=True)
class PredictConfig:
    """One `cxrzero predict`.

    Attributes:
        paths: files, folders and @lists, as given.
        labels: findings in plain words; None asks the model's own list.
        prompts: prompts file, or "default" for the built-in bank; None asks the model's templates.
        out: path of the table, "-" for standard output.
        format: of the table; None goes by the suffix of `out`.
        long: one row per image and label instead of one per image.
        calibration: file of `cxrzero eval`; write calibrated probabilities and decisions too.
        scores: write the cosines behind each probability too.
        model: bundles, checkpoints or names of known models; several are an ensemble.
        device, backend, precision: see `cxrzero.backends.open_encoder`.
        batch_size, workers: None leaves the choice to the program.
        decode_in: see `cxrzero.screener.Screener`.
        fail_fast: end the run at the first image that cannot be read.
        invert: see `cxrzero.images.DecodeOptions`.
        fast_decode: see `cxrzero.images.DecodeOptions.fast_side`.
        skip, only: see `cxrzero.pipeline.selection.Selection`.
        by: "study" adds the study-level table, aggregated as `study_aggregate` says.
        pseudonymise: replace paths and UIDs by digests keyed with `pseudonym_key` (None: the user's own key file).
        cache: keep embeddings, and use those that are there.
        shard: read only this part of the files; None reads them all.
    """

    paths: tuple[str, ...]
    labels: tuple[str, ...] | None = None
    prompts: str | None = None
    calibration: str | None = None
    out: str = "predictions.csv"
    format: TableFormat | None = None
    long: bool = False
    scores: bool = False
    model: tuple[str, ...] = ("cxrzero-mini",)
    device: Device = "auto"
    backend: Backend = "auto"
    precision: Precision = "fp32"
    batch_size: int | None = None
    workers: int | None = None
    decode_in: DecodeIn = "auto"
    overwrite: bool = False
    fail_fast: bool = False
    invert: Invert = "auto"
    fast_decode: bool = False
    skip: tuple[str, ...] = ()
    only: View | None = None
    by: Level = "image"
    study_aggregate: Aggregate = "mean"
    pseudonymise: bool = False
    pseudonym_key: Path | None = None
    cache: bool = True
    shard: Shard | None = None
