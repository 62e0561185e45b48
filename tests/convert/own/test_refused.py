"""What is no plain pair of encoders is refused with a sentence that says what to do, and nothing is left behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from cxrzero.convert.own import importer, reading, trial
from cxrzero.convert.own.judging import check_alone
from cxrzero.errors import ImportModelError, NoInputError, OutputExistsError
from cxrzero.model.protobuf import message
from tests.convert.own.conftest import Import, asked
from tests.support.ownencoders import CONTEXT, Image, Pair, Text

Model = Any
ROW = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 8])


def node(operator: str, inputs: list[str], output: str = "flat", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [output], **attributes)


def changed(change: Callable[[Model], Any], image: Image = Image()) -> Model:  # noqa: B008
    model = image.model()
    change(model)
    return model


def subgraph(model: Model) -> None:
    body = helper.make_graph([node("Identity", ["flat_0"])], "body", [], [ROW])
    model.graph.node[2].CopyFrom(node("If", ["flat_0"], then_branch=body, else_branch=body))


def function(model: Model) -> None:
    made = helper.make_function("mine", "F", ["a"], ["b"], [node("Relu", ["a"], "b")], [helper.make_opsetid("", 17)])
    model.functions.append(made)


def rename_operator(name: str, domain: str = "") -> Callable[[Model], None]:
    def change(model: Model) -> None:
        model.graph.node[2].op_type, model.graph.node[2].domain = name, domain

    return change


def weights(values: Any) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        old = numpy_helper.to_array(model.graph.initializer[0])
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full_like(old, values), "w"))

    return change


def constant_elsewhere() -> AttributeProto:
    tensor = TensorProto(data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../private")
    return AttributeProto(name="value", type=AttributeProto.TENSOR, t=tensor)


IMAGES: dict[str, tuple[Any, str]] = {
    "other domain": (
        changed(rename_operator("FusedMatMul", "com.microsoft")),
        r"com\.microsoft\.FusedMatMul, which is none of the ONNX standard; export it without custom operators",
    ),
    "graph in a node": (changed(subgraph), "the operator If, a graph within the graph: it may run without end"),
    "functions": (changed(function), r"holds functions; export it for inference, with functions inlined"),
    "training": (changed(lambda m: m.training_info.add()), "holds training"),
    "old opset": (Image(opset=9), "has opset 9, at least 11 is needed"),
    "no opset": (changed(lambda m: m.opset_import.pop()), "not an ONNX model"),
    "unknown operator": (changed(rename_operator("Frobnicate")), r"ONNX Runtime [\d.]+ does not read it: .*Frobnicate"),
    "several outputs": (
        changed(lambda m: m.graph.output.append(helper.make_tensor_value_info("flat", 1, ["N", 48]))),
        r"several outputs, 'y' \(\?, 8\) float and 'flat' \(\?, 48\) float; name the embeddings with --image-output",
    ),
    "a map for an output": (
        changed(lambda m: m.graph.output[0].CopyFrom(helper.make_tensor_value_info("pooled", 1, ["N", 3, 4, 4]))),
        r"gives 'pooled' \(\?, 3, 4, 4\) float; embeddings are .* two axes, \(N, D\): pool",
    ),
    "a map whose shape is not said": (
        changed(lambda m: m.graph.output[0].CopyFrom(helper.make_tensor_value_info("pooled", 1, None))),
        r"gives numbers of the shape \(1, 3, 4, 4\); embeddings are \(N, D\)",
    ),
    "another input": (
        Image(extra=[node("Mul", ["flat_0", "mask"])]),
        r"image.onnx: .*|must have one input",
    ),
    "whole numbers": (Image(dtype=TensorProto.UINT8), r"takes 'x' \(\?, 3, 16, 16\) uint8; pictures are float32"),
    "four channels": (Image(channels=4), "pictures have 3 channels, or 1"),
    "another size": (Image(size=(32, 24)), "takes pictures of 32 × 24 pixels, the preprocessing gives 16 × 16"),
    "not finite": (changed(weights(np.nan)), "not finite; is the preprocessing that of its training"),
    "zeros": (changed(weights(0)), "a vector of zeros"),
    "always the same": (
        Image(extra=[node("Clip", ["flat_0", "one", "one"])], weights={"one": np.array(1, np.float32)}),
        "one and the same embedding for different inputs",
    ),
    "a norm over the batch": (
        Image(extra=[node("ReduceMean", ["flat_0"], "mean", axes=[0]), node("Sub", ["flat_0", "mean"])]),
        "a vector of zeros",
    ),
    "half a norm over the batch": (
        Image(
            extra=[
                node("ReduceMean", ["flat_0"], "mean", axes=[0]),
                node("Mul", ["mean", "half"], "some"),
                node("Sub", ["flat_0", "some"]),
            ],
            weights={"half": np.array(0.5, np.float32)},
        ),
        r"another embedding alone than in a batch \(cosine .*depends on its neighbours",
    ),
    "ranges of the whole batch": (
        Image(
            extra=[
                node("Mul", ["flat_0", "scales"], "scaled"),
                helper.make_node("DynamicQuantizeLinear", ["scaled"], ["q", "s", "z"]),
                node("DequantizeLinear", ["q", "s", "z"]),
            ],
            weights={"scales": np.linspace(0.02, 1, 48, dtype=np.float32)},
        ),
        "it depends on its neighbours, by a norm or a quantisation over the whole batch; export it in evaluation mode",
    ),
    "random": (
        Image(extra=[node("RandomNormalLike", ["flat_0"], "noise"), node("Add", ["flat_0", "noise"])]),
        "two results for the same input: a random operator, such as dropout",
    ),
    "one picture by its shapes": (
        Image(
            batch=1,
            extra=[node("Reshape", ["flat_0", "one"])],
            weights={"one": np.array([1, 48], np.int64)},
        ),
        r"was exported for batches of 1, and takes no other: .* Export it with a free batch axis \(dynamic_axes\)",
    ),
    "a thousand pictures at once": (Image(batch=1000), "so many at once; export it with a free batch axis"),
    "fewer numbers than its shape says": (
        changed(lambda m: m.graph.initializer[0].dims.__setitem__(0, 2**40)),
        "'w' has fewer numbers than its shape says",
    ),
    "negative shape": (
        changed(lambda m: m.graph.initializer[0].dims.__setitem__(0, -4)),
        "fewer numbers than its shape",
    ),
    "no type": (changed(lambda m: setattr(m.graph.initializer[0], "data_type", 0)), "has no type of numbers"),
    "two weights of a name": (
        changed(lambda m: m.graph.initializer.append(m.graph.initializer[0])),
        "two weights of one name",
    ),
    "a constant elsewhere": (
        changed(lambda m: m.graph.node[2].attribute.append(constant_elsewhere())),
        "only initializers may have their numbers in another file",
    ),
    "other numbers than pictures of this size need": (
        Image(size=("H", "W"), extra=[node("Slice", ["flat_0", "from", "to", "axis"])],
              weights={"from": np.array([8]), "to": np.array([48]), "axis": np.array([1])}),
        r"it fails on input of \(1, 3, 16, 16\): .*MatMul",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", IMAGES)
def test_image_encoders_that_are_refused(form: str, pair: Pair, imported: Import, tmp_path: Path) -> None:
    given, told = IMAGES[form]
    model = given if isinstance(given, onnx.ModelProto) else given.model()
    if form == "another input":
        model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["N", 48]))
        told = r"must have one input, the pictures; it has 'x' .* and 'mask'"
    pair.image_file.write_bytes(model.SerializeToString())
    with pytest.raises(ImportModelError, match=told) as raised:
        imported(pair)
    assert str(pair.image_file) in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["pair"]


TEXTS: dict[str, tuple[Text, str]] = {
    "more inputs": (
        Text(more=("position_ids",)),
        r"at most attention_mask or token_type_ids; it has 'ids' .*position_ids",
    ),
    "another width": (
        Text(width=6),
        r"gives 8 numbers for a picture, .*text\.onnx 6 for a text: they do not belong together",
    ),
    "a small table": (
        Text(rows=20),
        r"has ids up to 24, the table of .*text\.onnx has 20 rows: they do not belong together",
    ),
    "another length": (Text(length=1), "a context length of 1 is none of a text encoder"),
}


@pytest.mark.parametrize("form", TEXTS)
def test_text_encoders_that_are_refused(form: str, pair: Pair, imported: Import) -> None:
    text, message = TEXTS[form]
    if text.more:  # as whole numbers they could not be added
        model = replace_adds(text.model())
        pair.text_file.write_bytes(model.SerializeToString())
    else:
        pair.but(text=text)
    with pytest.raises(ImportModelError, match=message):
        imported(pair)


def replace_adds(model: Model) -> Model:
    """Have the extra input change what comes out."""
    [add] = [each for each in model.graph.node if each.output[0] == "with_position_ids"]
    [product] = [each for each in model.graph.node if each.output[0] == "projected_0"]
    product.input[0] = add.output[0]
    return model


def test_what_has_no_direction_has_no_cosine() -> None:
    zero = np.zeros((1, 8), np.float32)
    with pytest.raises(ImportModelError, match="another embedding alone than in a batch"):
        check_alone(zero, zero, [np.ones((1, 8), np.float32)], Path("x.onnx"), freed=False)


def test_an_output_that_is_listed_twice_is_one(pair: Pair, imported: Import) -> None:
    model = Image(output="image_embeds").model()
    model.graph.output.append(model.graph.output[0])
    pair.image_file.write_bytes(model.SerializeToString())
    assert imported(pair)[0].embed_dim == 8


def test_a_mask_for_very_many_texts(pair: Pair, imported: Import) -> None:
    model = Text(mask=TensorProto.INT64).model()
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_value = 2**40
    pair.text_file.write_bytes(model.SerializeToString())
    with pytest.raises(ImportModelError, match=r"takes 'attention_mask' \(1099511627776, \?\) int64, so many at once"):
        imported(pair)


def test_a_table_that_the_graph_hides_is_found_by_trying(pair: Pair, imported: Import) -> None:
    model = Text(rows=24).model()
    first = model.graph.node[0]
    model.graph.node.insert(0, helper.make_node("Add", ["ids", "zero"], ["hidden"]))
    model.graph.node[1].input[1] = "hidden"
    assert first.op_type == "Gather"
    pair.text_file.write_bytes(model.SerializeToString())
    with pytest.raises(ImportModelError, match=r"That is the largest id of .*tokenizer.json, 24: they do not belong"):
        imported(pair)


def test_encoders_in_the_wrong_order(pair: Pair, imported: Import) -> None:
    with pytest.raises(ImportModelError, match="give --onnx the image encoder first, then the text encoder"):
        imported(pair, image=pair.text_file, text=pair.image_file)
    with pytest.raises(ImportModelError, match="token ids are int64 or int32"):
        imported(pair, text=pair.image_file)


def test_the_output_is_named_where_there_are_several(pair: Pair, imported: Import) -> None:
    model, _ = IMAGES["several outputs"]
    pair.image_file.write_bytes(model.SerializeToString())
    with pytest.raises(ImportModelError, match=r"no output 'z'; it has 'y'"):
        imported(pair, image_output="z")
    bundle, _ = imported(pair, image_output="y")
    assert bundle.embed_dim == 8


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"location": "/etc/passwd"}, "numbers may lie in files of the graph's own folder only"),
        ({"location": "../private.bin"}, "own folder only"),
        ({"location": "a/../../private.bin"}, "own folder only"),
        ({"location": "C:\\private.bin"}, "own folder only"),
        ({"location": "C:private.bin"}, "own folder only"),
        ({"location": ""}, "own folder only"),
        ({"location": "link.bin"}, "is a link out of the folder; copy the folder with what its links lead to"),
        ({"location": "linked/private.bin"}, "is a link out of the folder"),
        ({"location": "nothing.bin"}, "its file of weights 'nothing.bin' is not beside it"),
        ({"location": "."}, "own folder only"),
        ({"location": "w.bin", "offset": "-1"}, "offset and length of 'w' must be whole numbers"),
        ({"location": "w.bin", "length": "12"}, r"needs 1,536 bytes from 0 on of w\.bin, which has 1,600"),
        ({"location": "w.bin", "offset": "100"}, r"needs 1,536 bytes from 100 on of w\.bin, which has 1,600"),
        (
            {"location": "w.bin", "offset": "9" * 19},
            "which has 1,600: a truncated download, or a file of another model",
        ),
        ({"location": "w.bin", "note": "x"}, "does not name its file as ONNX says"),
        ({"offset": "0"}, "does not name its file as ONNX says"),
    ],
)
def test_numbers_come_from_the_folder_of_the_graph_only(
    place: dict[str, str], message: str, pair: Pair, imported: Import, tmp_path: Path
) -> None:
    content = np.random.default_rng(2).normal(size=400).astype(np.float32).tobytes()
    for path in (tmp_path / "private.bin", pair.folder / "w.bin"):
        path.write_bytes(content)
    (pair.folder / "link.bin").symlink_to(tmp_path / "private.bin")
    (pair.folder / "linked").symlink_to(tmp_path, target_is_directory=True)
    write_with_place(pair, place)
    with pytest.raises(ImportModelError, match=message):
        imported(pair)


def write_with_place(pair: Pair, place: dict[str, str]) -> None:
    model = pair.image.model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in place.items():
        tensor.external_data.add(key=key, value=value)
    pair.image_file.write_bytes(model.SerializeToString())


def test_a_link_within_the_folder_is_followed(pair: Pair, imported: Import) -> None:
    (pair.folder / "w.bin").write_bytes(np.random.default_rng(2).normal(size=400).astype(np.float32).tobytes())
    (pair.folder / "link.bin").symlink_to("w.bin")
    write_with_place(pair, {"location": "link.bin", "offset": "64"})
    bundle, _ = imported(pair)
    assert bundle.file("image_weights.bin").read_bytes() == (pair.folder / "w.bin").read_bytes()[64:]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; fetch it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "not an ONNX model, or a damaged one"),
        (Image().model().SerializeToString()[:-40], "not an ONNX model, or a damaged one"),
        (b"\x08\x08", "not an ONNX model"),
        (b"\x3a\xff\xff\xff\xff\x7f", "not an ONNX model"),
    ],
)
def test_files_that_are_no_models(content: bytes, message: str, pair: Pair, imported: Import) -> None:
    pair.image_file.write_bytes(content)
    with pytest.raises(ImportModelError, match=message):
        imported(pair)


def test_messages_in_messages_and_long_lists_are_counted_before_they_are_read(
    pair: Pair, imported: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = b""
    for _ in range(40):
        inner = message((1, message((5, message((6, inner))))))
    pair.image_file.write_bytes(pair.image.model().SerializeToString() + message((7, inner)))
    with pytest.raises(ImportModelError, match="not an ONNX model, or a damaged one"):
        imported(pair)
    monkeypatch.setattr(reading, "MAX_LISTED", 199)
    model = pair.image.model()
    model.graph.initializer.add(name="long", data_type=TensorProto.INT64, dims=[200], int64_data=[0] * 200)
    pair.image_file.write_bytes(model.SerializeToString())
    with pytest.raises(ImportModelError, match="more parts than any encoder; save its numbers as raw data"):
        imported(pair)
    monkeypatch.setattr(reading, "MAX_FIELDS", 50)
    with pytest.raises(ImportModelError, match="more parts than any encoder"):
        imported(pair.but(image=Image()))


def test_missing_files_and_a_name_that_is_taken(pair: Pair, imported: Import, tmp_path: Path) -> None:
    for name in ("image", "text", "tokenizer", "steps"):
        with pytest.raises(NoInputError, match="nothing: no such file"):
            imported(pair, **{name: pair.folder / "nothing"})
    with pytest.raises(ImportModelError, match="cannot be read: Is a directory"):
        imported(pair, text=pair.folder)
    (tmp_path / "bundle").mkdir()
    with pytest.raises(OutputExistsError, match="exists; choose another --out or --name"):
        imported(pair)


def test_a_graph_that_takes_all_memory_is_an_error(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "ROOM", 2**30)
    image = Image(
        extra=[node("ConstantOfShape", ["long"], "zeros"), node("Mul", ["zeros", "zero"], "nothing"),
               node("ReduceSum", ["nothing"], "sum"), node("Add", ["flat_0", "sum"])],
        weights={"long": np.array([2**30]), "zero": np.array([1], np.float32)},
    )  # fmt: skip
    with pytest.raises(ImportModelError, match=r"image\.onnx: (it fails on input|ONNX Runtime)"):
        importer.import_encoders(asked(pair.but(image=image)), tmp_path / "bundle", "mine")


def test_a_process_that_dies_over_a_graph_is_an_error(pair: Pair) -> None:
    with trial.Trial(0) as running:
        running._pool.submit(os._exit, 1)
        with pytest.raises(
            ImportModelError, match=r"image\.onnx: ONNX Runtime ended over this graph: it crashed, or 6 GiB"
        ):
            running.run(pair.image_file, pair.image_file, [{"x": np.zeros((1, 3, 16, 16), np.float32)}])


def test_a_real_process_makes_the_same_bundle(pair: Pair, imported: Import, tmp_path: Path) -> None:
    bundle, _ = imported(pair)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importer, "Trial", trial.Trial)
        importer.import_encoders(asked(pair), tmp_path / "other", "mine")
    assert {path.name: path.read_bytes() for path in (tmp_path / "other").iterdir()} == {
        path.name: path.read_bytes() for path in bundle.path.iterdir()
    }


def test_a_fixed_length_is_the_context(pair: Pair, imported: Import) -> None:
    with pytest.raises(ImportModelError, match=f"takes {CONTEXT} tokens, not --context-length 12"):
        imported(pair.but(text=Text(length=CONTEXT)), context_length=12)
