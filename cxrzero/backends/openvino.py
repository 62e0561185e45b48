"""OpenVINO on the CPU.

Left to itself OpenVINO computes in bf16 where a CPU has it; here the precision is always named, and what the compiled
model says it runs in is compared with what was asked for. A short format is only taken where a product of a few
numbers shows that this processor computes it.
"""

from __future__ import annotations

import functools
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrzero.backends.base import STREAMS, BundleEncoder, Tower, check_names, cpu_count, first_line
from cxrzero.backends.in_calls import Run
from cxrzero.backends.openvino_weights import read_model
from cxrzero.backends.precision import choose_precision, offered, wanted
from cxrzero.choices import Device, Precision
from cxrzero.errors import BundleError, DeviceError, RunError
from cxrzero.model.bundle import Bundle
from cxrzero.outside.telemetry import openvino_unheard

PRODUCTS = 64  # in a sum; enough for the kernels that a model runs


class OpenVinoEncoder(BundleEncoder):
    """The graphs of a bundle as OpenVINO models; see `cxrzero.backends.Encoder`.

    Args:
        device: "cuda" and "cuda:N" are refused.
        threads: CPU threads of one encoder call; None leaves the choice to OpenVINO.
        place: why it runs on the CPU, for `reason`; None says it in general.

    Raises:
        ConfigError: the precision is not offered, or this processor does not compute it.
        DeviceError: CUDA was asked for.
        RunError: OpenVINO cannot be imported.
        BundleError: a file is not an ONNX model with the inputs and outputs of the contract.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: Device = "auto",
        precision: Precision = "fp32",
        threads: int | None = None,
        place: str | None = None,
    ) -> None:
        if device.startswith("cuda"):
            raise DeviceError(
                "--device cuda cannot run with openvino; use --backend onnxruntime or torch, or another device"
            )
        super().__init__(bundle, threads)
        self._core = core()
        self.backend = f"openvino {importlib.metadata.version('openvino')}"
        self.device = "cpu"
        is_lacking = any(obstacle(name) for name in wanted(precision, "openvino", "cpu", bundle))
        names = offered("openvino", "cpu", bundle) if is_lacking else ()
        obstacles = {name: why for name in names if (why := obstacle(name))}
        self.precision, why = choose_precision(precision, "openvino", "cpu", bundle, obstacles)
        place = place or ("asked for" if device == "cpu" else "openvino runs on the CPU")
        self.reason = f"{place}; {why}" if why else place

    def _open(self, tower: Tower, path: Path) -> Run:
        is_image = tower is self.image
        streams = min(STREAMS, self._threads or cpu_count()) if is_image else 1
        hint = "bf16" if is_image and self.precision == "bf16" else "f32"
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": hint,
            "NUM_STREAMS": streams,
            # Threads tied to cores would wait for the decoders that run there.
            "ENABLE_CPU_PINNING": False,
        }
        if self._threads:
            options["INFERENCE_NUM_THREADS"] = self._threads
        try:
            model = read_model(self._core, path)
            inputs = {name for port in model.inputs for name in port.get_names()}
            check_names(path, tower, inputs, {name for port in model.outputs for name in port.get_names()})
            compiled = self._core.compile_model(_without_other_outputs(model, tower.output), "CPU", options)
        except RuntimeError as error:
            raise BundleError(f"{path} cannot be loaded by openvino: {first_line(error)}") from error
        running = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if running != hint:
            raise RunError(f"openvino would run {path} in {running}, not in {hint}; use --backend onnxruntime")
        requests = [compiled.create_infer_request() for _ in range(streams)]
        output = compiled.output(tower.output)
        if len(tower.inputs) > 1:
            return functools.partial(_at_once, requests[0], tower.inputs, output)
        return functools.partial(_side_by_side, requests, tower.input, output)


def _without_other_outputs(model: Any, output: str) -> Any:
    """The model that computes one output only; patches are for whoever asks for them."""
    from openvino import Model

    return Model([model.output(output).get_node()], model.get_parameters(), model.get_friendly_name())


def _at_once(
    request: Any, names: tuple[str, ...], output: Any, *rows: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    request.infer(dict(zip(names, rows, strict=True)))
    return np.array(request.get_tensor(output).data)


def _side_by_side(
    requests: list[Any], name: str, output: Any, rows: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Run a part of the rows with each request at once; N rows → N embeddings in their order."""
    parts = np.array_split(rows, min(len(requests), len(rows)))
    busy = requests[: len(parts)]
    for request, part in zip(busy, parts, strict=True):
        request.start_async({name: part})
    for request in busy:
        request.wait()
    return np.concatenate([request.get_tensor(output).data for request in busy])


def obstacle(precision: str) -> str | None:
    """Why OpenVINO does not run a precision on this processor; None where it does.

    Raises:
        RunError: OpenVINO cannot be imported.
    """
    if precision == "bf16" and not _has_bf16():
        return "this processor does not compute bf16"
    if precision == "int8" and not _sums_int8_exactly():
        return "without VNNI, which this processor lacks, openvino's sums of 8-bit products overflow"
    return None


@functools.cache
def _has_bf16() -> bool:
    """Whether a model for bf16 really runs in it.

    OPTIMIZATION_CAPABILITIES says what the processor has, not what ONEDNN_MAX_CPU_ISA leaves of it. Asked for bf16 that
    is not there, OpenVINO fails, takes f32, or on the first AVX-512 converts within a general kernel: 40 times slower.
    """
    try:
        compiled = _compile_product("bf16")
    except RuntimeError:
        return False
    if compiled.get_property("INFERENCE_PRECISION_HINT").to_string() != "bf16":
        return False
    facts = (node.get_rt_info() for node in compiled.get_runtime_model().get_ops())
    kernels = [str(fact["primitiveType"].value) for fact in facts if "primitiveType" in fact]
    return not any(kernel.startswith("jit_gemm") for kernel in kernels)


@functools.cache
def _sums_int8_exactly() -> bool:
    """Whether the largest 8-bit products add up; where pairs of them are summed in 16 bits, to half of that."""
    try:
        compiled = _compile_product("f32")
    except RuntimeError:
        return False
    return bool((compiled(np.full((1, PRODUCTS), 255, np.float32))[0] == 255 * 127 * PRODUCTS).all())


def _compile_product(hint: str) -> Any:
    """(1, PRODUCTS) of numbers from 0 to 255 times a matrix of 127s, both quantised to 8 bits unless `hint` is bf16."""
    plugins = core()  # which says what is wrong where it cannot be imported
    from openvino import Model
    from openvino import opset13 as op

    rows = op.parameter([1, PRODUCTS], np.float32)
    left, right = rows, op.constant(np.full((PRODUCTS, 16), 127, np.float32))
    if hint == "f32":
        low, high = (op.constant(np.float32(value)) for value in (0, 255))
        left = op.fake_quantize(rows, low, high, low, high, 256)
        right = op.multiply(op.convert(op.constant(np.full((PRODUCTS, 16), 127, np.int8)), "f32"), np.float32(1))
    product = op.matmul(left, right, transpose_a=False, transpose_b=False)
    return plugins.compile_model(Model([product], [rows]), "CPU", {"INFERENCE_PRECISION_HINT": hint})


@functools.cache
def core() -> Any:
    """OpenVINO's core, one for the process and kept until its end.

    Its CPU plugin, when loaded, may replace the calling thread's alternate signal stack (as `faulthandler` sets it) by
    a larger one of its own, which it unmaps when unloaded: the next signal would end the process.

    Raises:
        RunError: OpenVINO cannot be imported.
    """
    try:
        with openvino_unheard():
            import openvino
    except ImportError as error:
        raise RunError(f"openvino is installed but cannot be imported: {first_line(error)}") from error
    return openvino.Core()
