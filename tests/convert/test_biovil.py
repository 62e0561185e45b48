"""BioViL and BioViL-T: a tiny model of the published layout answers as its authors' code, and faults are noticed."""

from __future__ import annotations

import json
import shutil

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from cxrzero.convert import import_model, load_model  # noqa: E402
from cxrzero.errors import ImportModelError  # noqa: E402
from cxrzero.heatmap.cells import Axis, patch_axes  # noqa: E402
from tests.support.published import Published, agrees, answers, deviations, draw_films, notices  # noqa: E402
from tests.support.vocabulary import wordpieces  # noqa: E402

IMAGE = {"biovil": "biovil_image_resnet50_proj_size_128.pt", "biovil-t": "biovil_t_image_model_proj_size_128.pt"}
TEXT = "pytorch_model.bin"
LAST = ("projector.model.3.weight", "projector.model.3.bias")
FAULTS = ("activation", "activation_of_projector", "pooling", "norm", "crop", "token", "scale")


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
def asked(request, tmp_path_factory):
    """(name, what its authors' code gave, folder as published, bundle, what the bundle gives)."""
    folder = tmp_path_factory.mktemp(request.param)
    published = Published(request.param)
    source = published_folder(published, request.param, folder / "source")
    import_model(source, folder / "bundle")
    films = draw_films(folder / "films")
    return request.param, published, source, folder / "bundle", answers(folder / "bundle", films, published.prompts)


def test_it_answers_as_its_authors_code(asked):
    _, published, _, _, ours = asked
    found = deviations(ours, published.expected)
    assert agrees(found)
    assert found["pixel_values"] == 0


def test_planted_faults_are_noticed(asked):
    name, published, _, _, ours = asked
    assert set(published.faults) == {*FAULTS} | ({"earlier_film"} if name == "biovil-t" else set())
    assert [fault for fault in published.faults if not notices(ours, published, fault)] == []


def test_its_places_look_around_every_32nd_pixel_beginning_in_the_corner(asked):
    _, published, _, bundle, _ = asked
    stated = json.loads((bundle / "model.json").read_text("utf-8"))
    grid = tuple(stated["patch_embeds"].values())
    assert grid[0] * grid[1] == len(published.expected["patch_scores"])  # of which the first test compares each
    assert patch_axes(bundle / "patch_encoder.onnx", grid, tuple(stated["image_size"])) == (Axis(0.5, 32.0),) * 2


def test_a_prompt_loses_its_stop_as_the_authors_take_it_off(asked):
    tokenizer = load_model(asked[2]).tokenizer
    assert tokenizer.encode("No edema.?!").ids == tokenizer.encode("no edema").ids
    assert tokenizer.encode("No. edema").ids != tokenizer.encode("no edema").ids
    assert tokenizer.token_to_id("no") in tokenizer.encode("No edema").ids


def changed(file, change):
    """A state dict of a file with one thing changed."""

    def damage(folder, name):
        path = folder / (IMAGE[name] if file == "image" else TEXT)
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)

    return damage


def removed(file):
    return lambda folder, name: (folder / (IMAGE[name] if file == "image" else file)).unlink()


BAD = {
    "no text tower": (removed(TEXT), r"holds the image tower alone; put pytorch_model\.bin and vocab\.txt"),
    "no image tower": (
        removed("image"),
        r"holds the text tower alone; put biovil_image_.* or biovil_t_image_.* and vocab",
    ),
    "no vocabulary": (removed("vocab.txt"), r"neither vocab\.txt nor tokenizer\.json.*microsoft/BiomedVLP"),
    "no projector": (
        changed("image", lambda state: state.pop("projector.model.3.weight")),
        r"the image tower of BioViL.* has no projector\.model\.3\.weight: it is another version",
    ),
    "another version of the image tower": (
        changed("image", lambda state: state.update({"encoder.gate.weight": torch.zeros(2)})),
        r"unexpected (encoder\.)?gate\.weight",
    ),
    "CXR-BERT without projection": (
        changed("text", lambda state: state.pop("cls_projection_head.dense_to_hidden.weight")),
        r"has no cls_projection_head\.dense_to_hidden\.weight: it is not CXR-BERT",
    ),
    "towers of two models": (
        changed("image", lambda state: state.update({key: state[key][:64] for key in LAST})),
        "films have embeddings of 64 numbers and texts of 128; the two files do not belong together",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_said(asked, tmp_path, case):
    name, _, source, _, _ = asked
    folder = shutil.copytree(source, tmp_path / "bad")
    damage, message = BAD[case]
    damage(folder, name)
    with pytest.raises(ImportModelError, match=message):
        load_model(folder)


def test_a_film_alone_never_asks_what_compares_it_with_an_earlier_one(asked, tmp_path):
    """Nor a classifier or counters that a file may have; and half precision is widened."""
    name, _, source, _, _ = asked
    folder = shutil.copytree(source, tmp_path / "other")
    path = folder / IMAGE[name]
    state = {key: value for key, value in torch.load(path, weights_only=True).items() if "vit_pooler" not in key}
    state = {key: value.half() for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(state | {"classifier.fc_0.model.weight": torch.zeros(2, 3)}, path)
    loaded = load_model(folder)
    assert any(line.startswith("not used: ") and "a classifier" in line for line in loaded.stated)
    weight = dict(loaded.towers.reference.named_parameters())["image.projector.0.weight"]
    assert torch.equal(weight, state["projector.model.0.weight"].float())
