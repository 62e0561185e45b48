"""Which backend runs a bundle, and what all of them offer."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Protocol, cast, get_args

import numpy as np
import numpy.typing as npt

from cxrzero.backends.gpus import Gpu, gpu_of, refused
from cxrzero.backends.measured import fastest_first, is_measured, why_on_cuda
from cxrzero.backends.precision import FASTEST, admissible, choose_precision, offered, wanted
from cxrzero.choices import Backend, Device, Precision, parse_device
from cxrzero.errors import ConfigError, DeviceError, MissingExtraError, RunError, UsageError
from cxrzero.model.bundle import Bundle
from cxrzero.model.geometry import Geometry
from cxrzero.model.values import ValueSteps

BACKENDS: tuple[Backend, ...] = get_args(Backend)

# Bytes of an image encoder from which OpenVINO, where it is installed, is worth its start. Films went faster through a
# ViT-B/32 (176 MB with its matrices in half precision) than with ONNX Runtime; through cxrzero-mini (10 MB), where
# decoding is nearly all, they did not (benchmarks/README.md).
LARGE_ENCODER = 100_000_000

# Modules that each needs beside what every installation has, and the extra that installs them.
REQUIRED: dict[str, tuple[str, ...]] = {
    "onnxruntime": (),
    "openvino": ("openvino",),
    "torch": ("torch", "onnx"),
}


class Encoder(Protocol):
    """Runs the graphs of one bundle.

    The same image gives the same result whatever shares its batch. Texts are always encoded in fp32. With a scorer the
    tokens of a film or a sentence are one row, F = T · D or G = S' · E numbers; without one F and G are D.

    Attributes:
        backend: e.g. "onnxruntime 1.22.0".
        device: where it really runs, "cpu" or "cuda".
        gpu: the card there; None on a CPU.
        precision: of the image encoder, see `cxrzero.backends.precision`; never "auto".
        reason: why that device and precision, in words for the user.
        takes_fitted: pictures are better given to `encode_fitted`: the steps after the geometry run on the device.
        takes_films: and films to `encode_films`, if `cxrzero.model.resample.fits_on_device`: the geometry does, too.
    """

    backend: str
    device: str
    gpu: Gpu | None
    precision: str
    reason: str
    takes_fitted: bool
    takes_films: bool

    def encode_images(self, pixel_values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(N, 3, H, W) float32 → (N, F) float32: embeddings of length 1, or tokens, rounded to the bundle's dtype."""

    def encode_fitted(self, frames: Sequence[npt.NDArray[np.uint8]], steps: ValueSteps) -> npt.NDArray[np.float32]:
        """N pictures (h, w) uint8 of one shape, as `Preprocess.fit` gives them → (N, F) float32.

        Gives what `encode_images(steps(frames))` gives.
        """

    def encode_films(
        self, films: Sequence[npt.NDArray[np.uint8]], geometry: Geometry, steps: ValueSteps
    ) -> npt.NDArray[np.float32]:
        """N films (H, W) uint8 of any sizes, fitted or not → (N, F) float32.

        Gives what `encode_fitted` gives of `geometry(film)` of each.
        """

    def encode_patches(self, pixel_values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(N, 3, H, W) float32 → patch_embeds (N, h, w, D) float32, each of length 1; always in fp32.

        Raises:
            ConfigError: the model has none.
        """

    def encode_texts(self, input_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """(N, L) int64 → (N, G) float32: embeddings of length 1, or tokens."""

    def score(self, films: npt.NDArray[np.float32], texts: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Films (N, F) and sentences (L, G) of a bundle with a scorer → logits (N, L) float32; in fp32.

        A logit does not depend on what else is in the call, unless the bundle says that sentences look at each other.
        """

    def attend(self, films: npt.NDArray[np.float32], texts: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """What the scorer looks at: as `score` → (N, L, h, w) float32.

        Raises:
            ConfigError: the model does not say.
        """


def open_encoder(
    bundle: Bundle,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: Precision = "fp32",
    threads: int | None = None,
) -> Encoder:
    """Open a bundle's encoders.

    Args:
        backend: "auto" takes on CUDA the fastest by measurement that starts there, see `cxrzero.backends.measured`.
            On a CPU it takes ONNX Runtime, or OpenVINO where it is installed and the image encoder is large; for a
            precision that ONNX Runtime does not offer, the first installed one that does and runs it on this
            processor. Where OpenVINO cannot be imported, it takes ONNX Runtime and says so.
        device: "cuda" and "cuda:N" must run on that GPU; "auto" takes the first GPU where the backend can, else the
            CPU, and says why.
        precision: "auto" takes the fastest whose deviation is known and small, see `cxrzero.backends.precision`.
        threads: CPU threads of one call; None leaves the choice to the backend.

    Raises:
        UsageError: an unknown name.
        ConfigError: the backend does not offer that precision for this bundle on this device, or for "auto" no
            backend that does runs it on this processor.
        DeviceError: the device cannot run.
        MissingExtraError: the backend is not installed.
        RunError: the backend is installed but cannot be imported.
        BundleError: a file is not what the contract says.
    """
    if backend not in BACKENDS:
        raise UsageError(f"backend {backend!r} is unknown; choose one of {', '.join(BACKENDS)}")
    parse_device(device)
    if backend != "auto":
        return _open_named(backend, bundle, device, precision, threads)
    if device == "cpu":
        return _open_on_cpu(bundle, device, precision, threads)
    if device == "auto":
        try:
            gpu_of(device)
        except DeviceError:
            return _open_on_cpu(bundle, device, precision, threads)
    require_device(device)
    return _open_on_cuda(bundle, device, precision, threads)


def require_device(device: Device) -> None:
    """Refuse a GPU that is not there; "auto" and "cpu" always run.

    Raises:
        UsageError: it is no device.
        DeviceError: naming the obstacle, and what to do.
    """
    if parse_device(device) in ("auto", "cpu"):
        return
    try:
        gpu_of(device)
    except DeviceError as obstacle:
        raise refused(device, obstacle) from obstacle


def _open_named(name: str, bundle: Bundle, device: Device, precision: Precision, threads: int | None) -> Encoder:
    if missing := missing_module(name):
        raise MissingExtraError(missing, name)
    if name == "openvino":
        from cxrzero.backends.openvino import OpenVinoEncoder

        return OpenVinoEncoder(bundle, device, precision, threads)
    if name == "torch":
        from cxrzero.backends.torch.encoder import TorchEncoder

        return TorchEncoder(bundle, device, precision, threads)
    from cxrzero.backends.onnxruntime import OnnxRuntimeEncoder

    return OnnxRuntimeEncoder(bundle, device, precision, threads)


def _open_on_cuda(bundle: Bundle, device: Device, precision: Precision, threads: int | None) -> Encoder:
    """What `auto` takes where there is a GPU: the fastest by measurement of those that start on it.

    With "auto" as device none is taken that has not been measured: the CPU has.
    """
    asked = device != "auto"
    obstacles: dict[str, str] = {}
    formats = [*admissible(FASTEST["cuda"], "cuda", bundle), "fp32"] if precision == "auto" else [precision]
    for each in formats:
        for name in fastest_first(each):
            if each not in offered(name, "cuda", bundle):
                continue
            if not asked and not is_measured(name, each):
                obstacles[name] = f"{why_on_cuda(name, each)} (--device cuda takes it)"
                continue
            try:
                encoder = _open_named(name, bundle, device if asked else "cuda", cast(Precision, each), threads)
            except (DeviceError, MissingExtraError) as error:
                # The device is named once, around all of them.
                obstacles[name] = error.obstacle if isinstance(error, DeviceError) else str(error)
                continue
            chosen, why = choose_precision(precision, name, "cuda", bundle)
            place = "asked for" if asked else "an NVIDIA GPU was found"
            remarks = [place, why_on_cuda(name, each), why if chosen == each else ""]
            encoder.reason = "; ".join(filter(None, remarks))
            return encoder
    why = "; ".join(f"{name}: {obstacle}" for name, obstacle in obstacles.items())
    if asked and obstacles:
        raise DeviceError(f"--device {device} cannot run here: {why}")
    if asked:  # no backend has the precision: ONNX Runtime says so
        return _open_named("onnxruntime", bundle, device, precision, threads)
    encoder = _open_on_cpu(bundle, "cpu", precision, threads)
    encoder.reason = encoder.reason.replace("asked for", why or f"no backend has {precision} on a GPU", 1)
    return encoder


def _open_on_cpu(bundle: Bundle, device: Device, precision: Precision, threads: int | None) -> Encoder:
    """What `auto` takes on a CPU; `device` is "auto" where there is no GPU, so that the reason says why."""
    name = _choose_on_cpu(bundle, precision)
    if name == "openvino" and not missing_module(name):
        return _open_openvino_or_else(bundle, device, precision, threads)
    return _open_named(name, bundle, device, precision, threads)


def _choose_on_cpu(bundle: Bundle, precision: Precision) -> str:
    """The fastest that is installed, or what has the precision, see `open_encoder`."""
    offers = {name: wanted(precision, name, "cpu", bundle) for name in REQUIRED}
    able = [name for name in REQUIRED if offers[name]]
    installed = [name for name in able if not missing_module(name)]
    if precision == "fp32" and "openvino" in installed:
        return "openvino" if _is_large(bundle) else "onnxruntime"
    obstacles = []
    for name in installed:
        found = [_obstacle(name, each) for each in offers[name]]
        if None in found:
            return name
        obstacles += [f"{name}: {why}" for why in found]
    if precision == "auto":  # nothing faster than fp32
        return _choose_on_cpu(bundle, "fp32")
    if obstacles:
        raise ConfigError(f"--precision {precision} does not run here ({'; '.join(obstacles)}); choose fp32 or auto")
    # No backend offers it: ONNX Runtime says why not.
    return next(iter(able), "onnxruntime")


def _obstacle(backend: str, precision: str) -> str | None:
    """Why a backend that is installed does not run what it offers on this processor, or gains nothing from it."""
    if precision not in ("bf16", "int8"):
        return None
    if backend == "torch":
        from cxrzero.backends.torch.encoder import obstacle as of_torch

        return of_torch(precision)
    if backend == "openvino":
        from cxrzero.backends.openvino import obstacle as of_openvino

        try:
            return of_openvino(precision)
        except RunError:  # cannot be imported: opening it says so
            return None
    return None


def check_bf16() -> None:
    """Bf16 has no file: whether there is something to measure depends on the processor.

    Raises:
        ConfigError: no installed backend gains anything from it here.
    """
    found = {name: _obstacle(name, "bf16") for name in ("openvino", "torch") if not missing_module(name)}
    if found and None not in found.values():
        why = "; ".join(f"{name}: {obstacle}" for name, obstacle in found.items())
        raise ConfigError(
            f"bf16 cannot be measured here ({why}); leave it out of --variants, or import on a processor that has it"
        )


def _is_large(bundle: Bundle) -> bool:
    return sum(bundle.file(name).stat().st_size for name in bundle.image_encoder_files("fp32")) >= LARGE_ENCODER


def _open_openvino_or_else(bundle: Bundle, device: Device, precision: Precision, threads: int | None) -> Encoder:
    """OpenVINO as "auto" took it, its reason with that of the device; ONNX Runtime where it cannot be imported.

    Raises:
        RunError: it cannot be imported, and a precision was asked for that ONNX Runtime does not have.
    """
    from cxrzero.backends.onnxruntime import OnnxRuntimeEncoder, choose_device
    from cxrzero.backends.openvino import OpenVinoEncoder, core

    try:
        core()
    except RunError as error:
        if precision not in ("auto", "fp32"):
            raise
        encoder = OnnxRuntimeEncoder(bundle, device, precision, threads)
        encoder.reason = f"{encoder.reason}; {error}"
        return encoder
    place = choose_device(device)[1]
    if _is_large(bundle):
        place += "; OpenVINO is installed, which encodes large models faster"
    return OpenVinoEncoder(bundle, device, precision, threads, place)


def missing_module(backend: str) -> str | None:
    """The first module of a backend that is not installed."""
    return next((module for module in REQUIRED[backend] if importlib.util.find_spec(module) is None), None)
