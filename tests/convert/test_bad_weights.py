"""Weights that are damaged, hostile or something else: an error that says so, nothing run, nothing left."""

from __future__ import annotations

import errno
import os
import pickle
import warnings
import zipfile

import pytest

torch = pytest.importorskip("torch")

from cxrzero.convert import import_model, importer  # noqa: E402
from cxrzero.errors import ImportModelError, NoInputError, OutputError, OutputExistsError  # noqa: E402
from tests.support.checkpoints import clip, save  # noqa: E402


class Runs:
    def __reduce__(self):
        return (os.system, ("touch ran",))


def refuse(path, tmp_path, match, error=ImportModelError):
    with pytest.raises(error, match=match):
        import_model(path, tmp_path / "b", card="chexzero")
    assert not [p for p in tmp_path.iterdir() if "b" in p.name.split(".") or "partial" in p.name]


def test_a_pickle_that_runs_code_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Runs()}, tmp_path / "torch.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"visual.proj": Runs()}))
    for name, reason in (("torch.pt", r"posix\.system"), ("plain.pt", "operand")):
        refuse(tmp_path / name, tmp_path, rf"nothing in it was run \((?i:unsupported) .*{reason}")
    assert not (tmp_path / "ran").exists()


def test_torchscript_is_not_opened(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; OpenAI's files were made with it
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "ViT-B-32.pt")
    refuse(tmp_path / "ViT-B-32.pt", tmp_path, "TorchScript")


def test_an_archive_in_which_weights_were_published_is_to_be_unpacked(tmp_path):
    save(clip(), tmp_path / "pytorch_model.bin")
    with zipfile.ZipFile(tmp_path / "pretrained.zip", "w") as archive:
        archive.write(tmp_path / "pytorch_model.bin", "pytorch_model.bin")
    refuse(tmp_path / "pretrained.zip", tmp_path, "is a ZIP archive of other files; unpack it")


def test_truncated(tmp_path):
    path = save(clip(), tmp_path / "x.pt")
    path.write_bytes(path.read_bytes()[:100_000])
    refuse(path, tmp_path, r"damaged|not a whole")


def test_a_git_lfs_pointer(tmp_path):
    (tmp_path / "x.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 353000000\n")
    refuse(tmp_path / "x.pt", tmp_path, "git lfs pull")


@pytest.mark.parametrize("header", [b'{"w":{"dtype":"F32","shape":[9,9],"data_offsets":[0,99999]}}', b"{" * 40])
def test_a_safetensors_header_that_lies(tmp_path, header):
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 16)
    refuse(tmp_path / "x.safetensors", tmp_path, "not a whole safetensors")


def test_keys_are_named(tmp_path):
    model = clip()
    state = model.state_dict()
    del state["visual.ln_post.weight"]
    state["extra.weight"] = torch.zeros(2)
    state["ln_final.bias"] = torch.zeros(7)
    torch.save(state, tmp_path / "x.pt")
    refuse(
        tmp_path / "x.pt",
        tmp_path,
        r"missing visual\.ln_post\.weight.*text\.ln_final\.bias has shape \(7,\).*unexpected extra\.weight",
    )


def test_only_the_first_ten_keys_are_named(tmp_path):
    state = {name: value for name, value in clip().state_dict().items() if ".mlp." not in name}
    torch.save(state, tmp_path / "x.pt")
    refuse(tmp_path / "x.pt", tmp_path, r"and 6 more")


def test_an_image_only_model(tmp_path):
    state = {name: value for name, value in clip().state_dict().items() if name.startswith("visual.")}
    torch.save(state, tmp_path / "x.pt")
    refuse(tmp_path / "x.pt", tmp_path, "no text tower")


def test_no_such_file(tmp_path):
    refuse(tmp_path / "x.pt", tmp_path, "no such file", NoInputError)


def test_a_full_disk_leaves_no_half_bundle(tmp_path, monkeypatch):
    path = save(clip(), tmp_path / "x.pt")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(importer, "load_bundle", full)
    refuse(path, tmp_path, "free some space", OutputError)


def test_an_existing_folder_is_not_replaced(tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(OutputExistsError):
        import_model(tmp_path / "x.pt", tmp_path / "b")


def test_an_export_that_answers_differently_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("cxrzero.convert.onnx_export.MIN_COSINE", 1.1)
    refuse(save(clip(), tmp_path / "x.pt"), tmp_path, "differ from the model")
