"""Schema 3: a bundle with scorer.onnx, and what is refused of one before any film is read."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxrzero.errors import BundleError
from cxrzero.model.bundle import load_bundle
from cxrzero.model.graph_shapes import declared_shapes
from cxrzero.model.model_json import schema_of
from tests.support.bundle import write_bundle
from tests.support.scorers import rehashed, scorer, write_scorer_bundle

Card = dict[str, Any]


def edited(path: Path, edit: Callable[[Card], Any]) -> Path:
    card = json.loads((path / "model.json").read_text())
    edit(card)
    (path / "model.json").write_text(json.dumps(card))
    return path


def test_what_it_states_is_read(tmp_path: Path) -> None:
    path = write_scorer_bundle(tmp_path / "b", together=True, dtype="float16", companions=("a", "b"), bias=0.5)
    bundle = load_bundle(path)
    assert (bundle.embed_dim, bundle.patch_encoder, bundle.has_scorer) == (None, None, True)
    assert (bundle.image_shape, bundle.text_shape, bundle.attention) == ((4, 3), (1, 4), (2, 2))
    assert (bundle.image_dtype, bundle.film_bytes) == ("<f2", 24)
    assert bundle.rules()["scoring"] == {
        "rule": "scorer",
        "scale": 4.0,
        "bias": 0.5,
        "pairs": False,
        "labels": "together",
        "companions": ["a", "b"],
    }


def test_a_scorer_decides_the_schema() -> None:
    assert schema_of(("image_encoder.onnx", "scorer.onnx")) == 3
    assert schema_of(("image_encoder.onnx",)) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"pairs": True},
        {"together": True},
        {"dtype": "float16"},
        {"attention": False},  # another scorer.onnx
        {"together": True, "companions": ("x",)},
    ],
)
def test_what_decides_a_score_is_in_the_fingerprint(tmp_path: Path, change: dict[str, Any]) -> None:
    one, other = write_scorer_bundle(tmp_path / "a"), write_scorer_bundle(tmp_path / "b", **change)
    assert load_bundle(one).fingerprint != load_bundle(other).fingerprint


def test_a_scorer_without_pairs_needs_no_negative_template(tmp_path: Path) -> None:
    templates = {"positive": ["{}"], "negative": []}
    assert load_bundle(write_scorer_bundle(tmp_path / "a", templates=templates)).templates.negative == ()
    with pytest.raises(BundleError, match=r"templates\.negative must be a list"):
        load_bundle(write_scorer_bundle(tmp_path / "b", pairs=True, templates=templates))


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda c: c["scoring"].update(rule="sigmoid"), "scoring.rule must be scorer, because the bundle has"),
        (lambda c: c["scoring"].update(labels="each"), "scoring.labels must be independent or together"),
        (lambda c: c["scoring"].update(pairs=1), "scoring.pairs must be true or false"),
        (lambda c: c["scoring"].update(pairs=True, bias=1.0), "scoring.bias must be 0 where pairs are compared"),
        (lambda c: c["scoring"].update(companions=["x"]), "scoring.companions are asked along only where labels are"),
        (lambda c: c.pop("tokens"), "tokens is missing"),
        (lambda c: c["tokens"].update(image=[4]), "tokens.image must be [tokens, width of each]"),
        (lambda c: c["tokens"].update(dtype="bfloat16"), "tokens.dtype must be one of float32, float16"),
        (lambda c: c.update(attention=[2, 2]), "attention must be {height, width}"),
        (lambda c: c["files"].pop("image_weights.bin"), "files.image_weights.bin.sha256 must be"),
        (lambda c: c["tokens"].update(text=[2, 4]), "text_tokens of shape (N, 1, 4), model.json states (N, 2, 4)"),
    ],
)
def test_what_is_malformed_is_named(tmp_path: Path, edit: Callable[[Card], Any], said: str) -> None:
    path = edited(write_scorer_bundle(tmp_path / "b"), edit)
    with pytest.raises(BundleError, match=re.escape(said)):
        load_bundle(path)


def test_a_scorer_of_another_model_is_refused(tmp_path: Path) -> None:
    path = write_scorer_bundle(tmp_path / "b")
    (path / "scorer.onnx").write_bytes(scorer(tokens=9))
    with pytest.raises(BundleError, match=r"is not the file that model\.json describes"):
        load_bundle(path)
    with pytest.raises(BundleError, match=r"scorer\.onnx and the encoders do not belong together"):
        load_bundle(rehashed(path))


def test_encoders_without_tokens_are_refused(tmp_path: Path) -> None:
    path = write_scorer_bundle(tmp_path / "b")
    write_bundle(tmp_path / "dual")
    (path / "text_encoder.onnx").write_bytes((tmp_path / "dual/text_encoder.onnx").read_bytes())
    with pytest.raises(BundleError, match=r"text_encoder\.onnx has no text_tokens"):
        load_bundle(rehashed(path))


def test_a_scorer_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = write_scorer_bundle(tmp_path / "b")
    (path / "scorer.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match="is not an ONNX model"):
        load_bundle(rehashed(path))


def test_schema_2_knows_no_scorer(tmp_path: Path) -> None:
    path = edited(write_scorer_bundle(tmp_path / "b"), lambda c: c.update(schema_version=2, embed_dim=3))
    with pytest.raises(BundleError, match=r"scoring\.rule must be one of softmax_pair, sigmoid"):
        load_bundle(path)


def test_shapes_are_read_from_the_file(tmp_path: Path) -> None:
    path = write_scorer_bundle(tmp_path / "b")
    assert declared_shapes(path / "scorer.onnx") == {
        "image_tokens": (None, 4, 3),
        "text_tokens": (None, 1, 4),
        "logits": (None, None),
        "attention": (None, None, 2, 2),
    }
    (path / "x.onnx").write_bytes(b"\xff\xff")
    with pytest.raises(BundleError, match="is not an ONNX model"):
        declared_shapes(path / "x.onnx")
