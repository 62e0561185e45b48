"""BioViL and BioViL-T: tiny files of the published layout answer as the authors' code does, and faults are noticed."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from cxrzero.convert import import_model, load_model  # noqa: E402
from cxrzero.errors import ImportModelError  # noqa: E402
from cxrzero.heatmap.cells import Axis, patch_axes  # noqa: E402
from tests.support.published import (  # noqa: E402
    Published,
    agrees,
    answers,
    deviations,
    draw_films,
    drop,
    extra,
    notices,
    predicted,
)
from tests.support.vocabulary import wordpieces  # noqa: E402

IMAGE = {"biovil": "biovil_image_resnet50_proj_size_128.pt", "biovil-t": "biovil_t_image_model_proj_size_128.pt"}
TEXT = "pytorch_model.bin"
FAULTS = {"activation", "activation_of_projector", "pooling", "norm", "crop", "token", "scale"}
LAST = ("projector.model.3.weight", "projector.model.3.bias")


def published_folder(published, name, folder):
    """The repository as somebody has fetched it."""
    folder.mkdir()
    for file in (IMAGE[name], TEXT):
        torch.save(published.state(file), folder / file)
    words = len(published.state(TEXT)["bert.embeddings.word_embeddings.weight"])
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in wordpieces(words)), "utf-8")
    (folder / "config.json").write_text(json.dumps({"model_type": "cxr-bert"}), "utf-8")
    return folder


@pytest.fixture(scope="module", params=["biovil", "biovil-t"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def published(name):
    return Published(name)


@pytest.fixture(scope="module")
def source(name, published, tmp_path_factory):
    return published_folder(published, name, tmp_path_factory.mktemp(name) / "source")


@pytest.fixture(scope="module")
def bundle(source):
    import_model(source, source.parent / "bundle")
    return source.parent / "bundle"


@pytest.fixture(scope="module")
def films(bundle):
    return draw_films(bundle.parent / "films")


@pytest.fixture(scope="module")
def ours(bundle, films, published):
    return answers(bundle, films, published.prompts)


def test_tiny_files_answer_as_the_authors_code_does(ours, published):
    found = deviations(ours, published.expected)
    assert agrees(found)
    assert found["pixel_values"] == 0


def test_the_comparison_notices(name, ours, published):
    assert set(published.faults) == FAULTS | ({"earlier_film"} if name == "biovil-t" else set())
    assert [fault for fault in published.faults if not notices(ours, published, fault)] == []


def test_predict_gives_what_the_authors_compare(bundle, films, published):
    expected = published.expected["probabilities"]
    assert np.ptp(expected) > 1e-3
    assert np.abs(predicted(bundle, films, published.labels) - expected).max() < 1e-6


def test_its_places_look_around_every_32nd_pixel_beginning_in_the_corner(bundle, published):
    stated = json.loads((bundle / "model.json").read_text("utf-8"))
    grid = tuple(stated["patch_embeds"].values())
    assert grid[0] * grid[1] == len(published.expected["patch_scores"])  # which the first test compares one by one
    assert patch_axes(bundle / "patch_encoder.onnx", grid, tuple(stated["image_size"])) == (Axis(0.5, 32.0),) * 2


def test_a_prompt_loses_its_stop_as_the_authors_take_it_off(source):
    tokenizer = load_model(source).tokenizer
    assert tokenizer.encode("No edema.?!").ids == tokenizer.encode("no edema").ids
    assert tokenizer.encode("No. edema").ids != tokenizer.encode("no edema").ids
    assert tokenizer.token_to_id("no") in tokenizer.encode("No edema").ids


def in_file(file, change):
    """Damage to a folder: a file's state dict changed."""

    def damage(folder, name):
        path = folder / (IMAGE[name] if file == "image" else TEXT)
        torch.save(change(torch.load(path, weights_only=True)), path)

    return damage


def without(file):
    return lambda folder, name: (folder / (IMAGE[name] if file == "image" else file)).unlink()


BAD = {
    "no text tower": (without(TEXT), r"holds the image tower of BioViL.* alone; put pytorch_model\.bin and vocab"),
    "no image tower": (
        without("image"),
        r"holds the text tower of BioViL or BioViL-T alone; put biovil_i.* or biovil_t",
    ),
    "no vocabulary": (without("vocab.txt"), r"neither vocab\.txt nor tokenizer\.json.*microsoft/BiomedVLP"),
    "no projector": (
        in_file("image", drop(LAST[0])),
        r"the image tower of BioViL.* has no projector\.model\.3\.weight: it is another version",
    ),
    "half a trunk": (in_file("image", drop("encoder.encoder.layer3.0.conv2")), r"layer3\.0\.conv2"),
    "another version of the image tower": (
        in_file("image", extra("encoder.gate.weight", 2)),
        r"unexpected (encoder\.)?gate\.weight",
    ),
    "CXR-BERT without its projection": (
        in_file("text", drop("cls_projection_head.dense_to_hidden")),
        r"has no cls_projection_head\.dense_to_hidden\.weight: it is not CXR-BERT",
    ),
    "towers of two models": (
        in_file("image", lambda state: state | {key: state[key][:64] for key in LAST}),
        "films have embeddings of 64 numbers and texts of 128; the two files do not belong together",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_said(name, source, tmp_path, case):
    folder = shutil.copytree(source, tmp_path / "bad")
    damage, message = BAD[case]
    damage(folder, name)
    with pytest.raises(ImportModelError, match=message):
        load_model(folder)


def test_what_one_film_never_asks_may_be_missing_and_a_classifier_be_there(name, source, tmp_path):
    """And half precision is widened."""
    folder = shutil.copytree(source, tmp_path / "other")
    path = folder / IMAGE[name]
    state = drop("encoder.vit_pooler")(torch.load(path, weights_only=True))
    state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    torch.save(state | {"classifier.fc_0.model.weight": torch.zeros(2, 3)}, path)
    loaded = load_model(folder)
    assert any(line.startswith("not used: ") and "a classifier" in line for line in loaded.stated)
    weight = dict(loaded.towers.reference.named_parameters())["image.projector.0.weight"]
    assert torch.equal(weight, state["projector.model.0.weight"].float())
