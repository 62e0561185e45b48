"""The record of a run, `<stem>.run.json`: everything that decides its numbers, and what happened."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrzero._version import __version__
from cxrzero.errors import UsageError
from cxrzero.files import installed_versions
from cxrzero.heatmap.methods import LOCATION, choose_method, validated
from cxrzero.options import record_of
from cxrzero.predict.commandline import HIDDEN
from cxrzero.predict.kept import kept_record
from cxrzero.predict.options import PredictOptions
from cxrzero.tables.table import STDOUT

if TYPE_CHECKING:
    from cxrzero.backends.open import Encoder
    from cxrzero.pipeline.items import RunStats
    from cxrzero.predict.plan import Plan
    from cxrzero.predict.run import Outcome
    from cxrzero.screener import Screener
    from cxrzero.sources import WalkCounts

MANIFEST_SCHEMA_VERSION = 1

# What takes part between the file and the probability.
RECORDED_PACKAGES = (
    "numpy", "pillow", "pydicom", "imagecodecs", "tifffile", "tokenizers", "onnxruntime-gpu", "onnxruntime",
)  # fmt: skip


def default_out(options: PredictOptions) -> str:
    """Where the table goes when nobody says."""
    return f"predictions.{options.format or 'csv'}"


def manifest_path(out: str) -> Path:
    """`<stem>.run.json` beside the table `out`."""
    path = Path(out)
    return path.with_name(path.stem + ".run.json")


def studies_path(out: str) -> Path:
    """`<stem>.studies.csv` beside the table.

    Raises:
        UsageError: the table goes to standard output.
    """
    if out == STDOUT:
        raise UsageError("--by study writes a second table, so --out must name a file")
    path = Path(out)
    return path.with_name(path.stem + ".studies.csv")


def names_of(table: str, *, by_study: bool) -> list[str]:
    """The table and what is written beside it, of a table that is named without its folder."""
    return [table, manifest_path(table).name, *([studies_path(table).name] if by_study else [])]


def build_manifest(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """Collect the record of a finished run; its keys are documented in docs/predict.md."""
    screener, stats = plan.screener, outcome.stats
    frames = screener.gpu_frames
    return {
        **begun_manifest(plan, outcome.command, outcome.started),
        "ended": outcome.ended.isoformat(timespec="milliseconds"),
        "inputs": outcome.inputs,
        **({"embeddings": kept_record(plan.kept)} if plan.kept else {}),
        "table_sha256": outcome.table_sha256,
        "studies_sha256": outcome.studies_sha256,
        "shard": outcome.shard,
        "counts": counts_of(stats, outcome.walk),
        "not_fetched": dict(sorted(screener.archives.unfetched.items())) if screener.archives else None,
        "studies": {**asdict(outcome.studies), "warnings": outcome.studies.warnings()} if outcome.studies else None,
        "cache": cache_of(screener, stats),
        "gpu_decode": frames and {"on_gpu": frames.on_gpu, "on_cpu": frames.on_cpu},
        "seconds": {
            "wall": round(outcome.seconds, 3),
            "decode": round(stats.decode_seconds, 3),
            "encode": round(stats.encode_seconds, 3),
            "write": round(outcome.write_seconds, 3),
        },
        **({} if outcome.growth is None else {"database": asdict(outcome.growth)}),
    }


def begun_manifest(plan: Plan, command: str, started: datetime) -> dict[str, Any]:
    """What of it is known before the first row: a database has that from the beginning."""
    screener = plan.screener
    return {
        **begun_record(screener, command, started),
        **screener.decisive(plan.prompts),
        "prompt_sources": {p.label: _source(p.source, plan.options) for p in plan.prompts},
        "remarks": [dataclasses.asdict(finding) for finding in plan.remarks],
        "location": _location(plan),
        "calibration": plan.calibration.record() if plan.calibration else None,
        "options": record_of(plan.options, plan.settled),
    }


def begun_record(screener: Screener, command: str, started: datetime) -> dict[str, Any]:
    """Who computes, where and with what: how the record of any command begins that embeds films."""
    encoders = [member.encoder for member in screener.members]
    return {
        "schema_version": MANIFEST_SCHEMA_VERSION,
        "cxrzero": __version__,
        "command": command,
        "started": started.isoformat(timespec="milliseconds"),
        "ended": None,
        "versions": {"python": platform.python_version(), **installed_versions(RECORDED_PACKAGES)},
        "platform": f"{platform.system()} {platform.machine()}",
        "backend": each_once(encoder.backend for encoder in encoders),
        "device": each_once(encoder.device for encoder in encoders),
        "gpu": each_once(str(encoder.gpu) for encoder in encoders if encoder.gpu) or None,
        "device_reason": reasons(encoders),
    }


def counts_of(stats: RunStats, walk: WalkCounts) -> dict[str, int]:
    """Rows by status, and what the walk ignored."""
    return {"ok": stats.ok, "failed": stats.failed, "skipped": stats.skipped, "ignored_files": walk.ignored}


def cache_of(screener: Screener, stats: RunStats) -> dict[str, Any]:
    """What the cache gave and was given."""
    store = screener.store
    return {
        "used": store is not None and store.alive,
        "cached": stats.cached,
        "embedded": stats.embedded,
        "hashed": stats.hashed,
        "notices": store.notices if store else [],
    }


def _location(plan: Plan) -> dict[str, str]:
    """Label → whether the maps that `heatmap` would make of it were measured to point at it."""
    bundles = [member.bundle for member in plan.screener.members]
    method, _ = choose_method("auto", bundles)
    return {prompt.label: LOCATION[validated(bundles, prompt.label, method)] for prompt in plan.prompts}


def _source(source: str, options: PredictOptions) -> str:
    """Say where sentences come from; under --pseudonymise a file is not named."""
    return source.replace(Path(options.prompts).name, HIDDEN) if options.pseudonymise and options.prompts else source


def each_once(texts: Iterable[str]) -> str:
    """What the models of an ensemble have in common, or all that they have."""
    return " and ".join(dict.fromkeys(texts))


def reasons(encoders: Iterable[Encoder]) -> str:
    """Why the models run where they run; a reason that several of them have is stated once."""
    return "; ".join(dict.fromkeys(part for encoder in encoders for part in encoder.reason.split("; ")))
