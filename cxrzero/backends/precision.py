"""Number formats of the image encoder: which a backend offers for a bundle, and what `auto` takes.

fp32 is exact and the default. fp16 and int8 may be files of the bundle, made and measured when the model was imported;
OpenVINO and torch compute in bf16 (on CUDA torch in fp16 too) from the fp32 file. Quantisation is static: a format
whose result depends on the other images of a batch is not offered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import get_args

from cxrzero.choices import Precision
from cxrzero.display.counts import either
from cxrzero.errors import ConfigError, UsageError
from cxrzero.model.bundle import Bundle
from cxrzero.model.model_json import VARIANTS, Deviation

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

# How far `auto` may deviate from fp32, on d = cos⁺ − cos⁻, which p hides at scale 1: max |Δd| in standard deviations
# of d over test films, and rank correlation, both of the worst label.
MAX_DEVIATION = 0.02
MIN_SPEARMAN = 0.998

# What is worth taking, fastest first; fp16 gains nothing on a CPU.
FASTEST = {"cpu": ("int8", "bf16"), "cuda": ("fp16", "bf16")}

NO_OBSTACLES: Mapping[str, str] = MappingProxyType({})


def offered(backend: str, device: str, bundle: Bundle) -> tuple[str, ...]:
    """What a backend can run of this bundle on a device.

    Args:
        backend: "onnxruntime", "openvino" or "torch".
        device: "cpu" or "cuda".

    Returns:
        The formats; with a scorer fp32 alone: how far its logits move is nowhere measured.
    """
    if bundle.has_scorer:
        return ("fp32",)
    files = tuple(name for name, variant in bundle.variants.items() if variant.image_encoder is not None)
    if backend == "torch":
        return ("fp32", "bf16", "fp16") if device == "cuda" else ("fp32", "bf16")
    if backend == "openvino":
        own = ("fp32", "bf16") if device == "cpu" else ()
        return own + tuple(name for name in files if name == "int8" and device == "cpu")
    return ("fp32", *files)


def admissible(offers: Sequence[str], device: str, bundle: Bundle) -> list[str]:
    """Those of `offers` that `auto` may take, fastest first: the bundle's card states a small enough deviation."""
    stated = {name: variant.deviation for name, variant in bundle.variants.items()}
    return [name for name in FASTEST[device] if name in offers and is_small(stated.get(name))]


def check_variants(names: Sequence[str]) -> None:
    """Raises UsageError for a name that is not a precision that an import can add."""
    if unknown := [name for name in names if name not in VARIANTS]:
        raise UsageError(f"variant {unknown[0]!r} is unknown; choose from {', '.join(sorted(VARIANTS))}")


def wanted(precision: Precision, backend: str, device: str, bundle: Bundle) -> Sequence[str]:
    """What would be run of what a backend offers, best first; "auto" asks for nothing where fp32 is all it may take."""
    offers = offered(backend, device, bundle)
    if precision == "auto":
        return admissible(offers, device, bundle)
    return [name for name in offers if name == precision]


def choose_precision(
    precision: Precision, backend: str, device: str, bundle: Bundle, obstacles: Mapping[str, str] = NO_OBSTACLES
) -> tuple[str, str]:
    """Settle a precision.

    Args:
        obstacles: precision → why this processor does not run it, in words for the user.

    Returns:
        The precision, and for "auto" why, in words for the user.

    Raises:
        ConfigError: it is not offered, or this processor does not run it; the message names what there is.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision!r} is unknown; choose one of {', '.join(PRECISIONS)}")
    offers = [name for name in offered(backend, device, bundle) if name not in obstacles]
    if precision != "auto":
        choices = either([*offers, "auto"])
        if precision in obstacles:
            raise ConfigError(
                f"--precision {precision} does not run with {backend} here: {obstacles[precision]}; choose {choices}"
            )
        if precision not in offers and bundle.has_scorer:
            raise ConfigError(
                f"--precision {precision} is not offered for {bundle.name}, which scores by attention; choose {choices}"
            )
        if precision not in offers:
            raise ConfigError(
                f"--precision {precision} is not offered for {bundle.name} with {backend} on {device}; choose {choices}"
            )
        return precision, ""
    for name in admissible(offers, device, bundle):
        return name, f"{name} is within the bound on deviation, by the model's card"
    if allowed := admissible(FASTEST[device], device, bundle):
        why = "; ".join(dict.fromkeys(obstacles[name] for name in allowed if name in obstacles))
        allowed_words = f"{' and '.join(allowed)}, which the model's card allows"
        return "fp32", f"fp32, since {backend} does not run {allowed_words}, here" + (f": {why}" if why else "")
    return "fp32", "fp32, since the model's card states no deviation within the bound for a faster precision here"


def is_small(deviation: Deviation | None) -> bool:
    """Whether `auto` may take a precision that deviates so far."""
    return deviation is not None and deviation.max_abs_d_over_sd <= MAX_DEVIATION and deviation.spearman >= MIN_SPEARMAN
