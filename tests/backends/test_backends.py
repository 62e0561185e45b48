"""The same bundle on every backend: equal in fp32, the same in every batch, and nothing falls back in silence."""

import dataclasses
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrzero import Screener
from cxrzero.backends import Encoder, open_encoder
from cxrzero.backends.base import IMAGE, BundleEncoder, Tower
from cxrzero.backends.in_calls import Run
from cxrzero.backends.onnxruntime import OnnxRuntimeEncoder
from cxrzero.backends.openvino import OpenVinoEncoder, obstacle
from cxrzero.backends.precision import MAX_DEVIATION, MIN_SPEARMAN, admissible
from cxrzero.choices import Backend, Precision
from cxrzero.errors import BundleError, ConfigError, DeviceError, MissingExtraError, RunError, UsageError
from cxrzero.model.bundle import Bundle, load_bundle
from cxrzero.model.model_json import IMAGE_ENCODER, TOKENIZER
from cxrzero.model.tokenizer import Tokenizer
from cxrzero.registry.resolve import resolve_model
from tests.support import REPO
from tests.support.bundle import CONTEXT, SIDE, WIDTH, write_bundle
from tests.support.needs import modules

modules("onnx", "openvino", "torch")
import onnx  # noqa: E402
import torch  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from tests.support.schema2 import as_schema_2  # noqa: E402
from tests.support.variants import rehash, with_int8  # noqa: E402

BACKENDS: tuple[Backend, ...] = ("onnxruntime", "openvino", "torch")


@pytest.fixture(scope="module")
def vit_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random towers of open_clip's ViT, in the tiny bundle's clothes."""
    import open_clip

    torch.manual_seed(0)
    folder = write_bundle(tmp_path_factory.mktemp("vit") / "vit")
    vision = {"image_size": SIDE, "layers": 2, "width": 128, "head_width": 64, "patch_size": 4}
    text = {"context_length": CONTEXT, "vocab_size": 257, "width": 64, "heads": 2, "layers": 2}
    model = open_clip.CLIP(embed_dim=WIDTH, vision_cfg=vision, text_cfg=text, quick_gelu=True).eval()
    export(model, "encode_image", torch.rand(2, 3, SIDE, SIDE), folder / "image_encoder.onnx", "pixel_values")
    export(model, "encode_text", torch.randint(1, 256, (2, CONTEXT)), folder / "text_encoder.onnx", "input_ids")
    return rehash(folder)


def export(model: torch.nn.Module, method: str, example: torch.Tensor, path: Path, name: str) -> None:
    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, value: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(getattr(self.model, method)(value), dim=-1)

    output = {"pixel_values": "image_embeds", "input_ids": "text_embeds"}[name]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                Tower().eval(),
                (example,),
                path,
                input_names=[name],
                output_names=[output],
                dynamic_axes={name: {0: "N"}, output: {0: "N"}},
                opset_version=17,
                dynamo=False,
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@pytest.fixture(scope="module")
def stored_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle in schema 2."""
    return as_schema_2(write_bundle(tmp_path_factory.mktemp("stored") / "stored"))


@pytest.fixture(scope="module", params=["tiny", "stored", "vit", "cxrzero-mini"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    if request.param == "cxrzero-mini":
        return resolve_model("cxrzero-mini")
    return load_bundle(request.getfixturevalue(f"{request.param}_bundle"))


def pictures(bundle: Bundle, n: int) -> Any:
    return np.random.default_rng(0).normal(size=(n, 3, *bundle.image_size)).astype(np.float32)


def sentences(bundle: Bundle, n: int) -> Any:
    tokenizer = Tokenizer(bundle.file(TOKENIZER), bundle.context_length, bundle.pad_id)
    return tokenizer([f"{sign}{label}" for label in bundle.labels * n for sign in ("", "no ")][:n])


def margins(encoder: Encoder, bundle: Bundle) -> Any:
    """(24, L) float64: d of random pictures."""
    texts = encoder.encode_texts(sentences(bundle, 2 * len(bundle.labels))).astype(np.float64)
    cosines = encoder.encode_images(pictures(bundle, 24)).astype(np.float64) @ texts.T
    return cosines[:, 0::2] - cosines[:, 1::2]


def test_all_backends_agree_in_fp32(bundle: Bundle) -> None:
    results = [margins(open_encoder(bundle, name, "cpu", threads=1), bundle) for name in BACKENDS]
    assert np.ptp(results[0], axis=0).max() > 1e-3  # they have something to agree on
    for other in results[1:]:
        assert np.abs(other - results[0]).max() <= 1e-5


@pytest.mark.parametrize(
    ("backend", "precision"), [*((name, "fp32") for name in BACKENDS), ("openvino", "bf16"), ("torch", "bf16")]
)
def test_an_image_has_one_result_whatever_shares_its_batch(bundle: Bundle, backend: Any, precision: Any) -> None:
    if backend == "openvino" and (why := obstacle(precision)):
        pytest.skip(why)
    # On busy cores two threads of torch wait for each other: once, on the small models, is enough.
    is_slow = backend == "torch" and (precision != "fp32" or bundle.name == "cxrzero-mini")
    for threads in (1,) if is_slow else (1, 2):
        encoder = open_encoder(bundle, backend, "cpu", precision, threads)
        check_batches(encoder.encode_images, pictures(bundle, 16))
        check_batches(encoder.encode_texts, sentences(bundle, 16))
    torch.set_num_threads(1)


def check_batches(encode: Any, rows: Any) -> None:
    whole = encode(rows)
    for size in (1, 7):
        parts = [encode(rows[start : start + size]) for start in range(0, 16, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(encode(rows[::-1].copy())[::-1], whole)


def test_openvino_leaves_the_signal_stack_alone(tiny_bundle: Path) -> None:
    """Its plugin, when unloaded, took away the stack that faulthandler gives to signals: Ctrl-C then was a crash."""
    script = (
        "import faulthandler, os, signal, sys; faulthandler.enable()\n"
        # Started in the background, a process may have the signal ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path\n"
        "from cxrzero.backends import open_encoder\n"
        "from cxrzero.model.bundle import load_bundle\n"
        "bundle = load_bundle(Path(sys.argv[1]))\n"
        "first, second = (open_encoder(bundle, 'openvino', 'cpu') for _ in range(2))\n"
        "del first, second\n"
        "try: os.kill(os.getpid(), signal.SIGINT); raise SystemExit(1)\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tiny_bundle)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


def test_the_encoder_says_what_runs(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    for name in BACKENDS:
        encoder = open_encoder(bundle, name, "cpu")
        assert encoder.backend.split()[0] == name
        assert (encoder.device, encoder.precision, encoder.reason) == ("cpu", "fp32", "asked for")
    assert open_encoder(bundle).backend.startswith("onnxruntime")
    assert open_encoder(bundle, "torch", "cpu", "bf16").precision == "bf16"


def test_what_is_not_offered_is_refused_with_the_choices(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    with pytest.raises(ConfigError, match=r"--precision int8 .*tiny with onnxruntime on cpu; choose fp32 or auto"):
        open_encoder(bundle, "onnxruntime", "cpu", "int8")
    with pytest.raises(ConfigError, match=r"fp16 .*torch on cpu; choose fp32, bf16 or auto"):
        open_encoder(bundle, "torch", "cpu", "fp16")
    with pytest.raises(ConfigError, match="int8"):
        open_encoder(bundle, "auto", "cpu", "int8")
    with pytest.raises(DeviceError, match="openvino"):
        open_encoder(bundle, "openvino", "cuda")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="torch finds no usable GPU"):
            open_encoder(bundle, "torch", "cuda")
    unknown: list[dict[str, Any]] = [{"backend": "magic"}, {"device": "tpu"}, {"precision": "fp8"}]
    for wrong in unknown:
        with pytest.raises(UsageError, match="is unknown; choose "):
            open_encoder(bundle, **wrong)


def test_a_backend_that_is_not_installed_names_the_command(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle(tiny_bundle)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("openvino", "torch"):
        with pytest.raises(MissingExtraError, match=rf"pip install 'cxrzero\[{name}\]'"):
            open_encoder(bundle, name)
    with pytest.raises(MissingExtraError, match="openvino"):  # it alone could do this
        open_encoder(bundle, "auto", "cpu", "bf16")
    assert open_encoder(bundle, "auto", "cpu", "auto").precision == "fp32"


def test_openvino_takes_no_telemetry_along(tiny_bundle: Path) -> None:
    program = (
        "import sys\n"
        "from cxrzero.backends import open_encoder\n"
        "from cxrzero.model.bundle import load_bundle\nfrom pathlib import Path\n"
        f"open_encoder(load_bundle(Path({str(tiny_bundle)!r})), 'openvino', threads=1)\n"
        "assert 'openvino' in sys.modules\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=REPO)


def test_a_variant_runs_where_asked_and_by_auto_where_its_card_allows(tmp_path: Path) -> None:
    near = load_bundle(with_int8(write_bundle(tmp_path / "near")))
    far = load_bundle(with_int8(write_bundle(tmp_path / "far"), spearman=0.9))
    exact = open_encoder(near, "onnxruntime", "cpu").encode_images(pictures(near, 16))
    backends: list[Backend] = ["onnxruntime", *([] if obstacle("int8") else ["openvino"])]  # type: ignore[list-item]
    for backend in backends:
        encoder = open_encoder(near, backend, "cpu", "int8", threads=1)
        rough = encoder.encode_images(pictures(near, 16))
        assert 0 < np.abs(rough - exact).max() < 0.2
        np.testing.assert_array_equal(encoder.encode_images(pictures(near, 3)), rough[:3])
    chosen, kept = (open_encoder(each, "auto", "cpu", "auto") for each in (near, far))
    assert (chosen.precision, chosen.reason) == (
        "int8",
        "asked for; int8 is within the bound on deviation, by the model's card",
    )
    assert kept.precision == "fp32"
    assert "no deviation within the bound" in kept.reason
    assert near.fingerprint_at("int8") != near.fingerprint == near.fingerprint_at("bf16")
    assert near.fingerprint == load_bundle(write_bundle(tmp_path / "plain")).fingerprint


def test_the_bound_is_the_stated_one(tiny_bundle: Path) -> None:
    from cxrzero.model.model_json import Deviation, Variant

    bundle = load_bundle(tiny_bundle)

    def allowed(deviation: Deviation | None) -> bool:
        stated = dataclasses.replace(bundle, variants={"bf16": Variant(None, deviation)})
        return admissible(("fp32", "bf16"), "cpu", stated) == ["bf16"]

    assert allowed(Deviation(MAX_DEVIATION, MIN_SPEARMAN, 10))
    assert not allowed(Deviation(MAX_DEVIATION + 1e-6, 1.0, 10))
    assert not allowed(Deviation(0.0, MIN_SPEARMAN - 1e-6, 10))
    assert not allowed(None)


@pytest.mark.parametrize(
    "variants",
    [
        [],
        {"int4": {}},
        {"int8": "image_encoder.int8.onnx"},
        {"int8": {"image_encoder": "../elsewhere.onnx"}},
        {"int8": {"deviation": {"spearman": 1}}},
        {"int8": {"image_encoder": "absent.onnx"}},
    ],
)
def test_a_wrong_variant_is_refused_by_key(tmp_path: Path, variants: object) -> None:
    folder = rehash(write_bundle(tmp_path / "wrong"), variants=variants)
    with pytest.raises(BundleError, match=r"variants|files\.absent"):
        load_bundle(folder)


def test_precisions_share_no_embedding(tmp_path: Path, png: Any) -> None:
    folder, image = with_int8(write_bundle(tmp_path / "model")), png("a.png")
    rows = {p: Screener(folder, device="cpu", precision=p).predict(image)[0] for p in ("fp32", "int8", "fp32")}
    assert rows["fp32"].scores != rows["int8"].scores
    plain = Screener(write_bundle(tmp_path / "plain"), device="cpu", cache=False).predict(image)[0]
    assert rows["fp32"].scores == plain.scores


def test_torch_refuses_an_operator_it_does_not_know(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "strange")
    value = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
    output = helper.make_tensor_value_info("image_embeds", TensorProto.FLOAT, ["N", WIDTH])
    graph = helper.make_graph([helper.make_node("Sinh", ["pixel_values"], ["image_embeds"])], "g", [value], [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), folder / IMAGE_ENCODER)
    bundle = load_bundle(rehash(folder))
    with pytest.raises(BundleError, match="does not know the operator Sinh; use --backend onnxruntime"):
        open_encoder(bundle, "torch", "cpu").encode_images(pictures(bundle, 1))
    (folder / IMAGE_ENCODER).write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"image_encoder\.onnx cannot be loaded: it is not an ONNX model"):
        load_bundle(rehash(folder))


def test_auto_takes_openvino_for_large_encoders_where_it_is_installed(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(tiny_bundle)

    def chosen(precision: Precision = "fp32") -> str:
        return open_encoder(bundle, "auto", "cpu", precision).backend.split()[0]

    assert (chosen(), chosen("auto")) == ("onnxruntime", "onnxruntime")
    monkeypatch.setattr("cxrzero.backends.open.LARGE_ENCODER", bundle.file(IMAGE_ENCODER).stat().st_size)
    assert (chosen(), chosen("auto")) == ("openvino", "openvino")
    monkeypatch.setattr("cxrzero.backends.open.missing_module", lambda name: name if name == "openvino" else None)
    assert (chosen(), chosen("auto")) == ("onnxruntime", "onnxruntime")


def test_auto_says_why_not_cuda_and_why_openvino(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle(tiny_bundle)
    monkeypatch.setattr("cxrzero.backends.gpus.DRIVER", "libno-such-driver.so")
    monkeypatch.setattr("cxrzero.backends.open.LARGE_ENCODER", 1)
    reason = open_encoder(bundle).reason
    assert reason == "no NVIDIA driver was found; OpenVINO is installed, which encodes large models faster"
    assert open_encoder(bundle, "openvino").reason == "openvino runs on the CPU"


def test_auto_goes_on_where_openvino_cannot_be_imported(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxrzero.backends.openvino import _has_bf16, core

    bundle = load_bundle(tiny_bundle)
    monkeypatch.setattr("cxrzero.backends.open.LARGE_ENCODER", 1)
    monkeypatch.setattr("cxrzero.backends.open.missing_module", lambda name: None)
    monkeypatch.setattr("cxrzero.backends.openvino.core", core.__wrapped__)  # one is open already
    _has_bf16.cache_clear()  # and has been asked
    monkeypatch.setitem(sys.modules, "openvino", None)
    for precision in ("fp32", "auto"):
        encoder = open_encoder(bundle, "auto", "cpu", precision)
        assert encoder.backend.startswith("onnxruntime")
        assert encoder.reason.startswith("asked for; ")
        assert "; openvino is installed but cannot be imported: " in encoder.reason
    with pytest.raises(RunError, match="cannot be imported"):
        open_encoder(bundle, "openvino", "cpu")
    with pytest.raises(RunError, match="cannot be imported"):  # ONNX Runtime has no bf16
        open_encoder(bundle, "auto", "cpu", "bf16")


def with_second_output(folder: Path) -> Path:
    """Let the image encoder of a copy of the tiny bundle give something that no embedding needs."""
    model = onnx.load(folder / IMAGE_ENCODER)
    model.graph.node.append(helper.make_node("Relu", ["projected"], ["patch_embeds"]))
    model.graph.output.append(helper.make_tensor_value_info("patch_embeds", TensorProto.FLOAT, ["N", WIDTH]))
    onnx.checker.check_model(model)
    onnx.save(model, folder / IMAGE_ENCODER)
    return rehash(folder)


def test_only_the_embedding_is_computed_except_of_very_large_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(with_second_output(write_bundle(tmp_path / "two")))

    def outputs_and_embeds() -> tuple[list[str], Any]:
        encoder = OnnxRuntimeEncoder(bundle, "cpu", threads=1)
        session = encoder._tower(IMAGE).session  # type: ignore[attr-defined]
        assert session._model_bytes is None  # or a second copy of the file would stay in memory
        return [output.name for output in session.get_outputs()], encoder.encode_images(pictures(bundle, 3))

    names, cut = outputs_and_embeds()
    assert names == ["image_embeds"]
    monkeypatch.setattr("cxrzero.backends.ort_session.MAX_CUT", 1)
    names, whole = outputs_and_embeds()
    assert names == ["image_embeds", "patch_embeds"]
    np.testing.assert_array_equal(whole, cut)


def test_no_backend_computes_what_only_patches_need(tmp_path: Path) -> None:
    """Of a file of schema 1 with two outputs: a node on the way to the other one alone would end the run."""
    folder = with_second_output(write_bundle(tmp_path / "two"))
    exact = open_encoder(load_bundle(folder), "onnxruntime", "cpu").encode_images(pictures(load_bundle(folder), 3))
    model = onnx.load(folder / IMAGE_ENCODER)
    model.graph.initializer.append(numpy_helper.from_array(np.array([10**6], np.int64), "far"))
    model.graph.node[-1].CopyFrom(helper.make_node("Gather", ["projected", "far"], ["patch_embeds"]))
    onnx.save(model, folder / IMAGE_ENCODER)
    bundle = load_bundle(rehash(folder, patch_embeds={"height": 1, "width": 1}))
    for name in BACKENDS:
        encoder = open_encoder(bundle, name, "cpu", threads=1)
        np.testing.assert_allclose(encoder.encode_images(pictures(bundle, 3)), exact, atol=1e-6)
    with pytest.raises(RunError, match="failed"):
        OnnxRuntimeEncoder(bundle, "cpu").encode_patches(pictures(bundle, 3))


def test_openvino_computes_only_the_embedding(tmp_path: Path) -> None:
    bundle = load_bundle(with_second_output(write_bundle(tmp_path / "two")))
    encoder = OpenVinoEncoder(bundle, "cpu", threads=1)
    requests = encoder._tower(IMAGE).args[0]  # type: ignore[attr-defined]
    assert [output.get_any_name() for output in requests[0].get_compiled_model().outputs] == ["image_embeds"]
    exact = open_encoder(bundle, "onnxruntime", "cpu").encode_images(pictures(bundle, 3))
    np.testing.assert_allclose(encoder.encode_images(pictures(bundle, 3)), exact, atol=1e-6)


class SmallGpu(BundleEncoder):
    """Pretends to be a GPU whose memory holds ten rows at a time."""

    backend, device, precision, reason, fixed_batch = "pretended", "cuda", "fp32", "asked for", 64

    def __init__(self, bundle: Bundle, message: str) -> None:
        super().__init__(bundle, None)
        self.sizes: list[int] = []
        self._message = message

    def _open(self, tower: Tower, path: Path) -> Run:
        def run(rows: np.ndarray) -> np.ndarray:
            self.sizes.append(len(rows))
            if len(rows) > 10:
                raise RuntimeError(self._message)
            return np.repeat(rows.reshape(len(rows), -1)[:, :1], WIDTH, axis=1)

        return run


@pytest.mark.parametrize(
    "message",
    [
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 1",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
    ],
)
def test_a_full_gpu_gets_smaller_calls_and_says_so(tiny_bundle: Path, message: str) -> None:
    encoder = SmallGpu(load_bundle(tiny_bundle), message)
    pixels = np.arange(100, dtype=np.float32)[:, None, None, None] * np.ones((1, 3, SIDE, SIDE), np.float32)
    np.testing.assert_array_equal(encoder.encode_images(pixels)[:, 0], np.arange(100))
    assert sorted(set(encoder.sizes)) == [8, 16, 32, 64]  # halved step by step
    assert encoder.fixed_batch == 8
    assert encoder.reason == "asked for; the GPU's memory ran out, so calls are of 8 rows"
    encoder.sizes.clear()
    encoder.encode_images(pixels[:20])
    assert encoder.sizes == [8, 8, 8]


def test_other_failures_of_a_gpu_end_the_run(tiny_bundle: Path) -> None:
    encoder = SmallGpu(load_bundle(tiny_bundle), "an illegal memory access was encountered")
    with pytest.raises(RunError, match="illegal memory access"):
        encoder.encode_images(np.zeros((64, 3, SIDE, SIDE), np.float32))
    assert encoder.sizes == [64]


@pytest.mark.parametrize("backend", BACKENDS)
def test_zeros_stay_zeros_where_they_cannot_be_scaled_to_length_1(tiny_bundle: Path, backend: Backend) -> None:
    """The small bundle has no bias, so that it makes zeros of a black picture."""
    encoder = open_encoder(load_bundle(tiny_bundle), backend, "cpu")
    embeds = encoder.encode_images(np.zeros((1, 3, SIDE, SIDE), np.float32))
    np.testing.assert_array_equal(embeds, np.zeros((1, WIDTH), np.float32))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch"])
def test_a_large_text_tower_makes_room_for_the_films(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, backend: Backend
) -> None:
    ids = np.ones((2, CONTEXT), np.int64)
    films = np.random.default_rng(0).normal(size=(3, 3, SIDE, SIDE)).astype(np.float32)
    small: Any = open_encoder(load_bundle(tiny_bundle), backend, "cpu")
    expected = small.encode_texts(ids), small.encode_images(films)
    assert len(small._open_towers) == 2
    monkeypatch.setattr("cxrzero.backends.base.LARGE_TEXTS", 0)
    large: Any = open_encoder(load_bundle(tiny_bundle), backend, "cpu")
    for _ in range(2):
        np.testing.assert_array_equal(large.encode_texts(ids), expected[0])
        np.testing.assert_array_equal(large.encode_images(films), expected[1])
    assert len(large._open_towers) == 2  # asked again, it stays: films go on being read
    large.release()
    large.encode_texts(ids)
    large.encode_images(films)
    assert [tower.output for tower in large._open_towers] == ["image_embeds"]
