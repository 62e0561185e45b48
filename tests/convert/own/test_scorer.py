"""Encoders that give tokens, and a scorer of the user's own, become a bundle that scores by attention."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from cxrzero.backends import open_encoder
from cxrzero.cli import app
from cxrzero.errors import ImportModelError
from cxrzero.model.model_json import TOKENIZER, Scoring
from cxrzero.model.tokenizer import Tokenizer
from cxrzero.registry.verify import verify
from tests.convert.own.conftest import Import
from tests.convert.own.test_forms import SENTENCES, pixels
from tests.support.ownencoders import CONTEXT, IR_VERSION, OPSET, ROWS, SIDE, Pair

WIDTH = 8
PAIRS = Scoring("scorer", 2.0, pairs=True)
F = TensorProto.FLOAT


def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs, [output], **attributes)


def model(nodes: list[NodeProto], weights: dict[str, Any], inputs: list[Any], outputs: list[Any]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "own",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(*each) for each in outputs],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def image_encoder() -> onnx.ModelProto:
    """16 places of 4 × 4 pixels, each a token."""
    nodes = [
        node("AveragePool", ["x"], "pooled", kernel_shape=[4, 4], strides=[4, 4]),
        node("Reshape", ["pooled", "places"], "rows"),
        node("Transpose", ["rows"], "columns", perm=[0, 2, 1]),
        node("MatMul", ["columns", "w"], "image_tokens"),
    ]
    weights = {"places": np.array([0, 3, 16]), "w": random(3, WIDTH, seed=1)}
    return model(nodes, weights, [("x", F, ["N", 3, SIDE, SIDE])], [("image_tokens", F, ["N", 16, WIDTH])])


def text_encoder() -> onnx.ModelProto:
    """The vector of each word; that of padding is 0."""
    nodes = [
        node("Gather", ["table", "ids"], "words"),
        node("Cast", ["attention_mask"], "flat", to=F),
        node("Unsqueeze", ["flat", "last"], "weights"),
        node("Mul", ["words", "weights"], "text_tokens"),
    ]
    weights = {"table": random(ROWS, WIDTH, seed=2), "last": np.array([2])}
    inputs = [(name, TensorProto.INT64, ["L", CONTEXT]) for name in ("ids", "attention_mask")]
    return model(nodes, weights, inputs, [("text_tokens", F, ["L", CONTEXT, WIDTH])])


def random(*shape: int, seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@dataclass(frozen=True)
class Scorer:
    """Each sentence looks at the places of a film; if `together`, sentences first look at each other."""

    together: bool = False
    by_films: bool = False
    names: tuple[str, str] = ("image_tokens", "text_tokens")
    films: int | str = "N"
    width: int = WIDTH
    zero: bool = False

    def model(self) -> onnx.ModelProto:
        image, text = self.names
        asked = "mean"
        nodes = [node("ReduceMean", [text], "mean", axes=[1], keepdims=0)]
        if self.together:
            nodes += [
                node("Transpose", ["mean"], "turned", perm=[1, 0]),
                node("MatMul", ["mean", "turned"], "alike"),
                node("Softmax", ["alike"], "share", axis=-1),
                node("MatMul", ["share", "mean"], "others"),
                node("Add", ["mean", "others"], "asked"),
            ]
            asked = "asked"
        seen = image
        if self.by_films:
            nodes += [
                node("ReduceMean", [image], "of_all", axes=[0], keepdims=1),
                node("Sub", [image, "of_all"], "centred"),
                node("Add", ["centred", image], "seen"),
            ]
            seen = "seen"
        nodes += [
            node("Transpose", [asked], "questions", perm=[1, 0]),
            node("MatMul", [seen, "w"], "keys"),
            node("MatMul", ["keys", "questions"], "look"),
            node("Softmax", ["look"], "where", axis=1),
            node("Mul", ["where", "look"], "found"),
            node("ReduceSum", ["found", "places"], "sum", keepdims=0),
            node("Mul", ["sum", "times"], "logits"),
        ]
        weights = {"w": random(self.width, WIDTH, seed=3), "places": np.array([1]), "times": np.float32(not self.zero)}
        inputs = [(image, F, [self.films, 16, self.width]), (text, F, ["L", CONTEXT, WIDTH])]
        return model(nodes, weights, inputs, [("logits", F, [self.films, "L"])])


@pytest.fixture
def with_scorer(pair: Pair) -> Callable[..., tuple[Pair, Path]]:
    def write(scorer: Scorer) -> tuple[Pair, Path]:
        onnx.save(image_encoder(), pair.image_file)
        onnx.save(text_encoder(), pair.text_file)
        onnx.save(scorer.model(), pair.folder / "scorer.onnx")
        return pair, pair.folder / "scorer.onnx"

    return write


def run(file: onnx.ModelProto, **feeds: Any) -> Any:
    session = onnxruntime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


@pytest.mark.parametrize("together", [False, True])
def test_logits_are_those_of_the_users_graphs(together: bool, with_scorer: Any, imported: Import) -> None:
    scorer = Scorer(together)
    pair, path = with_scorer(scorer)
    bundle, lines = imported(pair, scorer=path, scoring=PAIRS)
    card = bundle.card
    assert (card["schema_version"], card["tokens"]["image"], card["tokens"]["text"]) == (3, [16, 8], [CONTEXT, 8])
    assert card["scoring"] == {
        "rule": "scorer", "scale": 2.0, "bias": 0.0, "pairs": True,
        "labels": "together" if together else "independent",
    }  # fmt: skip
    assert any(("asked together" in line) is together for line in lines if line.startswith("scorer:"))
    given = pixels(bundle)
    ids = Tokenizer(bundle.file(TOKENIZER), bundle.context_length, bundle.pad_id)(SENTENCES)
    films = run(image_encoder(), x=given)
    texts = run(text_encoder(), ids=ids, attention_mask=(ids > 0).astype(np.int64))
    expected = run(scorer.model(), image_tokens=films, text_tokens=texts)
    encoder = open_encoder(bundle, "onnxruntime", "cpu")
    found = encoder.score(encoder.encode_images(given), encoder.encode_texts(ids))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    checks = list(verify(bundle))
    assert [check for check in checks if not check.ok] == []
    assert "as the import noted them" in next(check.detail for check in checks if check.name == "scorer")


def test_a_film_is_scored_by_the_command(with_scorer: Any, tmp_path: Path, png: Any, here: None) -> None:
    pair, path = with_scorer(Scorer())
    files = [str(each) for each in (pair.image_file, pair.text_file, pair.tokenizer_file)]
    scoring = ["--score", "sigmoid", "--scale", "1", "--bias", "-0.5", "--scorer", str(path)]
    bundle = str(tmp_path / "b")
    typed = ["models", "import", "--onnx", *files, "--preprocess", str(pair.steps_file), *scoring, "--out", bundle]
    result = CliRunner().invoke(app, typed)
    assert result.exit_code == 0, result.output
    assert "scoring: scorer, p = σ(1·logit -0.5)" in result.output
    out = tmp_path / "out.csv"
    typed = ["predict", str(png("a.png")), "--model", bundle, "--labels", "edema", "--no-cache", "--out", str(out)]
    result = CliRunner().invoke(app, typed)
    assert result.exit_code == 0, result.output
    [row] = csv.DictReader(out.read_text(encoding="utf-8").splitlines())
    assert 0 < float(row["edema"]) < 1
    assert json.loads((tmp_path / "b" / "model.json").read_text(encoding="utf-8"))["provenance"]["example"]


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        (
            Scorer(names=("a", "b")),
            r"must have the inputs image_tokens and text_tokens, not 'a' \(\?, 16, 8\) float, 'b'",
        ),
        (Scorer(films=1), r"takes a fixed number of films or sentences; export it with free axes \(dynamic_axes\)"),
        (Scorer(width=7), r"scorer\.onnx: it fails on input of \(4, 16, 8\) and \(7, 16, 8\)"),
        (Scorer(zero=True), "gives all films the same logits"),
        (Scorer(by_films=True), "a film has other logits alone than beside others; export it in evaluation mode"),
    ],
)
def test_scorers_that_are_refused(
    scorer: Scorer, message: str, with_scorer: Any, imported: Import, tmp_path: Path
) -> None:
    pair, path = with_scorer(scorer)
    with pytest.raises(ImportModelError, match=message):
        imported(pair, scorer=path, scoring=PAIRS)
    assert [each.name for each in tmp_path.iterdir()] == ["pair"]


def test_tokens_and_embeddings_are_not_mixed_up(with_scorer: Any, imported: Import) -> None:
    pair, path = with_scorer(Scorer())
    with pytest.raises(
        ImportModelError, match=r"\(\?, 16, 8\) float; embeddings .* \(tokens need a scorer, --scorer\)"
    ):
        imported(pair)
    pair.write()
    with pytest.raises(ImportModelError, match=r"with a scorer an encoder gives tokens, .* with three axes"):
        imported(pair, scorer=path, scoring=PAIRS)
