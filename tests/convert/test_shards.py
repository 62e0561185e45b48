"""Weights in several files: the same model as from one, and what is said where a part does not fit."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")
from safetensors.torch import save_file  # noqa: E402

from cxrzero.convert.importer import import_model, load_model  # noqa: E402
from cxrzero.convert.weights import read_weights  # noqa: E402
from cxrzero.errors import ImportModelError  # noqa: E402
from cxrzero.files import sha256_of  # noqa: E402
from tests.support.checkpoints import clip, write_json  # noqa: E402

NAME = "open_clip_model.safetensors.index.json"


@pytest.fixture(scope="module")
def state():
    return {name: value.contiguous() for name, value in clip(quick_gelu=False).state_dict().items()}


@pytest.fixture
def index(state, tmp_path):
    """open_clip_model-0000N-of-00002.safetensors and their index."""
    return write(state, tmp_path, lambda tensors, path: save_file(tensors, path), NAME)


def write(state, folder, save, name):
    stem, suffix = name.split(".")[:2]
    files = [f"{stem}-{number:05}-of-00002.{suffix}" for number in (1, 2)]
    places = {tensor: files[at % 2] for at, tensor in enumerate(state)}
    for file in files:
        save({tensor: state[tensor] for tensor in state if places[tensor] == file}, folder / file)
    write_json(folder / name, {"metadata": {"total_size": 1}, "weight_map": places})
    return folder / name


def edit(index, change):
    content = json.loads(index.read_text())
    change(content)
    write_json(index, content)


def same(found, state):
    return found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


def test_shards_are_one_state_dict(index, state):
    assert same(read_weights(index), state)


def test_shards_of_pytorch(state, tmp_path):
    index = write(state, tmp_path, torch.save, "pytorch_model.bin.index.json")
    assert same(read_weights(index), state)


def test_a_folder_in_shards(index, state, tmp_path):
    config = {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 128, "patch_size": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 2},
    }
    write_json(tmp_path / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": {}})
    loaded = load_model(tmp_path)
    expected = clip(quick_gelu=False)
    with torch.no_grad():
        pixels = torch.rand(2, 3, 64, 64)
        assert torch.equal(loaded.model.encode_image(pixels), expected.encode_image(pixels))


def test_an_index_is_a_source_and_its_files_are_in_the_provenance(index, tmp_path):
    bundle = import_model(index, tmp_path / "bundle", card="openai-clip").bundle
    stated = json.loads((bundle / "model.json").read_text())
    files = [index, *index.parent.glob("*.safetensors")]
    assert stated["provenance"]["source"] == {file.name: sha256_of(file) for file in files}
    assert len(files) == 3
    assert stated["name"] == "open_clip_model"


def rename(content):
    content["weight_map"]["visual.proj"] = "../secret.safetensors"


def backslash(content):
    content["weight_map"]["visual.proj"] = "..\\secret.safetensors"


def more(content):
    content["weight_map"]["visual.more"] = next(iter(content["weight_map"].values()))


def flat(content):
    content.pop("weight_map")


def elsewhere(content):
    places = content["weight_map"]
    places["visual.proj"] = next(file for file in places.values() if file != places["visual.proj"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename, r"names '\.\./secret\.safetensors'; weights lie beside their index"),
        (backslash, "weights lie beside their index"),
        (more, r"does not hold visual\.more, which open_clip_model\.safetensors\.index\.json has there"),
        (elsewhere, r"does not hold visual\.proj"),
        (flat, r"does not say which file holds which tensor \(KeyError\)"),
        (lambda content: content.update(weight_map=["x"]), r"which tensor \(AttributeError\)"),
    ],
)
def test_an_index_that_is_wrong(index, change, message):
    edit(index, change)
    with pytest.raises(ImportModelError, match=message):
        read_weights(index)


def test_a_file_that_is_missing_is_named(index):
    index.with_name("open_clip_model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ImportModelError, match=r"00002-of-00002\.safetensors is missing, one of the files of"):
        read_weights(index)


def test_an_index_that_is_no_json(index):
    index.write_text("[" * 100_000)
    with pytest.raises(ImportModelError, match="does not say which file holds which tensor"):
        read_weights(index)
