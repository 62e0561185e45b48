"""An ONNX file cut down to one of its outputs."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrzero.backends.onnx_part import part_for
from tests.support.needs import modules

modules("onnx")
import onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def two_outputs() -> onnx.ModelProto:
    """x → shared → wanted, and shared → left → other; the nodes of the two stand between each other's."""
    weights = {name: np.random.default_rng(i).normal(size=(4, 4)).astype(np.float32) for i, name in enumerate("abc")}
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["shared"]),
        helper.make_node("MatMul", ["shared", "b"], ["left"]),
        helper.make_node("MatMul", ["shared", "c"], ["wanted"]),
        helper.make_node("Relu", ["left"], ["other"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("x", "wanted", "other")]
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    between = [helper.make_tensor_value_info("left", TensorProto.FLOAT, ["N", 4])]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], tensors, value_info=between)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def run(model: bytes, output: str, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run([output], {"x": x})[0])


@pytest.mark.parametrize(("output", "operators", "tensors"), [("wanted", 2, "ac"), ("other", 3, "ab")])
def test_one_output_and_what_it_needs(output: str, operators: int, tensors: str) -> None:
    whole = two_outputs().SerializeToString()
    part = part_for(memoryview(whole), output)
    assert part is not None
    model = onnx.load_from_string(part)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.output] == [output]
    assert len(model.graph.node) == operators
    assert "".join(tensor.name for tensor in model.graph.initializer) == tensors
    assert len(model.graph.value_info) == ("left" in str(model.graph.node))
    assert model.opset_import == onnx.load_from_string(whole).opset_import
    x = np.random.default_rng(9).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_array_equal(run(part, output, x), run(whole, output, x))


def test_nodes_may_stand_in_any_order() -> None:
    model = two_outputs()
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    part = part_for(memoryview(model.SerializeToString()), "wanted")
    assert part is not None
    assert [node.output[0] for node in onnx.load_from_string(part).graph.node] == ["wanted", "shared"]


def test_what_nodes_go_without_is_no_value() -> None:
    """The empty name stands for an optional input or output left out, on the way to "wanted" and beside it."""
    model = two_outputs()
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "high"))
    model.graph.node[2].output[0] = "unclipped"
    model.graph.node.extend(
        [
            helper.make_node("Clip", ["unclipped", "", "high"], ["wanted"]),
            helper.make_node("Dropout", ["left"], ["same", ""]),
        ]
    )
    model.graph.output.append(helper.make_tensor_value_info("same", TensorProto.FLOAT, ["N", 4]))
    whole = model.SerializeToString()
    part = part_for(memoryview(whole), "wanted")
    assert part is not None
    kept = onnx.load_from_string(part)
    onnx.checker.check_model(kept, full_check=True)
    assert [node.op_type for node in kept.graph.node] == ["MatMul", "MatMul", "Clip"]
    x = np.random.default_rng(9).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_array_equal(run(part, "wanted", x), run(whole, "wanted", x))


def test_an_initializer_that_is_an_input_too_goes_as_both() -> None:
    model = two_outputs()
    model.ir_version = 3
    model.graph.input.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 4]) for name in "abc")
    model.graph.input.append(helper.make_tensor_value_info("unused", TensorProto.FLOAT, [4]))
    part = part_for(memoryview(model.SerializeToString()), "wanted")
    assert part is not None
    kept = onnx.load_from_string(part)
    onnx.checker.check_model(kept, full_check=True)
    assert [value.name for value in kept.graph.input] == ["x", "a", "c", "unused"]


def test_the_graph_may_have_a_tag_of_two_bytes() -> None:
    model = two_outputs()
    whole = model.SerializeToString()
    at = whole.index(model.graph.SerializeToString()) - 3  # the tag, and two bytes that say how long the graph is
    assert whole[at] == 0x3A
    part = part_for(memoryview(whole[:at] + b"\xba\x00" + whole[at + 1 :]), "wanted")
    assert part == part_for(memoryview(whole), "wanted") is not None


def test_what_is_run_as_a_whole() -> None:
    model = two_outputs()
    assert part_for(memoryview(model.SerializeToString()), "nothing of it") is None
    del model.graph.output[1]
    assert part_for(memoryview(model.SerializeToString()), "wanted") is None

    within = two_outputs()
    branch = helper.make_graph(
        [helper.make_node("Identity", ["left"], ["y"])], "b", [], [helper.make_tensor_value_info("y", 1, ["N", 4])]
    )
    within.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch))
    assert part_for(memoryview(within.SerializeToString()), "wanted") is None


def test_files_that_are_cut_short_are_left_to_their_reader() -> None:
    whole = two_outputs().SerializeToString()
    for size in range(len(whole)):
        part_for(memoryview(whole[:size]), "wanted")
    assert part_for(memoryview(b""), "wanted") is None
    assert part_for(memoryview(b"no model at all"), "wanted") is None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=8), st.integers(0, 2**16))
def test_files_with_foreign_bytes_are_left_to_their_reader(foreign: bytes, place: int) -> None:
    whole = two_outputs().SerializeToString()
    at = place % len(whole)
    part_for(memoryview(whole[:at] + foreign + whole[at + len(foreign) :]), "wanted")
