"""What the tests stand on."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests.support import REPO
from tests.support.bundle import CONTEXT, SIDE, WIDTH, image_encoder, text_encoder


@pytest.mark.parametrize(
    ("written", "given", "output"),
    [
        (image_encoder, ("pixel_values", "FLOAT", ["N", 3, SIDE, SIDE]), ("image_embeds", "FLOAT", ["N", WIDTH])),
        (text_encoder, ("input_ids", "INT64", ["N", CONTEXT]), ("text_embeds", "FLOAT", ["N", WIDTH])),
    ],
)
def test_onnx_files_are_those_of_the_package_onnx(written, given, output, tmp_path: Path) -> None:
    """Valid, and written by it again byte for byte."""
    onnx = pytest.importorskip("onnx")
    content = written(np.random.default_rng(0))
    ours = onnx.load_from_string(content)
    onnx.checker.check_model(ours, full_check=True)
    for (name, kind, shape), place in ((given, "input"), (output, "output")):
        expected = onnx.helper.make_tensor_value_info(name, getattr(onnx.TensorProto, kind), shape)
        assert list(getattr(ours.graph, place)) == [expected]
    onnx.save(ours, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == content


# What the environment of `make check` has: the core, and what checks it.
CHECKED = {
    *(
        "numpy",
        "PIL",
        "pydicom",
        "tifffile",
        "tokenizers",
        "xxhash",
        "yaml",
        "typer",
        "rich",
        "huggingface_hub",
        "httpx",
    ),
    *("platformdirs", "_typeshed", "pytest", "hypothesis", "benchmarks", "recipes", "cxrzero", "tests"),
}


def test_mypy_reads_no_package_that_only_some_environments_have() -> None:
    """Then its verdict is the same with and without torch: each of them is skipped, installed or not."""
    options = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]["overrides"]
    skips = [part["module"] for part in options if part.get("follow_imports") == "skip"]
    skipped = {name.removesuffix(".*") for modules in skips for name in modules}
    imported = set()
    for path in (*(REPO / "cxrzero").rglob("*.py"), *(REPO / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            imported |= {name.split(".")[0] for name in names}
    assert imported - sys.stdlib_module_names - CHECKED <= skipped
    assert not skipped & CHECKED
