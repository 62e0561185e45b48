"""What --model means, in the order of the contract."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from cxrzero.cards.card import load_card
from cxrzero.errors import AmbiguousModelError, BundleError, OutputError, OutputExistsError, RunError, UsageError
from cxrzero.registry import sources
from cxrzero.registry.resolve import resolve_model, resolve_models
from cxrzero.registry.sources import convert, default_name, find
from tests.registry.conftest import FakeConverter, ambiguous
from tests.support.bundle import write_bundle

Install = Callable[[str], Path]
CHECKPOINT = "best_64_5e-05_original_22000_0.864.pt"


@pytest.mark.parametrize("form", ["{}", "{}/model.json", "local-dir:{}"])
def test_a_path_is_a_bundle(tiny_bundle: Path, models: Path, form: str) -> None:
    assert resolve_model(form.format(tiny_bundle)).name == "tiny"


def test_a_folder_of_bundles_is_an_ensemble_in_byte_order(tmp_path: Path, models: Path) -> None:
    for name in ("b", "B", "a", "é"):
        write_bundle(tmp_path / "many" / os.fsdecode(name.encode()), name=name)
    (tmp_path / "many" / "notes").mkdir()
    assert [bundle.name for bundle in resolve_models(str(tmp_path / "many"))] == ["B", "a", "b", "é"]
    with pytest.raises(UsageError, match="ensemble of 4"):
        resolve_model(str(tmp_path / "many"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nothing-here", "no model 'nothing-here'.*models list"),
        ("RadZeró", r"models list\. Did you mean radzero"),
        ("./nothing-here", "no model"),
        ("local-dir:nothing-here", "there is no nothing-here"),
        ("notes.txt", "is a file"),
        ("empty", "not a model bundle"),
        ("chexzero", "not here.*models pull chexzero says which files"),
        ("biomedclip", "not here.*Fetch it with: cxrzero models pull biomedclip"),
        ("hf-hub:google/medsiglip-448", "no local copy.*models pull medsiglip"),
        ("hf-hub:someone/model", "not in the registry.*models import FOLDER"),
        ("hf-hub:../../etc", "organisation/name"),
        ("hf-hub:../..", "organisation/name"),
        ("hf-hub:name", "organisation/name"),
        ("hf-hub:org/name/more", "organisation/name"),
        ("hf-hub:org--other/name", "organisation/name"),
        ("hf-hub:", "organisation/name"),
    ],
)
def test_what_is_not_here_says_what_to_do(
    spec: str, message: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises((BundleError, UsageError), match=f"(?s){message}"):
        resolve_models(spec)


def test_an_installed_name_and_a_folder_of_that_name(
    install: Install, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    install("mine")
    assert resolve_model("mine").path.parent.name == "models"
    write_bundle(tmp_path / "mine")
    with pytest.raises(AmbiguousModelError, match=r"'mine' is both a folder here and a known model; write \./mine"):
        resolve_model("mine")
    assert resolve_model("./mine").path == Path("./mine")


def test_chexzero_is_all_ten_or_an_error_that_names_the_missing(install: Install) -> None:
    members = [Path(file.name).stem for file in load_card("chexzero").files]
    for member in members[:-1]:
        install(f"chexzero/{member}")
    with pytest.raises(BundleError, match=rf"10 models, and 9 of them.*Missing: chexzero/{members[-1]}\."):
        resolve_models("chexzero")
    assert [bundle.path.name for bundle in resolve_models(f"chexzero/{members[0]}")] == [members[0]]
    install(f"chexzero/{members[-1]}")
    assert [bundle.path.name for bundle in resolve_models("chexzero")] == members


def test_a_checkpoint_is_imported_once_by_its_contents(converter: FakeConverter, tmp_path: Path, models: Path) -> None:
    checkpoint = tmp_path / CHECKPOINT
    checkpoint.write_bytes(b"weights")
    notices: list[str] = []
    first = resolve_model(str(checkpoint), notices.append)
    assert "is imported once" in notices[0]
    assert notices[1] == f"recognised {CHECKPOINT}"
    assert first.name == Path(CHECKPOINT).stem
    assert models in first.path.parents
    assert all(folder.stat().st_mode & 0o077 == 0 for folder in (models, models / "imported"))
    moved = checkpoint.rename(tmp_path / "renamed.pt")
    assert resolve_model(str(moved), notices.append).path == first.path
    assert len(converter.calls) == 1
    assert len(notices) == 2
    moved.write_bytes(b"other weights")
    assert resolve_model(str(moved)).path != first.path
    assert len(converter.calls) == 2


def test_a_folder_of_checkpoints_is_an_ensemble(converter: FakeConverter, tmp_path: Path) -> None:
    for name in ("b.pt", "a.pt", "c.safetensors"):
        (tmp_path / name).write_bytes(name.encode())
    assert len(resolve_models(f"local-dir:{tmp_path}")) == 3
    assert [call["source"].name for call in converter.calls] == ["a.pt", "b.pt", "c.safetensors"]


def test_a_source_folder_changes_with_any_of_its_files(converter: FakeConverter, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "open_clip_config.json").write_text("{}")
    (source / "open_clip_pytorch_model.bin").write_bytes(b"weights")
    first = resolve_model(str(source)).path
    assert resolve_model(f"local-dir:{source}").path == first
    assert converter.calls[0]["source"] == source
    (source / "open_clip_config.json").write_text("{ }")
    assert resolve_model(str(source)).path != first


def test_an_ambiguous_checkpoint_gets_the_exact_command(converter: FakeConverter, tmp_path: Path, models: Path) -> None:
    (tmp_path / "my weights.pt").touch()
    converter.error = ambiguous()
    with pytest.raises(AmbiguousModelError, match=r"models import '.*my weights\.pt' --as CARD --name NAME"):
        resolve_models(str(tmp_path / "my weights.pt"))
    assert list(models.rglob("half")) == []
    assert list((models / "imported").iterdir()) == []


def test_conversion_is_whole_or_not_at_all(converter: FakeConverter, tmp_path: Path) -> None:
    source, out = tmp_path / "w.pt", tmp_path / "out"
    source.touch()
    converter.error = RunError("disk full")
    with pytest.raises(RunError, match="disk full"):
        convert(source, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.pt"]
    converter.error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OutputError, match=re.escape(f"also writes to {tempfile.gettempdir()}. Nothing was left")):
        convert(source, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.pt"]
    converter.error = None
    assert convert(source, out, card="chexzero") == ("recognised w.pt",)
    assert converter.calls[-1]["card"] == "chexzero"
    with pytest.raises(OutputExistsError, match="exists already"):
        convert(source, out)
    with pytest.raises(OutputError, match="cannot be written"):
        convert(source, source / "inside a file")
    with pytest.raises(OutputError, match=r"gone\.json|cannot be written"):
        convert(source, tmp_path / "other", extras=[tmp_path / "gone.json"])
    assert not (tmp_path / "other").exists()


def test_names_of_imports(tmp_path: Path) -> None:
    (tmp_path / "fine-tune.pt").touch()
    assert default_name(tmp_path / CHECKPOINT) == f"chexzero/{Path(CHECKPOINT).stem}"
    assert default_name(tmp_path / CHECKPOINT, "openai-clip") != f"chexzero/{Path(CHECKPOINT).stem}"
    assert default_name(tmp_path / "fine-tune.pt") == "fine-tune"
    assert default_name(tmp_path) == tmp_path.name


def test_a_copy_in_the_hugging_face_cache(converter: FakeConverter, tmp_path: Path, tiny_bundle: Path) -> None:
    commit = "a" * 40
    folder = tmp_path / "huggingface" / "hub" / "models--yyupenn--whyxrayclip"
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    (snapshot / "open_clip_config.json").write_text("{}")
    assert resolve_model("hf-hub:yyupenn/whyxrayclip").name
    assert converter.calls[0]["source"] == snapshot
    for odd in ("../../../..", "..", "", "\0"):
        (folder / "refs" / "main").write_text(odd)
        resolve_model("hf-hub:yyupenn/whyxrayclip")  # the only snapshot
        assert converter.calls[-1]["source"] == snapshot
    shutil.copytree(snapshot, folder / "snapshots" / ("b" * 40))
    with pytest.raises(BundleError, match="models pull whyxrayclip"):
        resolve_model("hf-hub:yyupenn/whyxrayclip")


def test_a_part_of_a_repository_may_hold_all_that_a_model_needs(converter: FakeConverter, tmp_path: Path) -> None:
    """The cache may know of more files, here of a README that nobody fetched."""
    trees = pytest.importorskip("huggingface_hub._tree_cache")
    commit = "a" * 40
    folder = tmp_path / "huggingface" / "hub" / "models--yyupenn--whyxrayclip"
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "open_clip_config.json").write_text("{}")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / ("b" * 40)).mkdir()
    trees.write_tree_cache(
        str(folder),
        commit,
        {
            name: trees.TreeCacheEntry(size=2, blob_id="b" * 40, lfs_sha256=None, lfs_size=None, xet_hash=None)
            for name in ("open_clip_config.json", "README.md")
        },
    )
    with pytest.raises(LocalEntryNotFoundError, match="incomplete"):
        huggingface_hub.snapshot_download("yyupenn/whyxrayclip", local_files_only=True)
    assert resolve_model("hf-hub:yyupenn/whyxrayclip").name
    assert converter.calls[0]["source"] == snapshot


def test_an_installed_model_answers_to_its_repository(install: Install) -> None:
    install("whyxrayclip")
    assert resolve_model("hf-hub:yyupenn/whyxrayclip").path.name == "whyxrayclip"


def a_run(folder: Path) -> Path:
    """What `train` leaves when it is killed."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.pt").write_bytes(b"weights")
    (folder / "run.json").write_text("{}")
    return folder


PARTS = [
    "runs/killed",
    "runs/killed/",
    "runs",
    "local-dir:runs/killed",
    "runs/killed/model.json",
    "runs/killed/run.json",
]
PARTS += ["runs/killed/checkpoints", "runs/killed/checkpoints/last.pt"]


@pytest.mark.parametrize("spec", PARTS)
def test_a_run_that_was_killed_is_told_how_to_go_on(
    spec: str, converter: FakeConverter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a_run(tmp_path / "runs" / "killed")
    with pytest.raises(BundleError, match=r"has not ended.*: cxrzero train --resume runs/killed$"):
        resolve_models(spec)
    assert converter.calls == []


def test_the_command_to_go_on_can_be_pasted(tmp_path: Path) -> None:
    run = a_run(tmp_path / "my runs")
    with pytest.raises(BundleError, match=re.escape(f"cxrzero train --resume '{run}'")):
        resolve_models(str(run / "checkpoints"))


def test_checkpoints_of_a_run_that_has_ended_name_its_model(
    converter: FakeConverter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "whole")
    a_run(tmp_path / "whole")
    assert resolve_model("whole").name == "tiny"
    with pytest.raises(BundleError, match=r"has ended; its model is --model whole$"):
        resolve_models("whole/checkpoints/last.pt")
    a_run(tmp_path / "killed")  # beside one that has a model
    assert [bundle.path.name for bundle in resolve_models(".")] == ["whole"]


def test_a_run_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    a_run(tmp_path / "killed")
    for part in ("killed", "killed/checkpoints", "killed/checkpoints/last.pt"):
        with pytest.raises(UsageError, match=r"cxrzero train --resume killed$"):
            sources.plan(Path(part))


def test_a_resource_fork_is_no_checkpoint(tmp_path: Path) -> None:
    for name in ("b.pt", "a.pt", "._a.pt", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in find(tmp_path)] == ["a.pt", "b.pt"]
