"""The tokenizer and the steps beside a pair: what is found in them, what an option has to say, what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from onnx import TensorProto

from cxrzero.convert.own.steps import EXAMPLE, read_steps
from cxrzero.errors import ConfigError, ImportModelError, TokenizerError, UsageError
from cxrzero.model.geometry import STEPS as STEPS_OF_GEOMETRY
from cxrzero.model.preprocess import _NUMERIC as STEPS_OF_VALUES
from cxrzero.model.preprocess import Preprocess
from cxrzero.phantom import draw
from cxrzero.registry.own import own_encoders
from tests.convert.own.conftest import Import
from tests.support import REPO
from tests.support.ownencoders import CONTEXT, ROWS, STEPS, Image, Pair, Text, word_tokenizer


def with_tokenizer(pair: Pair, **changes: Any) -> Pair:
    """The pair with keys of tokenizer.json replaced."""
    content = json.loads(word_tokenizer().to_str())
    pair.tokenizer_file.write_text(json.dumps(content | changes), encoding="utf-8")
    return pair


def without_pad(pair: Pair) -> Pair:
    text = word_tokenizer().to_str().replace("[PAD]", "[NUL]")
    pair.tokenizer_file.write_text(text, encoding="utf-8")
    return pair


def padded(direction: str) -> dict[str, Any]:
    made = word_tokenizer()
    made.enable_padding(direction=direction, pad_id=0, pad_token="[PAD]", length=CONTEXT)
    padding: dict[str, Any] = json.loads(made.to_str())["padding"]
    return padding


def test_what_the_tokenizer_says_of_padding(pair: Pair, imported: Import) -> None:
    with pytest.raises(ImportModelError, match=r"tokenizer\.json pads on the left, and a bundle pads on the right"):
        imported(with_tokenizer(pair, padding=padded("left")))
    bundle, lines = imported(with_tokenizer(pair, padding=padded("right")))
    assert bundle.pad_id == 0
    assert any("padding id 0, as the tokenizer pads ([PAD])" in line for line in lines)


def test_a_padding_id_that_nothing_names(pair: Pair, imported: Import) -> None:
    with pytest.raises(
        ImportModelError, match=r"state --pad-id ID\. Its special tokens: \[NUL\] 0, \[UNK\] 1, \[CLS\] 2"
    ):
        imported(without_pad(pair))
    with pytest.raises(
        ImportModelError, match=f"the padding id {ROWS} is none of the {ROWS} that the text encoder knows"
    ):
        imported(pair, pad_id=ROWS)
    assert imported(pair, pad_id=0)[0].pad_id == 0


def test_a_padding_id_of_a_word_makes_no_mask(pair: Pair, imported: Import) -> None:
    with pytest.raises(
        ImportModelError, match="the padding id 4 stands inside texts, too, so that attention_mask cannot"
    ):
        imported(pair.but(text=Text(mask=TensorProto.INT64)), pad_id=4)


def test_a_context_length_that_nothing_names(pair: Pair, imported: Import) -> None:
    with pytest.raises(
        ImportModelError, match=r"is said by neither .*text\.onnx nor .*tokenizer\.json; state --context"
    ):
        imported(with_tokenizer(pair, truncation=None))
    bundle, lines = imported(pair, context_length=12)
    assert bundle.context_length == 12
    assert any("context length 12, as stated" in line for line in lines)


def test_a_context_into_which_no_prompt_fits(pair: Pair, imported: Import) -> None:
    with pytest.raises(TokenizerError, match="has 4 tokens, the model reads 3"):
        imported(pair, context_length=3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a tokenizer"),
        (b"{}", "is not a tokenizer"),
        (b"\xff\xfe{", "is not a tokenizer"),
        (json.dumps({"version": "1.0", "model": {"type": "WordLevel", "vocab": {}}}).encode(), "not a tokenizer"),
        (tokenizers.Tokenizer(tokenizers.models.WordLevel({}, "[UNK]")).to_str().encode(), "knows no words"),
        (tokenizers.Tokenizer(tokenizers.models.BPE({"é": 0}, [])).to_str().encode(), "makes no tokens of ordinary"),
    ],
)  # fmt: skip
def test_files_that_are_no_tokenizers(content: bytes, message: str, pair: Pair, imported: Import) -> None:
    pair.tokenizer_file.write_bytes(content)
    with pytest.raises(ImportModelError, match=message):
        imported(pair, pad_id=0, context_length=8)


def test_a_table_that_is_far_larger_is_said(pair: Pair, imported: Import) -> None:
    _, lines = imported(pair.but(text=Text(rows=400)))
    assert any("table 400 rows; that is far more: make sure that they belong together" in line for line in lines)


def test_the_example_of_the_messages_is_what_clip_does(tmp_path: Path) -> None:
    path = tmp_path / "steps.json"
    path.write_text(EXAMPLE, encoding="utf-8")
    steps = read_steps(path)
    assert steps.preprocess.image_size == (224, 224)
    film = draw(0, (300, 260)).to_uint8()
    np.testing.assert_array_equal(steps.preprocess(film), Preprocess(json.loads(EXAMPLE), (224, 224))(film))


def test_the_steps_of_a_model_json_are_taken(pair: Pair, imported: Import) -> None:
    pair.write_steps({"name": "other", "preprocess": STEPS})
    assert [dict(step) for step in imported(pair)[0].preprocess] == STEPS


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("[", "is not valid JSON"),
        ({}, "must be a list of objects"),
        ([1], "must be a list of objects"),
        ([{"step": ["resize"]}], "must be a list of objects"),
        ([], "has no step 'rescale'"),
        ([{"step": "rezise"}], "'rezise' is unknown, repeated or out of order"),
        ([{"step": "rescale", "factor": "1/255"}], "factor must be a number"),
        ([{"step": "resize", "height": 16, "width": 16, "interpolation": []}, STEPS[1]], r"unknown interpolation \[\]"),
        ([{"step": "resize", "height": 16, "width": 99999, "interpolation": "bicubic"}, STEPS[1]], "from 1 to 4096"),
        ([STEPS[1]], "pictures of several sizes; end its geometry with a crop or a square"),
        (
            [{"step": "resize_shortest", "size": 16, "interpolation": "bicubic"}, STEPS[1]],
            "pictures of several sizes; end its geometry",
        ),
    ],
)
def test_steps_that_are_none_are_refused_with_an_example(
    steps: Any, message: str, pair: Pair, imported: Import
) -> None:
    pair.steps_file.write_text(steps if isinstance(steps, str) else json.dumps(steps), encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as raised:
        imported(pair)
    assert str(raised.value).startswith(str(pair.steps_file))
    assert EXAMPLE in str(raised.value)


def test_a_square_resized_as_numbers_is_a_size(tmp_path: Path) -> None:
    path = tmp_path / "steps.json"
    steps = [
        {"step": "resize_longest", "size": 40, "interpolation": "bilinear"},
        {"step": "pad_to_square", "size": 40, "fill": 0},
        {"step": "rescale", "factor": 1},
        {"step": "resize_tensor", "size": 24, "interpolation": "bicubic", "antialias": False},
    ]
    path.write_text(json.dumps(steps), encoding="utf-8")
    assert read_steps(path).preprocess.image_size == (24, 24)


def test_one_channel_needs_equal_ones(pair: Pair, imported: Import) -> None:
    pair.but(image=Image(channels=1)).write_steps([*STEPS[:2], STEPS[2] | {"mean": [0.5, 0.4, 0.3]}])
    with pytest.raises(ImportModelError, match="pictures of one channel, the preprocessing gives three that differ"):
        imported(pair)


FILES = {"onnx": (Path("i"), Path("t"), Path("k")), "preprocess": Path("s")}
PAIR = FILES | {"score": "softmax_pair", "scale": 100.0}


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"score": "sigmoid"}, "--score goes with --onnx only"),
        ({"context_length": 77}, "--context-length goes with --onnx only"),
        ({"onnx": FILES["onnx"]}, r"--onnx needs --preprocess STEPS"),
        (FILES, "--onnx needs --score and --scale: --score softmax_pair"),
        (FILES | {"score": "sigmoid"}, "--onnx needs --score and --scale"),
        (PAIR | {"scale": 0.0}, "--scale must be a number above 0, not 0.0"),
        (PAIR | {"scale": float("inf")}, "--scale must be a number above 0"),
        (PAIR | {"scale": float("nan")}, "--scale must be a number above 0"),
        (PAIR | {"bias": 1.0}, "--bias goes with --score sigmoid"),
        (PAIR | {"score": "sigmoid"}, "--score sigmoid needs --bias B"),
        (PAIR | {"score": "sigmoid", "bias": float("nan")}, "--score sigmoid needs --bias B"),
        (PAIR | {"negative": ("none",)}, "the sentence 'none' has no {}"),
    ],
)
def test_what_is_stated_must_go_together(stated: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        own_encoders(stated)


def test_what_is_stated_is_taken() -> None:
    own = own_encoders(PAIR | {"positive": ("a film with {}", "{} is seen"), "pad_id": 0})
    assert own is not None
    assert (own.scoring.rule, own.scoring.scale, own.scoring.bias) == ("softmax_pair", 100.0, 0.0)
    assert (own.templates.positive, own.templates.negative) == (("a film with {}", "{} is seen"), ("no {}",))
    assert (own.image, own.tokenizer, own.steps, own.pad_id) == (Path("i"), Path("k"), Path("s"), 0)
    assert own_encoders({}) is None


def test_every_step_is_in_the_documents() -> None:
    text = (REPO / "docs" / "models.md").read_text(encoding="utf-8")
    for name in (*STEPS_OF_GEOMETRY, *STEPS_OF_VALUES, "rescale"):
        assert f"\n| `{name}` |" in text
