import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxrzero.errors import BundleError, BundleVersionError
from cxrzero.files import sha256_of
from cxrzero.model.bundle import load_bundle
from cxrzero.model.model_json import FILES


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    card = json.loads((folder / "model.json").read_text())
    change(card)
    (folder / "model.json").write_text(json.dumps(card))


def test_reads_what_was_written(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    assert bundle.name == "tiny"
    assert bundle.image_size == (16, 16)
    assert bundle.scoring.scale == 10.0
    assert bundle.templates.negative == ("no {}",)
    assert bundle.files == {name: sha256_of(tiny_bundle / name) for name in FILES}


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_byte_is_found(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} is not the file"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", [*FILES, "model.json"])
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=name):
        load_bundle(bundle)


def test_a_newer_schema_asks_for_an_update(bundle: Path) -> None:
    edit(bundle, lambda card: card.update(schema_version=99))
    with pytest.raises(BundleVersionError, match="update cxrzero"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema_version", "1"),
        ("name", ""),
        ("embed_dim", 0),
        ("embed_dim", True),
        ("image_size", [16]),
        ("image_size", "16x16"),
        ("context_length", 2.5),
        ("pad_id", -1),
        ("preprocess", []),
        ("preprocess", [{"height": 3}]),
        ("scoring", {"rule": "magic", "scale": 1}),
        ("scoring", {"rule": "softmax_pair"}),
        ("scoring", {"rule": "softmax_pair", "scale": 0}),
        ("scoring", {"rule": "sigmoid", "scale": 1, "bias": "much"}),
        ("templates", {"positive": ["{}"]}),
        ("templates", {"positive": ["{}"], "negative": ["nothing"]}),
        ("labels", ["a", ""]),
        ("labels", []),
        ("files", {}),
        ("files", {"image_encoder.onnx": {"sha256": "abc"}}),
        ("at_chance", "nodule"),
        ("at_chance", {"nodule": True}),
        ("at_chance", ["nodule", ""]),
        ("at_chance", ["nodule", "nodule"]),
        ("book", ["edema"]),
        ("book", {"edema": ""}),
        ("book", {"edema": ["fluid"]}),
        ("book", {" ": "fluid"}),
        ("sentences", 0),
    ],
)
def test_a_wrong_card_is_refused_by_key(bundle: Path, key: str, value: object) -> None:
    edit(bundle, lambda card: card.update({key: value}))
    with pytest.raises(BundleError, match=rf"model\.json.*{key}"):
        load_bundle(bundle)


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "[" * 100_000, "\xff"])
def test_a_card_that_is_no_json_object(bundle: Path, text: str) -> None:
    (bundle / "model.json").write_text(text, encoding="latin-1")
    with pytest.raises(BundleError):
        load_bundle(bundle)


def test_fingerprint_follows_what_decides_results_only(bundle: Path) -> None:
    before = load_bundle(bundle).fingerprint
    edit(bundle, lambda card: card.update(name="renamed", licence="other"))
    assert load_bundle(bundle).fingerprint == before
    edit(bundle, lambda card: card["scoring"].update(scale=11.0))
    assert load_bundle(bundle).fingerprint != before
