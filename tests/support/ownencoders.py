"""A user's own encoders, tiny: written node by node, in every form that an exporter may give them; needs onnx."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tokenizers
from onnx import NodeProto, TensorProto, helper, numpy_helper

SIDE, WIDTH, CONTEXT = 16, 8, 16
STEPS: list[dict[str, Any]] = [
    {"step": "resize", "height": SIDE, "width": SIDE, "interpolation": "bicubic"},
    {"step": "rescale", "factor": 1 / 255},
    {"step": "normalize", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
]
WORDS = (
    "pneumonia", "pleural", "effusion", "enlarged", "heart", "no", "there", "is", "a", "small", "left", "apical",
    "pneumothorax", ".", "the", "cardiac", "silhouette", "normal", "in", "size", "edema",
)  # fmt: skip
ROWS = len(WORDS) + 4
IR_VERSION, OPSET = 8, 17


@dataclass(frozen=True)
class Image:
    """How an image encoder was exported."""

    name: str = "x"
    output: str = "y"
    dtype: int = TensorProto.FLOAT
    batch: int | str = "N"
    size: tuple[int | str, int | str] = (SIDE, SIDE)
    pool: int = SIDE // 4
    channels: int = 3
    channels_last: bool = False
    normalised: bool = True
    opset: int = OPSET
    extra: Sequence[NodeProto] = ()
    after: Sequence[NodeProto] = ()
    width: int = WIDTH
    weights: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)

    def model(self) -> onnx.ModelProto:
        """A projection of the picture pooled to 4 × 4; `extra` turns "flat_0" into "flat", `after` adds nodes."""
        random = np.random.default_rng(0)
        numbers = helper.tensor_dtype_to_np_dtype(self.dtype)
        weights = {"w": random.normal(size=(self.channels * 16, self.width)).astype(numbers)} | self.weights
        picture = [helper.make_node("Transpose", [self.name], ["picture"], perm=[0, 3, 1, 2])]
        given = "picture" if self.channels_last else self.name
        nodes = [
            *picture * self.channels_last,
            helper.make_node("AveragePool", [given], ["pooled"], kernel_shape=[self.pool] * 2, strides=[self.pool] * 2),
            helper.make_node("Flatten", ["pooled"], ["flat_0"]),
            *(self.extra or [helper.make_node("Identity", ["flat_0"], ["flat"])]),
            helper.make_node("MatMul", ["flat", "w"], ["projected"]),
            helper.make_node(**_last(self.normalised), inputs=["projected"], outputs=[self.output]),
            *self.after,
        ]
        shape = [self.batch, self.channels, *self.size]
        if self.channels_last:
            shape = [self.batch, *self.size, self.channels]
        return _model(
            nodes, weights, [(self.name, self.dtype, shape)], (self.output, self.dtype, self.width), self.opset
        )


@dataclass(frozen=True)
class Text:
    """How a text encoder was exported."""

    name: str = "ids"
    output: str = "z"
    dtype: int = TensorProto.INT64
    batch: int | str = "N"
    length: int | str = "L"
    mask: int | None = None
    kinds: int | None = None
    normalised: bool = True
    rows: int = ROWS
    width: int = WIDTH
    more: tuple[str, ...] = ()

    def model(self) -> onnx.ModelProto:
        """The mean of the tokens' random vectors where the mask is 1 (else where the id is not 0), projected."""
        random = np.random.default_rng(1)
        weights: dict[str, Any] = {
            "table": random.normal(size=(self.rows, 12)).astype(np.float32),
            "kind": random.normal(size=(2, 12)).astype(np.float32),
            "w": random.normal(size=(12, self.width)).astype(np.float32),
            "axes": np.array([1], np.int64),
            "last": np.array([2], np.int64),
            "zero": np.array(0, np.int64 if self.dtype == TensorProto.INT64 else np.int32),
        }
        shape = [self.batch, self.length]
        inputs = [(self.name, self.dtype, shape)]
        nodes = [helper.make_node("Gather", ["table", self.name], ["tokens_0"])]
        if self.mask is not None:
            inputs.append(("attention_mask", self.mask, shape))
            nodes.append(helper.make_node("Cast", ["attention_mask"], ["is_token"], to=TensorProto.FLOAT))
        else:
            nodes.append(helper.make_node("Equal", [self.name, "zero"], ["is_padding"]))
            nodes.append(helper.make_node("Not", ["is_padding"], ["is_word"]))
            nodes.append(helper.make_node("Cast", ["is_word"], ["is_token"], to=TensorProto.FLOAT))
        if self.kinds is not None:
            inputs.append(("token_type_ids", self.kinds, shape))
            nodes.append(helper.make_node("Cast", ["token_type_ids"], ["kind_ids"], to=TensorProto.INT64))
            nodes.append(helper.make_node("Gather", ["kind", "kind_ids"], ["of_kind"]))
            nodes.append(helper.make_node("Add", ["tokens_0", "of_kind"], ["tokens"]))
        else:
            nodes.append(helper.make_node("Identity", ["tokens_0"], ["tokens"]))
        inputs += [(name, TensorProto.INT64, shape) for name in self.more]
        nodes += [
            helper.make_node("Unsqueeze", ["is_token", "last"], ["weights"]),
            helper.make_node("Mul", ["tokens", "weights"], ["words"]),
            helper.make_node("ReduceSum", ["words", "axes"], ["total"], keepdims=0),
            helper.make_node("ReduceSum", ["weights", "axes"], ["count"], keepdims=0),
            helper.make_node("Div", ["total", "count"], ["mean"]),
            *(helper.make_node("Add", ["mean", name], [f"with_{name}"]) for name in self.more),
            helper.make_node("MatMul", ["mean", "w"], ["projected_0"]),
            helper.make_node("Tanh", ["projected_0"], ["projected"]),
            helper.make_node(**_last(self.normalised), inputs=["projected"], outputs=[self.output]),
        ]
        return _model(nodes, weights, inputs, (self.output, TensorProto.FLOAT, self.width), OPSET)


@dataclass(frozen=True)
class Pair:
    """Files of a folder, as --onnx takes them."""

    folder: Path
    image: Image = Image()
    text: Text = Text()

    def write(self) -> Pair:
        self.folder.mkdir(parents=True, exist_ok=True)
        onnx.save(self.image.model(), self.image_file)
        onnx.save(self.text.model(), self.text_file)
        self.tokenizer_file.write_text(word_tokenizer().to_str(), encoding="utf-8")
        self.write_steps(STEPS)
        return self

    def write_steps(self, steps: Any) -> None:
        self.steps_file.write_text(json.dumps(steps), encoding="utf-8")

    def but(self, **changes: Any) -> Pair:
        return replace(self, **changes).write()

    @property
    def image_file(self) -> Path:
        return self.folder / "image.onnx"

    @property
    def text_file(self) -> Path:
        return self.folder / "text.onnx"

    @property
    def tokenizer_file(self) -> Path:
        return self.folder / "tokenizer.json"

    @property
    def steps_file(self) -> Path:
        return self.folder / "steps.json"


def word_tokenizer(end: str = "[SEP]") -> tokenizers.Tokenizer:
    """Words, with [CLS] before and `end` behind; padding as BERT's has it, cut off after CONTEXT tokens."""
    vocabulary = {name: number for number, name in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"[CLS] $A {end}", special_tokens=[("[CLS]", 2), (end, vocabulary[end])]
    )
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    made.enable_truncation(CONTEXT)
    return made


def _last(normalised: bool) -> dict[str, Any]:
    return {"op_type": "LpNormalization", "axis": 1, "p": 2} if normalised else {"op_type": "Identity"}


def _model(
    nodes: Sequence[NodeProto], weights: dict[str, Any], inputs: Any, output: Any, opset: int
) -> onnx.ModelProto:
    name, dtype, width = output
    graph = helper.make_graph(
        nodes,
        "own",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(name, dtype, [inputs[0][2][0], width])],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)
