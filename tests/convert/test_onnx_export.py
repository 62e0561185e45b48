"""What an export writes: a graph for each output over one file of weights."""

from __future__ import annotations

from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from cxrzero.convert import onnx_export  # noqa: E402
from cxrzero.convert.graphs import ALIGNMENT, STORED_FROM  # noqa: E402
from cxrzero.convert.onnx_export import example_pixels, export_onnx  # noqa: E402
from cxrzero.convert.towers import open_clip_towers  # noqa: E402
from cxrzero.model.weights import stored_tensors  # noqa: E402
from tests.support.checkpoints import clip  # noqa: E402


def export(model, folder, storage="float32"):
    ids = torch.randint(1, 200, (2, model.context_length))
    pixels = example_pixels((model.visual.image_size[0],) * 2)
    return export_onnx(open_clip_towers(model), pixels, ids, folder, storage=storage, any_length=False)


def test_two_graphs_share_one_file_of_weights(tmp_path):
    export(clip(image_size=64), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "image_encoder.onnx",
        "patch_encoder.onnx",
        "text_encoder.onnx",
        "image_weights.bin",
    }
    image, patch = (set(stored_tensors(tmp_path / f"{which}_encoder.onnx")) for which in ("image", "patch"))
    assert image == patch  # of the last block, too: the class token's part has the same weights
    ends = 0
    for tensor in sorted(image, key=lambda each: each.offset):
        assert tensor.offset % ALIGNMENT == 0
        assert ends <= tensor.offset < ends + ALIGNMENT
        assert tensor.length >= STORED_FROM
        ends = tensor.offset + tensor.length
    assert (tmp_path / "image_weights.bin").stat().st_size == ends  # nothing twice, nothing else
    for which, output in (("image", "image_embeds"), ("patch", "patch_embeds")):
        graph = onnx.load(tmp_path / f"{which}_encoder.onnx", load_external_data=False).graph
        assert [value.name for value in graph.output] == [output]
        assert max(len(tensor.raw_data) for tensor in graph.initializer) < STORED_FROM
    assert stored_tensors(tmp_path / "text_encoder.onnx") == ()


def test_matrices_are_stored_in_half_precision_where_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "MIN_COSINE", 0.999)  # these weights are large, and rounded
    model = clip(image_size=64)
    for name in ("whole", "half"):
        (tmp_path / name).mkdir()
    export(model, tmp_path / "whole")
    export(model, tmp_path / "half", storage="float16")
    whole, half = ((tmp_path / name / "image_weights.bin").stat().st_size for name in ("whole", "half"))
    assert half < 0.6 * whole


def test_a_graph_says_nothing_of_the_machine_it_was_traced_on():
    """Whatever an exporter writes, and however deep: documentation and metadata go, the graph stays."""
    secret = "/home/przybylski/towers.py"
    inner = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"], doc_string=secret)],
        "inner",
        [],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1], doc_string=secret)],
        doc_string=secret,
    )
    node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner, doc_string=secret)
    node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=secret)
    weights = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [2, 2], [1.0, 2.0, 3.0, 4.0])
    weights.doc_string = secret
    graph = onnx.helper.make_graph([node], "main", [], [], [weights], doc_string=secret)
    model = onnx.helper.make_model(graph, doc_string=secret)
    model.metadata_props.add(key="path", value=secret)
    assert model.SerializeToString().count(secret.encode()) == 12
    onnx_export.store(model, "float16", Path())
    assert secret.encode() not in model.SerializeToString()
    assert [each.op_type for each in model.graph.node] == ["Cast", "If"]
