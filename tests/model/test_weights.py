"""The file of weights beside the graphs of a bundle: what may lie there, how it is found, and what it decides."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cxrzero import Screener
from cxrzero.backends import open_encoder
from cxrzero.choices import Backend
from cxrzero.cli import app
from cxrzero.errors import BundleError, ConfigError, LabelError
from cxrzero.model.bundle import Bundle, load_bundle
from cxrzero.model.weights import IMAGE_WEIGHTS, TEXT_WEIGHTS, WAYS, map_tensors, stored_tensors
from cxrzero.registry.verify import verify
from tests.support.bundle import CONTEXT, SIDE, write_bundle
from tests.support.needs import modules

modules("onnx", "openvino", "torch")
import onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from tests.support.schema2 import as_schema_2, stored_tensor, with_text_weights  # noqa: E402
from tests.support.variants import rehash  # noqa: E402

BACKENDS: tuple[Backend, ...] = ("onnxruntime", "openvino", "torch")
WHOLE = 48 * 8 * 4  # bytes of the tiny bundle's projection


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return as_schema_2(write_bundle(tmp_path / "stored"))


def pixels(n: int) -> Any:
    return np.random.default_rng(0).normal(size=(n, 3, SIDE, SIDE)).astype(np.float32)


def hard_links(folder: Path, target: Path) -> Path:
    """As uv installs."""
    target.mkdir()
    for file in folder.iterdir():
        os.link(file, target / file.name)
    return target


def hugging_face_cache(folder: Path, target: Path) -> Path:
    """snapshots/COMMIT/file → ../../blobs/HASH"""
    (target / "blobs").mkdir(parents=True)
    snapshot = target / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(folder.iterdir())):
        shutil.copy(file, target / "blobs" / f"blob{number}")
        (snapshot / file.name).symlink_to(Path("..", "..", "blobs", f"blob{number}"))
    return snapshot


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("layout", [shutil.copytree, hard_links, hugging_face_cache])
def test_every_backend_reads_it_however_it_came(
    tiny_bundle: Path, folder: Path, tmp_path: Path, backend: Backend, layout: Callable[[Path, Path], Any]
) -> None:
    bundle = load_bundle(Path(layout(folder, tmp_path / "layout")))
    encoder = open_encoder(bundle, backend, "cpu", threads=1)
    found = encoder.encode_images(pixels(5))
    plain = open_encoder(load_bundle(tiny_bundle), backend, "cpu", threads=1).encode_images(pixels(5))
    np.testing.assert_array_equal(found, plain)
    patches = encoder.encode_patches(pixels(5))
    assert patches.shape == (5, 1, 1, 8)
    np.testing.assert_array_equal(patches[:, 0, 0], found)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("layout", [shutil.copytree, hard_links, hugging_face_cache])
def test_every_backend_reads_the_weights_of_texts(
    tiny_bundle: Path, folder: Path, tmp_path: Path, backend: Backend, layout: Callable[[Path, Path], Any]
) -> None:
    bundle = load_bundle(Path(layout(with_text_weights(folder), tmp_path / "layout")))
    ids = np.random.default_rng(0).integers(0, 257, (3, CONTEXT))
    found = open_encoder(bundle, backend, "cpu", threads=1).encode_texts(ids)
    plain = open_encoder(load_bundle(tiny_bundle), backend, "cpu", threads=1).encode_texts(ids)
    np.testing.assert_array_equal(found, plain)


def test_weights_of_texts_need_schema_3_and_are_checked(folder: Path) -> None:
    with_text_weights(folder)
    assert {check.name: check.ok for check in verify(load_bundle(folder))}["text encoder"]
    for version in (1, 2):
        with pytest.raises(BundleError, match=r"encoder\.onnx must hold all its numbers itself"):
            load_bundle(rehash(folder, schema_version=version))
    rehash(folder, schema_version=3)
    weights = folder / TEXT_WEIGHTS
    weights.write_bytes(weights.read_bytes()[::-1])
    with pytest.raises(BundleError, match=r"text_weights\.bin is not the file"):
        load_bundle(folder)
    weights.unlink()
    with pytest.raises(BundleError, match=r"text_weights\.bin is missing"):
        load_bundle(folder)


def test_each_tower_has_numbers_in_its_own_file_only(folder: Path) -> None:
    with_text_weights(folder)
    for name, weights in (("text_encoder.onnx", IMAGE_WEIGHTS), ("image_encoder.onnx", TEXT_WEIGHTS)):
        before = (folder / name).read_bytes()
        change(folder, name, lambda model, weights=weights: model.graph.initializer.append(outside(weights)))  # type: ignore[misc]
        with pytest.raises(BundleError, match=rf"{name}: 'hidden' is in '{weights}'; it may be in"):
            load_bundle(folder)
        (folder / name).write_bytes(before)
    variants = {"fp16": {"image_encoder": "text_encoder.onnx"}}
    with pytest.raises(BundleError, match=r"text_encoder\.onnx must hold all its numbers itself"):
        load_bundle(rehash(folder, variants=variants))


def test_other_weights_of_texts_are_another_model(folder: Path, tmp_path: Path, png: Callable[..., Path]) -> None:
    """Beside the same graph: the fingerprint and the keys of the cache of texts cover them."""
    image, other = png("a.png"), Path(shutil.copytree(with_text_weights(folder), tmp_path / "other"))
    rows = np.frombuffer((other / TEXT_WEIGHTS).read_bytes()[64:-64], np.float32)
    (other / TEXT_WEIGHTS).write_bytes(bytes(64) + (rows[::-1] * np.float32(2)).tobytes() + bytes(64))
    ours, theirs = load_bundle(folder), load_bundle(rehash(other))
    assert ours.files["text_encoder.onnx"] == theirs.files["text_encoder.onnx"]
    assert ours.fingerprint != theirs.fingerprint
    tables = []
    for where in (folder, other, folder):
        asked = ["predict", str(image), "--model", str(where), "--out", str(tmp_path / "out.csv"), "--overwrite"]
        done = CliRunner().invoke(app, asked)
        assert done.exit_code == 0, done.output
        tables.append((tmp_path / "out.csv").read_text())
    assert tables[0] == tables[2] != tables[1]


def test_the_file_is_mapped_and_never_written_to(folder: Path) -> None:
    before = (folder / IMAGE_WEIGHTS).read_bytes()
    [(name, values)] = map_tensors(folder / "image_encoder.onnx").items()
    assert (name, values.shape, str(values.dtype)) == ("projection", (48, 8), "float32")
    values[:] = 0
    assert (folder / IMAGE_WEIGHTS).read_bytes() == before


def test_other_weights_are_another_model(folder: Path, tmp_path: Path, png: Callable[..., Path]) -> None:
    image = png("a.png")
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    content = bytearray((other / IMAGE_WEIGHTS).read_bytes())
    content[64 : 64 + WHOLE] = content[64 : 64 + WHOLE][::-1]
    rows = np.frombuffer(bytes(content[64 : 64 + WHOLE]), np.float32)
    content[64 : 64 + WHOLE] = np.nan_to_num(np.clip(rows, -3, 3), nan=1.0).tobytes()
    (other / IMAGE_WEIGHTS).write_bytes(content)
    with pytest.raises(BundleError, match=r"image_weights\.bin is not the file"):
        load_bundle(other)
    ours, theirs = load_bundle(folder), load_bundle(rehash(other))
    assert ours.files["image_encoder.onnx"] == theirs.files["image_encoder.onnx"]
    assert ours.fingerprint != theirs.fingerprint
    kept, tables = [], []
    for where in (folder, other, other, folder):
        asked = ["predict", str(image), "--model", str(where), "--out", str(tmp_path / "out.csv"), "--overwrite"]
        done = CliRunner().invoke(app, asked)
        assert done.exit_code == 0, done.output
        tables.append((tmp_path / "out.csv").read_text())
        kept.append(json.loads((tmp_path / "out.run.json").read_text())["cache"]["cached"])
    assert kept == [0, 0, 1, 1]  # the graph is the same, but what the cache has of the one is not the other's
    assert tables[0] == tables[3] != tables[1] == tables[2]


def test_fingerprints_of_schema_1_are_what_they_were(tmp_path: Path) -> None:
    plain = load_bundle(write_bundle(tmp_path / "plain"))
    assert set(plain.files) == {"image_encoder.onnx", "text_encoder.onnx", "tokenizer.json"}
    assert plain.image_encoder_files("fp32") == ("image_encoder.onnx",)
    stray = write_bundle(tmp_path / "stray")
    (stray / IMAGE_WEIGHTS).write_bytes(b"no part of schema 1")
    assert load_bundle(rehash(stray)).fingerprint == plain.fingerprint


def test_a_variant_has_all_its_numbers_itself(folder: Path) -> None:
    shutil.copy(folder / "image_encoder.onnx", folder / "image_encoder.fp16.onnx")
    for name in ("image_encoder.fp16.onnx", "image_encoder.onnx"):
        with pytest.raises(BundleError, match="must hold all its numbers itself"):
            load_bundle(rehash(folder, variants={"fp16": {"image_encoder": name}}))
    shutil.copy(folder / "image_encoder.onnx", folder / "calibration.json")  # a variant is a graph, whatever its name
    files = json.loads((folder / "model.json").read_text())["files"]
    files["calibration.json"] = files["image_encoder.onnx"]
    with pytest.raises(BundleError, match="must hold all its numbers itself"):
        load_bundle(rehash(folder, variants={"fp16": {"image_encoder": "calibration.json"}}, files=files))


def test_no_labels_are_an_error_only_where_none_are_given(folder: Path, tmp_path: Path, png: Any) -> None:
    screener = Screener(rehash(folder, labels=[]), device="cpu")
    with pytest.raises(LabelError, match="tiny names no labels of its own; say with --labels"):
        screener.predict(png("a.png"))
    assert list(screener.predict(png("a.png"), ["edema"])[0].scores) == ["edema"]
    with pytest.raises(BundleError, match="labels"):
        load_bundle(rehash(write_bundle(tmp_path / "one"), labels=[]))


def test_patches_are_optional_and_verified(folder: Path, tmp_path: Path) -> None:
    checks = {check.name: check for check in verify(load_bundle(folder))}
    assert checks["files"].detail.startswith("schema and SHA-256 of 5 files")
    # One patch of noise is much like another; what matters is that it was looked at.
    assert checks["patch encoder"].ok, checks["patch encoder"].detail
    wrong = load_bundle(rehash(folder, patch_embeds={"height": 7, "width": 7}))
    assert not next(check for check in verify(wrong) if check.name == "patch encoder").ok
    without = load_bundle(as_schema_2(write_bundle(tmp_path / "without"), patches=False))
    assert "patch encoder" not in {check.name for check in verify(without)}
    with pytest.raises(ConfigError, match="no embeddings of patches"):
        open_encoder(without, "onnxruntime", "cpu").encode_patches(pixels(1))


# What strangers may send.


def change(folder: Path, name: str, edit: Callable[[onnx.ModelProto], None]) -> Path:
    model = onnx.load(folder / name, load_external_data=False)
    edit(model)
    (folder / name).write_bytes(model.SerializeToString())
    return rehash(folder)


def projection(model: onnx.ModelProto) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == "projection")


@pytest.mark.parametrize(
    "place",
    [
        {"location": "other.bin"},
        {"location": "../stored/image_weights.bin"},
        {"location": "./image_weights.bin"},
        {"location": "..\\stored\\image_weights.bin"},
        {"location": "image_weights.bin\0"},
        {"location": "/etc/hostname"},
        {"location": "*/_ORT_MEM_ADDR_/*"},
        {"location": ""},
        {"location": "IMAGE_WEIGHTS.BIN"},
        {"offset": -4},
        {"offset": 65},
        {"offset": 132},
        {"offset": 2**63},
        {"offset": 10**30},
        {"offset": "0x40"},
        {"offset": "٤"},
        {"offset": ""},
        {"length": 0},
        {"length": -WHOLE},
        {"length": WHOLE - 4},
        {"length": 2**64 + WHOLE},
        {"checksum": "abc"},
        {"basepath": "/etc"},
        {"location": None},
        {"offset": None},
        {"length": None},
    ],
)
@pytest.mark.parametrize("name", ["image_encoder.onnx", "patch_encoder.onnx"])
def test_any_other_place_is_refused_before_a_backend_opens_it(folder: Path, place: dict[str, Any], name: str) -> None:
    asked = {"location": IMAGE_WEIGHTS, "offset": 64, "length": WHOLE} | place
    stated = {key: value for key, value in asked.items() if value is not None}

    def elsewhere(model: onnx.ModelProto) -> None:
        projection(model).CopyFrom(stored_tensor(projection(model), **stated))

    change(folder, name, elsewhere)
    with pytest.raises(BundleError, match=rf"{name}.*projection"):
        load_bundle(folder)


def test_a_place_is_stated_once(folder: Path) -> None:
    def twice(model: onnx.ModelProto) -> None:
        projection(model).external_data.append(onnx.StringStringEntryProto(key="location", value=IMAGE_WEIGHTS))

    with pytest.raises(BundleError, match="each once"):
        load_bundle(change(folder, "image_encoder.onnx", twice))


@pytest.mark.parametrize(
    "edit",
    [
        lambda tensor: tensor.dims.__setitem__(0, -48),
        lambda tensor: tensor.dims.__setitem__(0, 2**62),
        lambda tensor: setattr(tensor, "data_type", TensorProto.STRING),
        lambda tensor: setattr(tensor, "data_type", TensorProto.FLOAT16),
        lambda tensor: setattr(tensor, "name", ""),
        lambda tensor: setattr(tensor, "data_location", TensorProto.DEFAULT),
        lambda tensor: tensor.ClearField("external_data"),
    ],
)
def test_a_tensor_is_as_long_as_its_shape_and_says_where_it_is(folder: Path, edit: Callable[[Any], None]) -> None:
    change(folder, "image_encoder.onnx", lambda model: edit(projection(model)))
    with pytest.raises(BundleError, match=r"image_encoder\.onnx"):
        load_bundle(folder)


def outside(location: str = IMAGE_WEIGHTS) -> onnx.TensorProto:
    whole = numpy_helper.from_array(np.zeros((48, 8), np.float32), "hidden")
    return stored_tensor(whole, location=location, offset=64, length=WHOLE)


def in_attribute(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["hidden"], value=outside()))


def in_branch(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([helper.make_node("Identity", ["hidden"], ["y"])], "b", [], [], [outside()])
    model.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch))


def in_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["hidden"], value=outside())
    model.functions.append(helper.make_function("own", "f", [], ["hidden"], [node], []))


def in_sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=outside(), dims=[1]))


def in_training(model: onnx.ModelProto) -> None:
    model.training_info.append(onnx.TrainingInfoProto(algorithm=helper.make_graph([], "t", [], [], [outside()])))


def twice(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(projection(model))


@pytest.mark.parametrize("hide", [in_attribute, in_branch, in_function, in_sparse, in_training, twice])
def test_only_initializers_of_the_graph_itself_are_there(folder: Path, hide: Callable[[Any], None]) -> None:
    with pytest.raises(BundleError, match=r"(hidden|projection).* only initializers, once"):
        load_bundle(change(folder, "image_encoder.onnx", hide))


def test_every_way_to_a_tensor_is_known() -> None:
    """The table, against the schema that `onnx` has."""

    def ways(descriptor: Any, seen: tuple[Any, ...] = ()) -> bool:
        """Whether a tensor can be within the message."""
        inner = {f.message_type.full_name: f.message_type for f in descriptor.fields if f.message_type}
        return descriptor.name == "TensorProto" or any(
            ways(each, (*seen, descriptor)) for each in inner.values() if each not in seen and each is not descriptor
        )

    def short(name: str) -> str:
        return name.removesuffix("Proto")

    found: dict[str, dict[int, str]] = {}
    waiting = [onnx.ModelProto.DESCRIPTOR]
    while waiting:
        descriptor = waiting.pop()
        if short(descriptor.name) in found or descriptor.name == "TensorProto":
            continue
        inner = [f for f in descriptor.fields if f.message_type and ways(f.message_type)]
        found[short(descriptor.name)] = {f.number: short(f.message_type.name) for f in inner}
        waiting += [f.message_type for f in inner]
    assert found == WAYS


@pytest.mark.parametrize("name", ["text_encoder.onnx", "image_encoder.onnx"])
def test_who_may_not_use_the_file_is_refused(folder: Path, name: str) -> None:
    """A text encoder, and any graph of schema 1, whose hashes do not cover the file."""
    if name == "text_encoder.onnx":
        (folder / TEXT_WEIGHTS).write_bytes((folder / IMAGE_WEIGHTS).read_bytes())
        change(folder, name, lambda model: model.graph.initializer.append(outside(TEXT_WEIGHTS)))
    else:
        rehash(folder, schema_version=1)
    with pytest.raises(BundleError, match=rf"{name} must hold all its numbers itself"):
        load_bundle(folder)


def test_an_explicit_default_location_is_the_graph_itself(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "plain")
    change(folder, "image_encoder.onnx", lambda m: setattr(projection(m), "data_location", TensorProto.DEFAULT))
    assert stored_tensors(folder / "image_encoder.onnx") == ()
    load_bundle(folder)


def test_a_file_that_is_not_whole(folder: Path) -> None:
    weights = folder / IMAGE_WEIGHTS
    whole = weights.read_bytes()
    for wrong in (whole[:-1], whole + b"\0", b""):
        weights.write_bytes(wrong)
        with pytest.raises(BundleError, match=r"image_weights\.bin is not the file"):
            load_bundle(folder)
    weights.write_bytes(whole[: 64 + WHOLE - 1])
    with pytest.raises(BundleError, match=rf"projection' ends beyond the {64 + WHOLE - 1} bytes"):
        load_bundle(rehash(folder))
    weights.unlink()
    with pytest.raises(BundleError, match=r"image_weights\.bin is missing"):
        load_bundle(folder)
    weights.symlink_to(weights)
    with pytest.raises(BundleError, match=r"image_weights\.bin cannot be read"):
        load_bundle(folder)


def test_a_graph_that_is_not_whole_is_no_model(folder: Path) -> None:
    graph = folder / "image_encoder.onnx"
    whole = graph.read_bytes()
    for size in range(len(whole)):
        graph.write_bytes(whole[:size])
        with contextlib.suppress(BundleError):
            assert len(stored_tensors(graph)) <= 1
    graph.write_bytes(b"")
    with pytest.raises(BundleError, match="is not an ONNX model"):
        stored_tensors(graph)


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=8), st.integers(0, 2**16))
def test_foreign_bytes_are_no_way_around(foreign: bytes, place: int) -> None:
    """Where onnx finds a tensor in another file, so does the reader here, or it refuses the file."""
    whole = hostile().SerializeToString()
    at = place % len(whole)
    check_agrees(whole[:at] + foreign + whole[at + len(foreign) :])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=8), st.integers(0, 2**16))
def test_foreign_bytes_between_are_no_way_around(foreign: bytes, place: int) -> None:
    whole = hostile().SerializeToString()
    at = place % len(whole)
    check_agrees(whole[:at] + foreign + whole[at:])


def hostile() -> onnx.ModelProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    moved = stored_tensor(tensor, location="/etc/x", offset=0, length=16)
    node = helper.make_node("Add", ["x", "w"], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    return helper.make_model(helper.make_graph([node], "g", values[:1], values[1:], [moved]))


def check_agrees(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "image_encoder.onnx"
        graph.write_bytes(data)
        try:
            assert stored_tensors(graph) == ()
        except BundleError:
            return
    try:
        model = onnx.load_from_string(data)
    except Exception:  # protobuf's errors share no public base class
        return
    assert not [t.name for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL]


def test_the_bundle_says_what_runs(folder: Path) -> None:
    bundle: Bundle = load_bundle(folder)
    assert bundle.image_encoder_files("fp32") == bundle.image_encoder_files("bf16")
    assert bundle.image_encoder_files("fp32") == ("image_encoder.onnx", IMAGE_WEIGHTS)
    assert bundle.patch_encoder == "patch_encoder.onnx"
