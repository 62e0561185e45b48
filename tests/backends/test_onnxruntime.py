import ctypes
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from cxrzero.backends.gpus import Gpu
from cxrzero.backends.onnxruntime import OnnxRuntimeEncoder
from cxrzero.errors import BundleError, DeviceError, TokenizerError
from cxrzero.model.bundle import load_bundle
from cxrzero.model.tokenizer import Tokenizer
from tests.support.bundle import CONTEXT, SIDE, WIDTH

GPU = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def has_nvidia_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def test_both_towers_give_unit_rows(tiny_bundle: Path) -> None:
    encoder = OnnxRuntimeEncoder(load_bundle(tiny_bundle), "cpu")
    rng = np.random.default_rng(0)
    image_embeds = encoder.encode_images(rng.normal(size=(5, 3, SIDE, SIDE)).astype(np.float32))
    text_embeds = encoder.encode_texts(rng.integers(1, 200, (3, CONTEXT)))
    assert image_embeds.shape == (5, WIDTH)
    assert text_embeds.shape == (3, WIDTH)
    for rows in (image_embeds, text_embeds):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert (encoder.device, encoder.reason) == ("cpu", "asked for")


@pytest.mark.skipif(has_nvidia_driver(), reason="this machine has an NVIDIA driver")
def test_cuda_without_a_gpu_is_an_error_and_auto_says_why(tiny_bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = load_bundle(tiny_bundle)
    with pytest.raises(DeviceError, match=r"--device cuda cannot run here: (no NVIDIA driver|.*built without CUDA)"):
        OnnxRuntimeEncoder(bundle, "cuda")
    encoder = OnnxRuntimeEncoder(bundle, "auto")
    assert encoder.device == "cpu"
    assert "NVIDIA" in encoder.reason or "without CUDA" in encoder.reason
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.skipif(not GPU or has_nvidia_driver(), reason="needs onnxruntime-gpu on a machine without a GPU")
def test_a_provider_that_does_not_start_is_noticed_and_quiet(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A driver without CUDA libraries: ONNX Runtime would run on the CPU and print red text."""
    monkeypatch.setattr("cxrzero.backends.gpus.find_gpus", lambda: (Gpu(0, "pretended"),))
    monkeypatch.setattr("cxrzero.backends.onnxruntime.load_cuda_libraries", lambda: None)  # tested in test_ort_install
    bundle = load_bundle(tiny_bundle)
    with pytest.raises(DeviceError, match="CPUExecutionProvider would run"):
        OnnxRuntimeEncoder(bundle, "cuda")
    encoder = OnnxRuntimeEncoder(bundle, "auto")
    assert encoder.device == "cpu"
    assert encoder.reason.startswith("CUDA did not start")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_file_that_is_no_onnx_model(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    folder = shutil.copytree(tiny_bundle, tmp_path / "copy")
    (folder / "image_encoder.onnx").write_bytes(b"no model")
    object.__setattr__(bundle, "path", folder)
    pixel_values = np.zeros((1, 3, SIDE, SIDE), np.float32)
    with pytest.raises(BundleError, match="cannot be loaded"):
        OnnxRuntimeEncoder(bundle, "cpu").encode_images(pixel_values)
    shutil.copy(tiny_bundle / "text_encoder.onnx", folder / "image_encoder.onnx")
    with pytest.raises(BundleError, match="must have the input pixel_values"):
        OnnxRuntimeEncoder(bundle, "cpu").encode_images(pixel_values)


def test_embeddings_that_are_not_numbers_are_refused(tiny_bundle: Path) -> None:
    encoder = OnnxRuntimeEncoder(load_bundle(tiny_bundle), "cpu")
    with pytest.raises(BundleError, match="not finite"):
        encoder.encode_images(np.full((1, 3, SIDE, SIDE), np.nan, np.float32))


def test_tokenizer_pads_and_refuses_what_does_not_fit(tiny_bundle: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer(tiny_bundle / "tokenizer.json", CONTEXT, 0)
    input_ids = tokenizer(["edema", "a"])
    assert input_ids.dtype == np.int64
    assert input_ids.shape == (2, CONTEXT)
    assert (input_ids[0] != 0).sum() == 5
    assert (input_ids[1] != 0).sum() == 1
    with pytest.raises(TokenizerError, match=r"has 33 tokens, the model reads 32"):
        tokenizer(["x" * 33])
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerError, match="is not a tokenizer"):
        Tokenizer(tmp_path / "tokenizer.json", CONTEXT, 0)
