"""Towers above what a protobuf holds, in small: with a lower limit, and numbers left in files as torch leaves them."""

from __future__ import annotations

import json

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from cxrzero.backends import open_encoder  # noqa: E402
from cxrzero.convert import onnx_export, variants  # noqa: E402
from cxrzero.convert.importer import import_model  # noqa: E402
from cxrzero.convert.onnx_export import write_tower  # noqa: E402
from cxrzero.convert.variants import add_unmeasured, add_variants  # noqa: E402
from cxrzero.errors import BundleVersionError, ImportModelError  # noqa: E402
from cxrzero.model import model_json  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from cxrzero.model.weights import stored_tensors  # noqa: E402
from cxrzero.registry.verify import verify  # noqa: E402
from tests.support.checkpoints import hf_folder  # noqa: E402

LIMIT = 100_000  # bytes; both towers of the tiny model are larger


def leave_in_files(monkeypatch):
    """What torch writes of a model of 2 GiB and more: every number in a file of its own, those of attributes too."""
    export = torch.onnx.export

    def large(tower, examples, file, **options):
        export(tower, examples, file, **options)
        onnx.save(
            onnx.load(file),
            file,
            save_as_external_data=True,
            all_tensors_to_one_file=False,
            size_threshold=0,
            convert_attribute=True,
        )

    monkeypatch.setattr(torch.onnx, "export", large)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return hf_folder(tmp_path_factory.mktemp("source"), "clip")[0]


@pytest.fixture(scope="module")
def small(source, tmp_path_factory):
    return import_model(source, tmp_path_factory.mktemp("small") / "model").bundle


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "model.json"}


def test_weights_of_a_large_text_tower_lie_beside_it(source, small, tmp_path, monkeypatch):
    leave_in_files(monkeypatch)
    monkeypatch.setattr(onnx_export, "MAX_INSIDE", LIMIT)
    folder = import_model(source, tmp_path / "large").bundle
    assert contents(folder).keys() - contents(small).keys() == {"text_weights.bin"}
    assert load_bundle(small).card["schema_version"] == 2
    assert load_bundle(folder).card["schema_version"] == 3
    stored = stored_tensors(folder / "text_encoder.onnx")
    assert sum(tensor.length for tensor in stored) > LIMIT
    assert max(tensor.offset + tensor.length for tensor in stored) == (folder / "text_weights.bin").stat().st_size
    graph = onnx.load(folder / "text_encoder.onnx", load_external_data=False).graph
    assert max(len(tensor.raw_data) for tensor in graph.initializer) < 1024
    assert all(check.ok for check in verify(load_bundle(folder)))
    same = {name for name, content in contents(small).items() if contents(folder)[name] == content}
    assert same == contents(small).keys() - {"text_encoder.onnx"}
    ids = np.random.default_rng(0).integers(4, 40, (3, 24))
    for backend in ("onnxruntime", "openvino", "torch"):
        found, expected = (
            open_encoder(load_bundle(each), backend, "cpu", threads=1).encode_texts(ids) for each in (folder, small)
        )
        np.testing.assert_array_equal(found, expected, backend)


def test_a_tower_that_fits_is_the_same_however_it_was_traced(source, small, tmp_path, monkeypatch):
    leave_in_files(monkeypatch)
    folder = import_model(source, tmp_path / "again").bundle
    found, expected = contents(folder), contents(small)
    texts = [onnx.load_from_string(each.pop("text_encoder.onnx")) for each in (found, expected)]
    for tensor in texts[0].graph.initializer:
        tensor.ClearField("data_location")  # onnx says of what it takes in that it is inside
    assert texts[0] == texts[1]
    assert found == expected


def test_an_older_version_refuses_it(source, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "MAX_INSIDE", LIMIT)
    folder = import_model(source, tmp_path / "large").bundle
    monkeypatch.setattr(model_json, "SCHEMA_VERSION", 2)
    with pytest.raises(BundleVersionError, match="schema version 3, this cxrzero reads up to 2"):
        load_bundle(folder)


def test_a_graph_without_a_file_of_weights_has_to_hold_its_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "MAX_INSIDE", 1000)
    tower, axes = torch.nn.Linear(64, 8), {"x": {0: "N"}, "logits": {0: "N"}}
    with pytest.raises(ImportModelError, match=r"the tower behind logits has 2,080 bytes of numbers, .* holds 2 GiB"):
        write_tower(tower, {"x": torch.rand(2, 64)}, axes, {"logits": tmp_path / "scorer.onnx"}, "float32", None)
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_the_trace_stays(small):
    assert json.loads((small / "model.json").read_text())["files"].keys() == contents(small).keys()


def test_another_precision_of_a_large_image_tower_is_refused_before_anything_is_measured(small, monkeypatch):
    monkeypatch.setattr(variants, "MAX_INSIDE", LIMIT)
    monkeypatch.setattr(variants, "_films", None)
    before = (small / "model.json").read_bytes()
    for precisions, named in ((["fp16"], "fp16"), (["int8", "fp16"], "int8, fp16")):
        with pytest.raises(ImportModelError, match=rf"0\.\d GB of numbers in fp32, .* leave {named} out of --variants"):
            add_variants(small, precisions)
    with pytest.raises(ImportModelError, match="leave int8 out of --variants"):
        add_unmeasured(small, "int8")
    assert (small / "model.json").read_bytes() == before
    add_unmeasured(small, "bf16")  # has no file
