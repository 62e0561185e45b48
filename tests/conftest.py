"""Fixtures: a tiny real bundle (ONNX written by hand, seconds to build, nothing trained) and drawn pictures."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tokenizers
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SIDE, WIDTH, CONTEXT = 16, 8, 32
REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real chest X-rays for development; tests that need them are skipped where they are absent."""
    folder = Path(os.environ.get("CXRZERO_SHARED_DATA", REPO.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real chest X-rays in {folder} (set CXRZERO_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell starts what it runs in the background deaf to Ctrl-C, and so would be each command that a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests keep embeddings and models in folders of their own, never in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXRZERO_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("CXRZERO_MODELS_DIR", str(tmp_path_factory.mktemp("models")))
        yield


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose encoders are a pooled random projection (image) and a mean of token vectors (text)."""
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def png(tmp_path: Path) -> Callable[..., Path]:
    """Draw a grey PNG: png("a.png", seed=3)."""

    def draw(name: str | Path, seed: int = 0, size: tuple[int, int] = (40, 32)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed, size)).save(path, format="PNG")
        return path

    return draw


def picture(seed: int, size: tuple[int, int] = (40, 32)) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(H, W) uint8: a bright oval on noise, different for every seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    oval = np.exp(-((x - rng.uniform(-0.4, 0.4)) ** 2 + (y - rng.uniform(-0.4, 0.4)) ** 2) * 3)
    return (180 * oval + rng.integers(0, 60, size)).astype(np.uint8)


def write_bundle(path: Path, seed: int = 0, **changes: Any) -> Path:
    """Write the tiny bundle; `seed` draws its weights, other keyword arguments replace keys of model.json."""
    path.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    onnx.save(_image_model(rng), path / "image_encoder.onnx")
    onnx.save(_text_model(rng), path / "text_encoder.onnx")
    _tokenizer().save(str(path / "tokenizer.json"))
    names = ("image_encoder.onnx", "text_encoder.onnx", "tokenizer.json")
    card = {
        "schema_version": 1,
        "name": "tiny",
        "architecture": "pooled projection",
        "embed_dim": WIDTH,
        "image_size": [SIDE, SIDE],
        "context_length": CONTEXT,
        "pad_id": 0,
        "preprocess": [
            {"step": "resize", "height": SIDE, "width": SIDE, "interpolation": "bicubic"},
            {"step": "rescale", "factor": 1 / 255},
            {"step": "normalize", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        ],
        "scoring": {"rule": "softmax_pair", "scale": 10.0},
        "templates": {"positive": ["{}"], "negative": ["no {}"]},
        "labels": ["pneumonia", "edema"],
        "files": {
            name: {
                "sha256": hashlib.sha256((path / name).read_bytes()).hexdigest(),
                "size": (path / name).stat().st_size,
            }
            for name in names
        },
        **changes,
    }
    (path / "model.json").write_text(json.dumps(card))
    return path


def as_schema_2(folder: Path, patches: bool = True) -> Path:
    """Move the large numbers of a bundle's image encoder into image_weights.bin, and give it a patch encoder."""
    model = onnx.load(folder / "image_encoder.onnx")
    [tensor] = [each for each in model.graph.initializer if len(each.raw_data) >= 1024]
    # In the middle of the file: a reader that takes no notice of the offset is found out.
    (folder / "image_weights.bin").write_bytes(b"\xff" * 64 + tensor.raw_data + b"\xff" * 64)
    tensor.CopyFrom(stored_tensor(tensor, location="image_weights.bin", offset=64, length=len(tensor.raw_data)))
    onnx.save(model, folder / "image_encoder.onnx")
    if patches:
        onnx.save(_patch_model(tensor), folder / "patch_encoder.onnx")
    return rehash(folder, schema_version=2, patch_embeds={"height": 1, "width": 1} if patches else None)


def stored_tensor(tensor: onnx.TensorProto, **place: Any) -> onnx.TensorProto:
    """The tensor with its numbers elsewhere."""
    moved = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    moved.data_location = TensorProto.EXTERNAL
    moved.external_data.extend(onnx.StringStringEntryProto(key=key, value=str(value)) for key, value in place.items())
    return moved


def rehash(folder: Path, **changes: Any) -> Path:
    """Write model.json anew for the files of the model that are there."""
    card = json.loads((folder / "model.json").read_text()) | changes
    files = [*folder.glob("*.onnx"), *folder.glob("image_weights.bin")]
    card["files"] |= {file.name: {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()} for file in files}
    (folder / "model.json").write_text(json.dumps(card))
    return folder


def _patch_model(projection: onnx.TensorProto) -> onnx.ModelProto:
    """One patch, the whole picture: (N, 1, 1, WIDTH)."""
    nodes = [
        helper.make_node("AveragePool", ["pixel_values"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "projection"], ["projected"]),
        helper.make_node("LpNormalization", ["projected"], ["unit"], axis=1, p=2),
        helper.make_node("Reshape", ["unit", "shape"], ["patch_embeds"]),
    ]
    shape = numpy_helper.from_array(np.array([-1, 1, 1, WIDTH], np.int64), "shape")
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("patch_embeds", TensorProto.FLOAT, ["N", 1, 1, WIDTH])],
        initializer=[projection, shape],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _model(
    nodes: list[Any], weights: dict[str, Any], given: Any, output: Any, extra: dict[str, Any] | None = None
) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(value, name) for name, value in {**weights, **(extra or {})}.items()]
    graph = helper.make_graph(nodes, "tiny", [given], [output], initializer=tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _image_model(rng: np.random.Generator) -> onnx.ModelProto:
    nodes = [
        helper.make_node("AveragePool", ["pixel_values"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "projection"], ["projected"]),
        helper.make_node("LpNormalization", ["projected"], ["image_embeds"], axis=1, p=2),
    ]
    weights = {"projection": rng.normal(size=(3 * (SIDE // 4) ** 2, WIDTH)).astype(np.float32)}
    return _model(
        nodes,
        weights,
        helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["N", 3, SIDE, SIDE]),
        helper.make_tensor_value_info("image_embeds", TensorProto.FLOAT, ["N", WIDTH]),
    )


def _text_model(rng: np.random.Generator) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gather", ["vectors", "input_ids"], ["tokens"]),
        helper.make_node("Mul", ["tokens", "places"], ["placed"]),
        helper.make_node("ReduceSum", ["placed", "axes"], ["total"], keepdims=0),
        helper.make_node("LpNormalization", ["total"], ["text_embeds"], axis=1, p=2),
    ]
    vectors = rng.normal(size=(257, WIDTH)).astype(np.float32)
    vectors[0] = 0  # padding
    return _model(
        nodes,
        {"vectors": vectors, "places": rng.normal(1, 0.5, (1, CONTEXT, 1)).astype(np.float32)},
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["N", CONTEXT]),
        helper.make_tensor_value_info("text_embeds", TensorProto.FLOAT, ["N", WIDTH]),
        {"axes": np.array([1], np.int64)},
    )


def _tokenizer() -> tokenizers.Tokenizer:
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"[PAD]": 0, **{letter: index + 1 for index, letter in enumerate(alphabet)}}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer
