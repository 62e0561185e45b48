"""All state dicts of a file, or of a folder of files, as one."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from cxrzero.convert.contents import contents_of, read_folder  # noqa: E402
from cxrzero.convert.weights import read_file  # noqa: E402
from cxrzero.errors import ImportModelError  # noqa: E402

A, B, C = torch.zeros(1), torch.ones(2), torch.ones(3)


def contents(content, path):
    torch.save(content, path)
    return contents_of(read_file(path), path)


@pytest.mark.parametrize(
    "content",
    [
        {"a.w": A, "b": B},
        {"model": {"module.a.w": A, "module.b": B}, "optimizer": {"state": {0: A}}, "ema_state": {"b": C}},
        {"state_dict": {"model": {"a.w": A, "b": B}}, "model_ema": {"a.w": C}},
    ],
)
def test_one_state_dict_is_named_as_it_names_itself(content, tmp_path):
    assert list(contents(content, tmp_path / "x.pt").weights) == ["a.w", "b"]


def test_several_are_told_apart_by_their_keys(tmp_path):
    kad = {"epoch": 9, "image_encoder": {"module.w": A}, "text_encoder": {"w": B}, "model": {"w": C}, "optimizer": {}}
    found = contents(kad, tmp_path / "x.pt")
    assert {name: len(value) for name, value in found.weights.items()} == {
        "image_encoder.w": 1,
        "text_encoder.w": 2,
        "model.w": 3,
    }
    assert found.ignored == ("epoch", "optimizer")


def test_files_of_a_folder_are_one_and_a_clash_of_names_is_told_apart(tmp_path):
    torch.save({"image.w": A}, tmp_path / "image.pt")
    torch.save({"text.w": B}, tmp_path / "text.bin")
    torch.save({"state": {0: C}}, tmp_path / "optimizer.pt")
    (tmp_path / "notes.txt").write_text("x")
    found = read_folder(tmp_path)
    assert [file.name for file in found.files] == ["image.pt", "text.bin"]
    assert sorted(found.weights) == ["image.w", "text.w"]
    torch.save({"image.w": C}, tmp_path / "text.bin")
    assert sorted(read_folder(tmp_path).weights) == ["image.image.w", "text.image.w"]


def test_of_a_model_in_two_forms_one_is_read(tmp_path):
    from safetensors.torch import save_file

    torch.save({"w": A}, tmp_path / "pytorch_model.bin")
    save_file({"w": B}, tmp_path / "model.safetensors")
    assert [file.name for file in read_folder(tmp_path).files] == ["model.safetensors"]


def test_a_folder_without_weights(tmp_path):
    with pytest.raises(ImportModelError, match="holds no file of weights"):
        read_folder(tmp_path)
