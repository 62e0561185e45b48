"""The scripts in examples/ do what they say, on the films beside them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from cxrzero import Screener
from tests.support import REPO
from tests.support.needs import modules

EXAMPLES = REPO / "examples"
FINDINGS = ["pleural effusion", "pneumonia", "cardiomegaly", "pneumothorax"]


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def expected() -> dict[str, dict[str, float]]:
    """File name → finding → number, of the films that are PNG files."""
    rows = Screener().predict(sorted(map(str, EXAMPLES.glob("*.png"))), FINDINGS)
    return {Path(row.path).name: dict(row.scores) for row in rows}


def test_a_table_of_pandas(expected: dict[str, dict[str, float]]) -> None:
    modules("pandas")
    example = script("pandas_table")
    found = example.highest(example.screen(str(EXAMPLES)), 1)
    highest = {finding: Path(path).name for finding, path in zip(found["finding"], found["path"], strict=True)}
    assert highest["cardiomegaly"] == max(expected, key=lambda name: expected[name]["cardiomegaly"])
    assert highest["cardiomegaly"] == "cardiomegaly.png"
    assert [*highest] == sorted(FINDINGS)


def test_a_dataset_of_hugging_face(expected: dict[str, dict[str, float]], monkeypatch: pytest.MonkeyPatch) -> None:
    modules("datasets")
    example = script("huggingface_datasets")
    dataset = example.screened(example.dataset_of(str(EXAMPLES)))
    assert dataset.column_names == ["image", "name", *FINDINGS]
    names = {row["name"]: {finding: row[finding] for finding in FINDINGS} for row in dataset.remove_columns("image")}
    assert names == expected
