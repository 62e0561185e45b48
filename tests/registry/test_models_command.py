"""`cxrzero models …` and `predict --model checkpoint.pt` from the command line."""

import csv
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cxrzero.cards.card import load_card
from cxrzero.cli import app
from cxrzero.errors import MissingExtraError
from cxrzero.files import sha256_of
from cxrzero.model.bundle import load_bundle
from cxrzero.registry import pull as pulling
from cxrzero.registry.folder import check_name, models_folder
from cxrzero.registry.verify import Check, verify
from tests.registry.conftest import FakeConverter, ambiguous
from tests.support.bundle import write_bundle
from tests.support.needs import optional

onnx = optional("onnx")

Install = Callable[[str], Path]
CHECKPOINT = "best_64_5e-05_original_22000_0.864.pt"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


def table() -> dict[str, dict[str, str]]:
    result = run("list")
    assert result.exit_code == 0, result.output
    return {row["name"]: row for row in csv.DictReader(result.stdout.splitlines(), delimiter="\t")}


def test_list_says_where_each_model_is(install: Install) -> None:
    before = table()
    assert before["cxrzero-mini"]["where"] == "comes with cxrzero"
    assert before["cxrzero-mini"]["size"] == "36.8 MB"
    assert before["biomedclip"]["where"] == "to pull"
    assert before["chexzero"]["where"] == "to fetch by hand"
    assert before["xrayclip-vit-b-16"]["licence"] == "CC BY-NC 4.0 (NO commercial use)"
    assert before["medsiglip"]["size"] == "unverified"
    install("biomedclip")
    install("mine")
    for file in load_card("chexzero").files[:3]:
        install(f"chexzero/{Path(file.name).stem}")
    after = table()
    assert after["biomedclip"]["where"] == "here"
    assert after["chexzero"]["where"] == "3 of 10 here"
    assert (after["mine"]["what"], after["mine"]["licence"]) == ("imported", "unverified")
    assert len(after) == len(before) + 1


def test_info_shows_sources_and_what_is_unverified(install: Install) -> None:
    shown = run("info", "chexzero").output
    assert "scale: 1.0  [https://github.com/rajpurkarlab/CheXzero" in shown
    assert "size unverified  [third-party record, unverified]" in shown
    assert "the model chexzero is not here" in shown
    assert "embed_dim: unverified" in run("info", "biomedclip").output
    mini = run("info", "cxrzero-mini").output
    assert "benchmarks/mini_auroc.py" in mini  # results come with their command
    assert "fingerprint: " in mini
    tiny = install("mine")
    assert f"folder: {tiny}" in run("info", "mine").output
    assert "results: unverified" in run("info", "mine").output
    missing = run("info", "nothing")
    assert missing.exit_code == 1
    assert "no model 'nothing'" in missing.output


def test_verify_passes_on_the_model_in_the_box() -> None:
    result = run("verify", "cxrzero-mini")
    assert result.exit_code == 0, result.output
    assert "FAILED" not in result.output
    checks = {line.split(":")[0].removeprefix("  ok     ") for line in result.output.splitlines()[1:]}
    assert checks >= {"files", "registry", "at chance", "tokenizer", "image encoder", "text encoder"}
    assert "unverified" in result.output


def test_verify_finds_a_damaged_file(install: Install) -> None:
    folder = install("mine")
    (folder / "tokenizer.json").write_text("{}")
    result = run("verify", "mine")
    assert result.exit_code == 1
    assert "tokenizer.json is not the file" in result.output


def _failed(folder: Path) -> list[Check]:
    return [check for check in verify(load_bundle(folder)) if not check.ok]


def _rehash(folder: Path) -> None:
    card = json.loads((folder / "model.json").read_text())
    for name, entry in card["files"].items():
        entry["sha256"] = sha256_of(folder / name)
    (folder / "model.json").write_text(json.dumps(card))


def test_verify_finds_a_tokenizer_of_another_model(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b")
    text = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    text["model"]["vocab"]["beyond"] = 257  # the table has rows 0 to 256
    (folder / "tokenizer.json").write_text(json.dumps(text))
    _rehash(folder)
    assert [check.name for check in _failed(folder)] == ["tokenizer"]
    assert _failed(tiny_bundle) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("length", "not of length 1"),
        ("constant", "one and the same"),
        ("neighbours", "another result alone than in a batch"),
    ],
)
def test_verify_finds_wrong_embeddings(tmp_path: Path, change: str, message: str) -> None:
    folder = write_bundle(tmp_path / "b")
    path = folder / "image_encoder.onnx"
    model = onnx.load(path)
    last = model.graph.node[-1]
    if change == "length":
        last.op_type = "Identity"
        del last.attribute[:]
    elif change == "neighbours":  # from each embedding half of the batch's mean
        half = onnx.numpy_helper.from_array(np.array([0.5], np.float32), "half")
        model.graph.initializer.append(half)
        mean = onnx.helper.make_node("ReduceMean", [last.input[0]], ["mean"], axes=[0])
        some = onnx.helper.make_node("Mul", ["mean", "half"], ["some"])
        rest = onnx.helper.make_node("Sub", [last.input[0], "some"], ["rest"])
        last.input[0] = "rest"
        del model.graph.node[-1]
        model.graph.node.extend([mean, some, rest, last])
    else:
        weights = onnx.numpy_helper.to_array(model.graph.initializer[0])
        zeros = onnx.numpy_helper.from_array(np.zeros_like(weights), model.graph.initializer[0].name)
        model.graph.initializer[0].CopyFrom(zeros)
    onnx.save(model, path)
    _rehash(folder)
    failed = _failed(folder)
    assert [check.name for check in failed] == ["image encoder"]
    assert message in failed[0].detail or "not finite" in failed[0].detail or "length 1" in failed[0].detail


@pytest.mark.parametrize(
    ("source", "ok", "message"),
    [
        ({CHECKPOINT: load_card("chexzero").files[-1].sha256}, True, "SHA-256 the registry knows: chexzero"),
        ({CHECKPOINT: "0" * 64}, False, "another SHA-256"),
        ({"mine.pt": "0" * 64}, True, "unverified: the registry knows no hash"),
        (None, True, "unverified: model.json does not say"),
    ],
)
def test_verify_compares_with_the_registry(
    tmp_path: Path, source: dict[str, str] | None, ok: bool, message: str
) -> None:
    folder = write_bundle(tmp_path / "b", provenance={"source": source})
    check = next(check for check in verify(load_bundle(folder)) if check.name == "registry")
    assert check.ok == ok
    assert message in check.detail


def test_import_goes_into_the_models_folder(converter: FakeConverter, tmp_path: Path, models: Path) -> None:
    folder = tmp_path / "CheXzero_Models"
    folder.mkdir()
    for file in load_card("chexzero").files:
        (folder / file.name).touch()
    result = run("import", folder, "--as", "chexzero")
    assert result.exit_code == 0, result.output
    assert f"recognised {CHECKPOINT}" in result.output
    assert table()["chexzero"]["where"] == "here"
    assert {call["card"] for call in converter.calls} == {"chexzero"}
    again = run("import", folder, "--as", "chexzero")
    assert again.exit_code == 2
    assert "exists already" in again.output


def test_import_with_a_name_or_elsewhere(converter: FakeConverter, tmp_path: Path, models: Path) -> None:
    (tmp_path / "w.pt").touch()
    assert run("import", tmp_path / "w.pt", "--name", "mine", "--arch", "ViT-B-32").exit_code == 0
    assert converter.calls[-1]["arch"] == "ViT-B-32"
    assert load_bundle(models / "mine").name == "mine"
    result = run("import", tmp_path / "w.pt", "--out", tmp_path / "elsewhere")
    assert f"--model {tmp_path / 'elsewhere'}" in result.output
    assert load_bundle(tmp_path / "elsewhere").name == "elsewhere"


@pytest.mark.parametrize(
    "name", ["../mine", "/mine", "a/b/c", "imported", "downloads/x", "-x", ".", "", "a\nb", "chexzero", "cxrzero-mini"]
)
def test_a_name_stays_in_the_models_folder(converter: FakeConverter, tmp_path: Path, models: Path, name: str) -> None:
    (tmp_path / "w.pt").touch()
    result = run("import", tmp_path / "w.pt", f"--name={name}")
    assert result.exit_code == 2, result.output
    assert converter.calls == []
    assert check_name("chexzero/a_0.8") == "chexzero/a_0.8"


def test_wrong_imports(converter: FakeConverter, tmp_path: Path) -> None:
    assert run("import", tmp_path / "nothing.pt").exit_code == 2
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).touch()
    several = run("import", tmp_path, "--name", "x")
    assert several.exit_code == 2
    assert "holds 2 checkpoints" in several.output
    converter.error = ambiguous()
    assert run("import", tmp_path / "a.pt").exit_code == 2
    converter.error = MissingExtraError("torch", "torch")
    missing = run("import", tmp_path / "a.pt")
    assert missing.exit_code == 1
    assert "pip install 'cxrzero[torch]'" in missing.output


def test_pull_imports_and_keeps_its_record(
    converter: FakeConverter, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(card: object, notify: Callable[[str], None], **_: object) -> Path:
        folder = models / "downloads" / "biomedclip"
        folder.mkdir(parents=True)
        (folder / "pull.json").write_text('{"revision": "abc"}')
        notify("fetched")
        return folder

    monkeypatch.setattr(pulling, "pull", fake)
    result = run("pull", "biomedclip")
    assert result.exit_code == 0, result.output
    assert "Licence: MIT (commercial use allowed)" in result.output
    assert json.loads((models / "biomedclip" / "pull.json").read_text()) == {"revision": "abc"}
    assert converter.calls[0]["card"] is None  # the folder says itself what it is
    assert "here already" in run("pull", "biomedclip").output


def test_pull_asks_for_consent_and_names_what_to_do(models: Path) -> None:
    refused = run("pull", "xrayclip-vit-b-16")
    assert refused.exit_code == 2
    assert "NO commercial use" in refused.output
    assert "--accept-license" in refused.output
    by_hand = run("pull", "chexzero")
    assert by_hand.exit_code == 1
    assert "cxrzero models import chexzero-files --as chexzero" in by_hand.output
    assert "Note: The published files are TorchScript archives" in run("pull", "openai-clip").output
    assert run("pull", "nothing").exit_code == 1


def test_a_checkpoint_predicts_a_second_time_without_torch(
    converter: FakeConverter, tmp_path: Path, png: Callable[..., Path], models: Path
) -> None:
    checkpoint = tmp_path / CHECKPOINT
    checkpoint.write_bytes(b"weights")
    image = png("a.png")
    arguments = ["predict", str(image), "--model", str(checkpoint), "--no-cache", "--out", str(tmp_path / "1.csv")]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert "is imported once, into" in first.stderr
    blocked = (
        "import sys\n"
        "for name in ('torch', 'open_clip', 'transformers', 'onnx', 'huggingface_hub', 'cxrzero.convert'):\n"
        "    sys.modules[name] = None\n"
        f"sys.argv = ['cxrzero', *{[*arguments[:-1], str(tmp_path / '2.csv')]!r}]\n"
        "from cxrzero.cli import main\nmain()\n"
    )
    environment = {**os.environ, "CXRZERO_MODELS_DIR": str(models)}
    second = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, env=environment)
    assert second.returncode == 0, second.stderr
    assert "imported" not in second.stderr
    assert (tmp_path / "1.csv").read_text() == (tmp_path / "2.csv").read_text()
    digest = hashlib.sha256(b"weights").hexdigest()
    assert (models / "imported" / digest / "model.json").is_file()


def test_a_checkpoint_without_torch_says_what_to_install(
    converter: FakeConverter, tmp_path: Path, png: Callable[..., Path]
) -> None:
    (tmp_path / "w.pt").touch()
    converter.error = MissingExtraError("torch", "torch")
    command = ["predict", str(png("a.png")), "--model", str(tmp_path / "w.pt"), "--out", str(tmp_path / "out.csv")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "pip install 'cxrzero[torch]'" in result.stderr


def test_where_models_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXRZERO_MODELS_DIR")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert models_folder() == tmp_path / "cxrzero/models"


def test_licences_say_gated() -> None:
    licence = dataclasses.replace(load_card("medsiglip").licence, commercial=False)
    assert str(licence).endswith("(NO commercial use, gated)")
