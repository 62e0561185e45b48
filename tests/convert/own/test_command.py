"""`cxrzero models import --onnx …` as a user types it, and what other commands make of such a bundle."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cxrzero.cli import app
from cxrzero.convert import import_own
from cxrzero.convert import variants as making
from cxrzero.convert.own.steps import EXAMPLE
from cxrzero.errors import MissingExtraError, NoInputError
from cxrzero.model.bundle import load_bundle
from cxrzero.registry.origin import find_origin
from tests.convert.own.conftest import Import, asked
from tests.support import REPO
from tests.support.ownencoders import Image, Pair

PART = re.compile(r"## Your own ONNX encoders\n(.*?)\n## ", re.DOTALL)


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CXRZERO_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "models"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def given(pair: Pair) -> list[str]:
    files = map(str, (pair.image_file, pair.text_file, pair.tokenizer_file))
    return ["--onnx", *files, "--preprocess", str(pair.steps_file), "--score", "softmax_pair", "--scale", "10"]


@pytest.mark.usefixtures("here")
def test_the_example_of_the_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, png: Any, models: Path) -> None:
    """What docs/models.md shows is typed as it stands."""
    part = PART.search((REPO / "docs" / "models.md").read_text(encoding="utf-8"))[1]  # type: ignore[index]
    steps = re.search(r"```json\n(.*?)\n```", part, re.DOTALL)[1]  # type: ignore[index]
    assert json.loads(steps) == json.loads(EXAMPLE)
    commands = [shlex.split(line) for line in re.findall(r"^    cxrzero (.*)", part, re.MULTILINE)]
    assert [command[:2] for command in commands] == [["models", "import"], ["models", "verify"], ["predict", "films/"]]
    Pair(tmp_path, Image(size=(224, 224), pool=56)).write()
    (tmp_path / "steps.json").write_text(steps, encoding="utf-8")
    png("films/a.png")
    monkeypatch.chdir(tmp_path)
    results = [run(*command) for command in commands]
    assert [result.exit_code for result in results] == [0, 0, 0], [result.output for result in results]
    assert "Run it with: cxrzero predict FILES --model mine" in results[0].output
    assert "FAILED" not in results[1].output
    [row] = csv.DictReader((tmp_path / "predictions.csv").read_text(encoding="utf-8").splitlines())
    assert row["status"] == "ok"
    assert 0 < float(row["pleural effusion"]) < 1
    assert load_bundle(models / "mine").scoring.scale == 100


@pytest.mark.usefixtures("here")
def test_info_and_a_name_that_is_taken(pair: Pair) -> None:
    assert run("models", "import", *given(pair), "--name", "mine").exit_code == 0
    shown = run("models", "info", "mine").output
    assert "own ONNX encoders" in shown
    assert "unverified" in shown
    again = run("models", "import", *given(pair), "--name", "mine")
    assert again.exit_code == 2
    assert "exists already; choose another --name or --out" in again.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give SOURCE, a checkpoint or a folder, or encoders of your own with --onnx"),
        (["x.pt", "--score", "sigmoid"], "--score goes with --onnx only"),
        (["x.pt", "GIVEN"], "leave out SOURCE, --as, --arch and --tokenizer"),
        (["GIVEN", "--as", "chexzero"], "leave out SOURCE, --as, --arch and --tokenizer"),
        (["GIVEN"], "give your model a name: --name NAME"),
        (["GIVEN", "--name", "../mine"], "cannot be a model's name"),
        (["GIVEN", "--name", "mine", "--score", "cosine"], "--score takes softmax_pair or sigmoid, not 'cosine'"),
        (["GIVEN", "--name", "mine", "--scale", "a"], "--scale takes a number, not 'a'"),
        (["--name", "mine", "--onnx", "image.onnx", "text.onnx"], "--onnx needs 3 values: --onnx IMAGE TEXT TOKENIZER"),
    ],
)
def test_what_is_typed_wrong(arguments: list[str], message: str, pair: Pair, models: Path) -> None:
    typed = [part for each in arguments for part in (given(pair) if each == "GIVEN" else [each])]
    result = run("models", "import", "--name", "x", *typed) if not typed else run("models", "import", *typed)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not models.exists()


@pytest.mark.usefixtures("here")
def test_a_variant_is_made_of_it_too(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "TEST_FILMS", 3)
    monkeypatch.setattr(making, "FILM_SIDE", 64)
    result = run("models", "import", *given(pair), "--out", tmp_path / "b", "--variants", "fp16")
    assert result.exit_code == 0, result.output
    assert "fp16: max |Δd|" in result.output
    assert load_bundle(tmp_path / "b").variants["fp16"].image_encoder == "image_encoder.fp16.onnx"


def test_it_cannot_be_trained_on(pair: Pair, imported: Import) -> None:
    bundle, _ = imported(pair)
    with pytest.raises(NoInputError, match="came as ONNX files, which cannot be trained on"):
        find_origin(bundle.path)


def test_without_onnx_the_extra_is_named(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"onnx is not installed; run: pip install 'cxrzero\[onnx\]'"):
        import_own(asked(pair), tmp_path / "b", "mine")


def test_neither_torch_nor_transformers_is_imported(pair: Pair, tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules.update(dict.fromkeys(["torch", "open_clip", "transformers", "safetensors"]))
from cxrzero.cli import app
if __name__ == "__main__":
    app({["models", "import", *given(pair), "--out", str(tmp_path / "b")]})
"""
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    done = subprocess.run([sys.executable, tmp_path / "program.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert load_bundle(tmp_path / "b").embed_dim == 8
