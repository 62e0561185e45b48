"""OpenVINO on the CPU.

Left to itself OpenVINO computes in bf16 where a CPU has it; here the precision is always named, and what the compiled
model says it runs in is compared with what was asked for.
"""

from __future__ import annotations

import functools
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrzero.backends.base import IMAGE, STREAMS, BundleEncoder, Run, Tower, check_names, cpu_count, first_line
from cxrzero.backends.openvino_weights import read_model
from cxrzero.backends.precision import choose_precision, offered
from cxrzero.choices import Device, Precision
from cxrzero.errors import BundleError, DeviceError, RunError
from cxrzero.model.bundle import Bundle


class OpenVinoEncoder(BundleEncoder):
    """Both towers of a bundle as OpenVINO models; see `cxrzero.backends.Encoder`.

    Args:
        device: "cuda" is refused.
        threads: CPU threads of one encoder call; None leaves the choice to OpenVINO.
        place: why it runs on the CPU, for `reason`; None says it in general.

    Raises:
        ConfigError: the precision is not offered, or this CPU has no bf16.
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
        if device == "cuda":
            raise DeviceError(
                "--device cuda cannot run with openvino; use --backend onnxruntime or torch, or another device"
            )
        super().__init__(bundle, threads)
        self._core = core()
        self.backend = f"openvino {importlib.metadata.version('openvino')}"
        self.device = "cpu"
        abilities = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        offers = [name for name in offered("openvino", "cpu", bundle) if name != "bf16" or "BF16" in abilities]
        self.precision, why = choose_precision(precision, "openvino", "cpu", bundle, offers)
        place = place or ("asked for" if device == "cpu" else "openvino runs on the CPU")
        self.reason = f"{place}; {why}" if why else place

    def _open(self, tower: Tower, path: Path) -> Run:
        streams = min(STREAMS, self._threads or cpu_count()) if tower is IMAGE else 1
        hint = "bf16" if tower is IMAGE and self.precision == "bf16" else "f32"
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
        return functools.partial(_side_by_side, requests, tower.input, compiled.output(tower.output))


def _without_other_outputs(model: Any, output: str) -> Any:
    """The model that computes one output only; patches are for whoever asks for them."""
    from openvino import Model

    return Model([model.output(output).get_node()], model.get_parameters(), model.get_friendly_name())


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


@functools.cache
def core() -> Any:
    """OpenVINO's core, one for the process and kept until its end.

    Its CPU plugin, when loaded, may replace the calling thread's alternate signal stack (as `faulthandler` sets it) by
    a larger one of its own, which it unmaps when unloaded: the next signal would end the process.

    Raises:
        RunError: OpenVINO cannot be imported.
    """
    return _import_offline().Core()


def _import_offline() -> Any:
    """Import OpenVINO without its telemetry package, in whose place it then takes a stub of its own."""
    blocked = "openvino_telemetry" not in sys.modules
    if blocked:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        raise RunError(f"openvino is installed but cannot be imported: {first_line(error)}") from error
    finally:
        if blocked:
            del sys.modules["openvino_telemetry"]
    return openvino
