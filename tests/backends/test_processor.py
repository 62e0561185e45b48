"""What a processor without a number format gets, on any processor: oneDNN and torch are told to leave those out."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from cxrzero.backends.base import IMAGE
from cxrzero.backends.onnxruntime import OnnxRuntimeEncoder
from cxrzero.backends.processor import instruction_sets
from cxrzero.errors import BundleError
from cxrzero.model.bundle import load_bundle
from cxrzero.model.model_json import Deviation, MeasuredOn
from tests.support import REPO
from tests.support.bundle import write_bundle
from tests.support.needs import modules

modules("onnx", "openvino", "torch")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from tests.support.variants import rehash, with_int8  # noqa: E402

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
STATED = {"max_abs_d_over_sd": 0.01, "spearman": 0.999, "n": 100}
ON_X86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX is of x86")
OPEN = """
import json, sys
from pathlib import Path
from cxrzero.backends import open_encoder
from cxrzero.errors import ConfigError
from cxrzero.model.bundle import load_bundle

found = []
for folder, backend, precision in json.loads(sys.argv[1]):
    try:
        encoder = open_encoder(load_bundle(Path(folder)), backend, "cpu", precision, threads=1)
        found.append([encoder.backend.split()[0], encoder.precision, encoder.reason])
    except ConfigError as error:
        found.append(str(error))
print(json.dumps(found))
"""


def opened_on(limits: dict[str, str], *asked: tuple[Path, str, str]) -> list[Any]:
    """(bundle, backend, precision) → what runs and why, or what the refusal says."""
    arguments = json.dumps([[str(folder), backend, precision] for folder, backend, precision in asked])
    environment = os.environ | limits | {"PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [sys.executable, "-c", OPEN, arguments], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


@ON_X86
def test_a_format_that_the_processor_lacks_is_an_error_and_auto_takes_fp32(tmp_path: Path) -> None:
    bf16 = rehash(write_bundle(tmp_path / "bf16"), variants={"bf16": {"deviation": STATED}})
    int8 = with_int8(write_bundle(tmp_path / "int8"))
    found = opened_on(
        AVX2,
        *((bf16, backend, "bf16") for backend in ("openvino", "auto", "torch")),
        *((bf16, backend, "auto") for backend in ("openvino", "auto", "torch")),
        *((int8, backend, precision) for precision in ("int8", "auto") for backend in ("openvino", "auto")),
    )
    no_bf16, overflow = "this processor does not compute bf16", "openvino's sums of 8-bit products overflow"
    slow = f"{no_bf16}: torch does so in software, slower than fp32"
    assert found[0] == (f"--precision bf16 does not run with openvino here: {no_bf16}; choose fp32 or auto")
    assert found[1] == (f"--precision bf16 does not run here (openvino: {no_bf16}; torch: {slow}); choose fp32 or auto")
    assert found[2] == ["torch", "bf16", f"asked for; {slow}"]
    not_here = "does not run bf16, which the model's card allows, here"
    assert found[3] == ["openvino", "fp32", f"asked for; fp32, since openvino {not_here}: {no_bf16}"]
    assert found[4] == ["onnxruntime", "fp32", f"asked for; fp32, since onnxruntime {not_here}"]
    assert found[5] == ["torch", "fp32", f"asked for; fp32, since torch {not_here}: {slow}"]
    assert found[6].startswith("--precision int8 does not run with openvino here: without VNNI")
    assert found[6].endswith(f"{overflow}; choose fp32 or auto")
    assert found[7][:2] == ["onnxruntime", "int8"]
    assert found[8][:2] == ["openvino", "fp32"]
    assert overflow in found[8][2]
    assert found[9][:2] == ["onnxruntime", "int8"]


@ON_X86
def test_the_first_avx_512_has_no_short_format(tmp_path: Path) -> None:
    """OpenVINO would compute bf16 there by converting, 40 times slower than fp32."""
    folder = with_int8(write_bundle(tmp_path / "int8"))
    limits = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}
    for refusal in opened_on(limits, (folder, "openvino", "bf16"), (folder, "openvino", "int8")):
        assert "does not run with openvino here" in refusal
        assert refusal.endswith("; choose fp32 or auto")


def test_onnxruntime_adds_8_bit_products_up_without_overflow(tiny_bundle: Path) -> None:
    """On AVX2 alone, without the option that the encoder sets, it is half of this."""
    terms = 64
    numbers = {
        "one": np.float32(1), "no_u8": np.uint8(0), "weights": np.full((terms, 8), 127, np.int8),
        "ones": np.ones(8, np.float32), "no_i8": np.zeros(8, np.int8),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "no_u8"], ["short"]),
        helper.make_node("DequantizeLinear", ["short", "one", "no_u8"], ["left"]),
        helper.make_node("DequantizeLinear", ["weights", "ones", "no_i8"], ["right"], axis=1),
        helper.make_node("MatMul", ["left", "right"], ["y"]),
    ]
    given, output = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width]) for name, width in (("x", terms), ("y", 8))
    )
    initial = [numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "sums", [given], [output], initial),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    options = OnnxRuntimeEncoder(load_bundle(tiny_bundle), "cpu", threads=1)._options(IMAGE)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    assert (session.run(None, {"x": np.full((4, terms), 255, np.float32)})[0] == 255 * 127 * terms).all()


def test_a_card_may_say_where_a_deviation_was_measured(tmp_path: Path) -> None:
    where = {"backend": "openvino 2026.1.0", "processor": ["x86_64", "avx2"]}

    def bundle(name: str, **more: Any) -> Any:
        return load_bundle(rehash(write_bundle(tmp_path / name), variants={"bf16": {"deviation": STATED | more}}))

    silent, telling = bundle("silent"), bundle("telling", measured_on=where)
    assert silent.variants["bf16"].deviation == Deviation(0.01, 0.999, 100)
    assert telling.variants["bf16"].deviation.measured_on == MeasuredOn("openvino 2026.1.0", ("x86_64", "avx2"))
    assert silent.fingerprint == telling.fingerprint
    for number, wrong in enumerate((["avx2"], {"backend": "torch"}, where | {"processor": "avx2"})):
        with pytest.raises(BundleError, match=r"variants\.bf16\.deviation\.measured_on"):
            bundle(f"wrong{number}", measured_on=wrong)


def test_a_processor_is_named_by_what_it_can_do() -> None:
    found = instruction_sets()
    assert found[0] == platform.machine()
    assert len(found) > 1
    assert platform.node() not in found
