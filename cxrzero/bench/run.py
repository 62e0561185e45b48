"""The whole benchmark: stages alone, then the pipeline with the settings that they suggest."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cxrzero.backends import require_device
from cxrzero.backends.base import cpu_count
from cxrzero.bench.advice import Stages, bound, bounded_by, fastest, settings, workers_to_try
from cxrzero.bench.films import Films, draw_films, open_films
from cxrzero.bench.machine import machine, versions
from cxrzero.bench.options import BenchOptions
from cxrzero.bench.stages import EncodeRate, NotMeasured, decode_rate, encode_rates, preprocess_rate
from cxrzero.bench.whole import WholeRate, whole_rates
from cxrzero.choices import Notify, silent
from cxrzero.errors import RunError
from cxrzero.images.radiograph import DecodeOptions
from cxrzero.model.preprocess import Preprocess
from cxrzero.registry.resolve import resolve_model

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What was measured.

    Attributes:
        exact: the pipeline in fp32 with the fastest backend, each number of decoding workers tried.
        auto: as `exact`, in the fastest precision within the bound on deviation; empty where that is fp32.
    """

    model: str
    films: Films
    stages: Stages
    encoders: tuple[EncodeRate, ...]
    not_measured: tuple[NotMeasured, ...]
    exact: tuple[WholeRate, ...]
    auto: tuple[WholeRate, ...]

    @property
    def best_exact(self) -> WholeRate:
        return max(self.exact, key=lambda each: each.rate.images_per_second)

    @property
    def best_auto(self) -> WholeRate | None:
        return max(self.auto, key=lambda each: each.rate.images_per_second, default=None)

    @property
    def bounded_by(self) -> str:
        """The stage that bounds the exact run."""
        return bounded_by(self.stages, self.best_exact.encoder)

    def as_dict(self) -> dict[str, Any]:
        """The report as `--format json` prints it; its keys are documented in docs/bench.md."""
        films = self.films
        return {
            "schema_version": SCHEMA_VERSION,
            "machine": machine(),
            "versions": versions(),
            "model": self.model,
            "films": {
                "n": len(films.refs),
                "drawn": films.drawn,
                "unreadable": films.unreadable,
                "megapixels": films.megapixels,
            },
            "decode": asdict(self.stages.decode),
            "preprocess": asdict(self.stages.preprocess),
            "encode": [_flat(each) for each in self.encoders],
            "not_measured": [asdict(each) for each in self.not_measured],
            "end_to_end": [
                {**settings(each), **asdict(each.rate), "bound": each.bound, "share_of_bound": each.share_of_bound}
                for each in (*self.exact, *self.auto)
            ],
            "bounded_by": self.bounded_by,
            "advice": {"exact": settings(self.best_exact), "auto": self.best_auto and settings(self.best_auto)},
        }


def run_bench(options: BenchOptions, notify: Notify = silent) -> BenchReport:
    """Measure this machine with one model.

    Args:
        notify: is told what is being measured.

    Raises:
        NoInputError: nothing to read in `paths`.
        BundleError: the model is missing, damaged or unknown.
        RunError: no encoder runs here, or the device is not there (DeviceError).
    """
    require_device(options.device)
    decoding = DecodeOptions()
    bundle = resolve_model(options.model, notify)
    preprocess = Preprocess(bundle.preprocess, bundle.image_size)
    with _films(options, decoding, notify) as films:
        notify("Decoding and preprocessing …")
        cores = cpu_count()
        stages = Stages(
            decode_rate(films, decoding, cores, options.seconds),
            preprocess_rate(films, preprocess, options.seconds),
            cores,
        )
        notify("Encoding with every backend and precision …")
        encoders, not_measured = encode_rates(bundle, films, preprocess, options.device, options.seconds)
        exact = fastest([each for each in encoders if each.precision == "fp32"])
        if exact is None:
            reasons = dict.fromkeys(f"{each.backend}: {each.reason}" for each in not_measured)  # of all precisions
            raise RunError("; ".join(reasons) or "no backend is installed")
        auto = fastest([each for each in encoders if each.is_admissible])
        notify("From files to scores …")
        chosen = [exact] if auto is None or auto.precision == "fp32" else [exact, auto]
        whole = [
            whole_rates(
                options.model, films, each, decoding, workers_to_try(stages, each), options.seconds, bound(stages, each)
            )
            for each in chosen
        ]
    first, second = (*whole, [])[:2]
    return BenchReport(
        bundle.name, films, stages, tuple(encoders), tuple(not_measured), exact=tuple(first), auto=tuple(second)
    )


@contextmanager
def _films(options: BenchOptions, decoding: DecodeOptions, notify: Notify) -> Iterator[Films]:
    if options.paths:
        yield open_films(options.paths, options.images, decoding)
        return
    with tempfile.TemporaryDirectory(prefix="cxrzero-bench-") as folder:
        notify("Drawing phantoms …")
        yield draw_films(Path(folder), options.images)


def _flat(each: EncodeRate) -> dict[str, Any]:
    found = asdict(each)
    return {**found, **found.pop("rate")}
