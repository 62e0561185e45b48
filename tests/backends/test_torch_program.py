"""Programs of the torch backend: graphs for one shape, what is put together in them, half precision."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.needs import modules

modules("onnx", "open_clip", "torch")

import onnxruntime  # noqa: E402
import open_clip  # noqa: E402
import torch  # noqa: E402

from cxrzero.backends.torch.fuse import cut_patches  # noqa: E402
from cxrzero.backends.torch.graph import TorchGraph  # noqa: E402
from cxrzero.backends.torch.half import halve  # noqa: E402
from cxrzero.backends.torch.layout import Layout  # noqa: E402
from cxrzero.backends.torch.program import Kind, Program, UnfixedError, clean, specialise  # noqa: E402
from cxrzero.backends.torch.tower import program  # noqa: E402
from cxrzero.backends.torch.values import on_device  # noqa: E402
from cxrzero.errors import BundleError  # noqa: E402
from cxrzero.model.values import ValueSteps  # noqa: E402
from tests.support.bundle import SIDE, WIDTH  # noqa: E402
from tests.support.onnxfile import FLOAT, INT64, model, node, value  # noqa: E402

LAYERS, PATCH = 2, 4
PIXELS = Kind((3, 3, SIDE, SIDE), torch.float32)
SHORT = {torch.float16: 1e-3, torch.bfloat16: 1e-2}  # how far an embedding of length 1 may be from fp32


def exported(folder: Path, *, quick_gelu: bool) -> TorchGraph:
    """A small random ViT of open_clip, without dimensions that a model's name could tell."""
    torch.manual_seed(0)
    vision = {"image_size": SIDE, "layers": LAYERS, "width": 128, "head_width": 32, "patch_size": PATCH}
    text = {"context_length": 8, "vocab_size": 16, "width": 64, "heads": 2, "layers": 1}
    whole = open_clip.CLIP(embed_dim=WIDTH, vision_cfg=vision, text_cfg=text, quick_gelu=quick_gelu).eval()
    path = folder / "image_encoder.onnx"
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                whole.visual,
                (torch.rand(2, 3, SIDE, SIDE),),
                path,
                input_names=["pixel_values"],
                output_names=["image_embeds"],
                dynamic_axes={"pixel_values": {0: "N"}, "image_embeds": {0: "N"}},
                opset_version=17,
                dynamo=False,
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return TorchGraph(path, "image_embeds")


@pytest.fixture(scope="module", params=[True, False], ids=["QuickGELU", "GELU"])
def graph(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TorchGraph:
    return exported(tmp_path_factory.mktemp("vit"), quick_gelu=request.param)


def pixels(seed: int = 0) -> torch.Tensor:
    return torch.randn(PIXELS.shape, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def run(found: Program, given: torch.Tensor) -> torch.Tensor:
    return found(given)


def operators(found: Program) -> Counter[str]:
    return Counter(step.operator for step in found.steps)


def test_a_program_is_the_graph_to_the_last_bit(graph: TorchGraph) -> None:
    found = specialise(graph, "pixel_values", PIXELS)
    clean(found)
    assert len(found.steps) < len(graph.steps) / 2
    assert torch.equal(run(found.ready("cpu"), pixels()), graph("pixel_values", pixels()))


def test_a_convolution_into_patches_is_a_product_that_agrees(graph: TorchGraph) -> None:
    found = specialise(graph, "pixel_values", PIXELS)
    cut_patches(found)
    assert operators(found)["Patches"] == 1
    assert operators(found)["Conv"] == 0
    torch.testing.assert_close(run(found.ready("cpu"), pixels()), graph("pixel_values", pixels()), atol=1e-5, rtol=1e-5)


def test_patches_lie_as_the_weights_of_a_convolution_do(tmp_path: Path) -> None:
    """Against torch's convolution: sides that differ, a bias, whole numbers that float32 sums exactly."""
    rng = np.random.default_rng(0)
    weights = {
        "weight": rng.integers(-4, 5, (5, 3, 2, 4)).astype(np.float32),
        "bias": rng.integers(-4, 5, 5).astype(np.float32),
    }
    conv = node("Conv", ["x", "weight", "bias"], ["y"], kernel_shape=[2, 4], strides=[2, 4])
    file = model([conv], weights, value("x", FLOAT, ["N", 3, 6, 8]), value("y", FLOAT, ["N", 5, 3, 2]))
    (tmp_path / "conv.onnx").write_bytes(file)
    found = specialise(TorchGraph(tmp_path / "conv.onnx", "y"), "x", Kind((2, 3, 6, 8), torch.float32))
    cut_patches(found)
    x = torch.from_numpy(rng.integers(0, 9, (2, 3, 6, 8)).astype(np.float32))
    right = torch.nn.functional.conv2d(x, *map(torch.from_numpy, weights.values()), stride=(2, 4))
    assert torch.equal(run(found.ready("cpu"), x), right)


@pytest.mark.parametrize(
    "attributes",
    [{"strides": [2, 2]}, {"pads": [0, 0, 1, 1]}, {"strides": [2, 4], "dilations": [1, 2]}],
    ids=["overlap", "padding", "dilation"],
)
def test_other_convolutions_stay_what_they_are(tmp_path: Path, attributes: dict[str, list[int]]) -> None:
    conv = node("Conv", ["x", "w"], ["y"], **{"kernel_shape": [2, 4], "strides": [2, 4], **attributes})
    given, made = value("x", FLOAT, ["N", 1, 8, 16]), value("y", FLOAT, ["N", 1, "h", "w"])
    (tmp_path / "conv.onnx").write_bytes(model([conv], {"w": np.ones((1, 1, 2, 4), np.float32)}, given, made))
    found = specialise(TorchGraph(tmp_path / "conv.onnx", "y"), "x", Kind((1, 1, 8, 16), torch.float32))
    cut_patches(found)
    assert operators(found) == {"Conv": 1}


@pytest.mark.parametrize("dtype", SHORT)
def test_half_precision_finds_every_pattern_and_stays_near(graph: TorchGraph, dtype: torch.dtype) -> None:
    found = halve(specialise(graph, "pixel_values", PIXELS), dtype)
    count = operators(found)
    assert count["Attention"] == LAYERS
    assert count["Silu"] + count["Gelu"] == LAYERS
    assert count["Linear"] == 1 + 4 * LAYERS + 1 - (count["MatMul"] + count["Gemm"])
    assert count["Softmax"] == count["Sigmoid"] == count["Erf"] == count["MatMul"] == 0
    # Queries, keys and values are seen where the product wrote them.
    attention = [step for step in found.steps if step.operator == "Attention"]
    assert {found.makers()[name].operator for step in attention for name in step.inputs} == {"View"}
    exact = torch.nn.functional.normalize(graph("pixel_values", pixels()), dim=-1)
    half = run(found.ready("cpu"), pixels())
    assert half.dtype == torch.float32
    torch.testing.assert_close(torch.nn.functional.normalize(half, dim=-1), exact, atol=SHORT[dtype], rtol=0)


@torch.inference_mode()
def types_of(found: Program, given: torch.Tensor) -> dict[str, set[torch.dtype]]:
    """Operator → types of what it makes; a sum of two values that are computed is a "Sum"."""
    kinds: dict[str, set[torch.dtype]] = {}
    values: dict[str, Any] = {found.input: given, "": None}
    for step in found.steps:
        inputs = [values[name] if name in values else found.constants[name] for name in step.inputs]
        result = step.function(step.attributes, *inputs)
        values.update(zip(step.outputs, result if isinstance(result, list) else [result], strict=False))
        label = "Sum" if step.operator == "Add" and not set(step.inputs) & set(found.constants) else step.operator
        kinds.setdefault(label, set()).add(values[step.outputs[0]].dtype)
    return kinds


def test_sums_of_two_branches_and_norms_are_fp32(graph: TorchGraph) -> None:
    found = halve(specialise(graph, "pixel_values", PIXELS), torch.float16).ready("cpu")
    kinds = types_of(found, pixels())
    assert kinds["Sum"] == kinds["LayerNormalization"] == {torch.float32}
    assert kinds["Linear"] == kinds["Attention"] == {torch.float16}


def test_a_program_is_traced_whole(graph: TorchGraph) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        found = program(graph, "pixel_values", PIXELS, dtype).ready("cpu")
        torch.compiler.reset()
        traced = torch.compile(found, fullgraph=True, backend="eager")
        assert torch.equal(traced(pixels()), run(found, pixels()))


def test_memory_is_freed_on_the_way(graph: TorchGraph) -> None:
    """No more lives at once than the widest step of a block needs: the activations of the other block are gone."""
    found = specialise(graph, "pixel_values", PIXELS).ready("cpu")
    living, most = {found.input}, 0
    for step, spent in zip(found.steps, found._spent, strict=True):
        living = (living | set(step.outputs)) - set(spent)
        most = max(most, len(living))
    assert living == {found.output}
    assert most <= 8


def test_a_graph_that_asks_numbers_for_its_shape_has_no_program(tmp_path: Path) -> None:
    nodes = [
        node("ArgMax", ["x"], ["longest"], axis=0, keepdims=1),
        node("Expand", ["one", "longest"], ["y"]),
    ]
    file = model(nodes, {"one": np.ones(1, np.float32)}, value("x", INT64, [3]), value("y", FLOAT, ["n"]))
    (tmp_path / "graph.onnx").write_bytes(file)
    graph = TorchGraph(tmp_path / "graph.onnx", "y")
    assert graph("x", torch.tensor([1, 5, 9])).tolist() == [1, 1]
    with pytest.raises(UnfixedError, match=r"^Expand reads numbers that only a run knows$"):
        specialise(graph, "x", Kind((3,), torch.int64))


def test_a_softmax_along_another_axis_is_no_attention(tmp_path: Path) -> None:
    for axis, expected in ((3, 1), (2, 0)):
        nodes = [
            node("Transpose", ["x"], ["keys"], perm=[0, 1, 3, 2]),
            node("MatMul", ["x", "keys"], ["scores"]),
            node("Softmax", ["scores"], ["shares"], axis=axis),
            node("MatMul", ["shares", "x"], ["y"]),
        ]
        kind: list[int | str] = ["N", 2, 5, 8]
        (tmp_path / f"{axis}.onnx").write_bytes(model(nodes, {}, value("x", FLOAT, kind), value("y", FLOAT, kind)))
        graph = TorchGraph(tmp_path / f"{axis}.onnx", "y")
        x = torch.randn((3, 2, 5, 8), generator=torch.Generator().manual_seed(0))
        found = halve(specialise(graph, "x", Kind((3, 2, 5, 8), torch.float32)), torch.float16)
        assert operators(found)["Attention"] == expected
        torch.testing.assert_close(run(found.ready("cpu"), x), graph("x", x), atol=5e-3, rtol=5e-3)


def test_a_value_that_others_need_is_not_swallowed(tmp_path: Path) -> None:
    """The activation before a QuickGELU is also the output: its matrix may not take the factor."""
    rng = np.random.default_rng(0)
    stored = {
        "first": rng.normal(size=(8, 8)).astype(np.float32),
        "second": rng.normal(size=(8, 8)).astype(np.float32),
        "c": np.array(1.702, np.float32),
    }
    nodes = [
        node("MatMul", ["x", "first"], ["wide"]),
        node("Mul", ["wide", "c"], ["scaled"]),
        node("Sigmoid", ["scaled"], ["gate"]),
        node("Mul", ["wide", "gate"], ["active"]),
        node("MatMul", ["active", "second"], ["narrow"]),
        node("Add", ["narrow", "wide"], ["y"]),
    ]
    (tmp_path / "g.onnx").write_bytes(model(nodes, stored, value("x", FLOAT, ["N", 8]), value("y", FLOAT, ["N", 8])))
    graph = TorchGraph(tmp_path / "g.onnx", "y")
    x = torch.randn((3, 8), generator=torch.Generator().manual_seed(0))
    found = halve(specialise(graph, "x", Kind((3, 8), torch.float32)), torch.float16).ready("cpu")
    torch.testing.assert_close(run(found, x), graph("x", x), atol=2e-2, rtol=1e-2)
    # Both branches come out of products in half precision; their sum does not.
    assert types_of(found, x)["Sum"] == {torch.float32}


def test_a_layout_says_where_moves_take_every_element() -> None:
    """Against torch, which moves the elements: random chains of reshapes, transposes and slices."""
    rng = np.random.default_rng(0)
    views = 0
    for _ in range(300):
        shape = tuple(int(size) for size in rng.choice([1, 2, 3, 4, 6], rng.integers(2, 5)))
        memory = torch.arange(math.prod(shape))
        moved, layout = memory.reshape(shape), Layout.contiguous(shape)
        for kind in rng.choice(["permute", "reshape", "narrow"], rng.integers(1, 6)):
            following: Layout | None
            if kind == "permute":
                order = [int(place) for place in rng.permutation(moved.ndim)]
                moved, following = moved.permute(order), layout.permute(order)
            elif kind == "reshape":
                sizes = _reshaped(rng, tuple(moved.shape))
                moved, following = moved.reshape(sizes), layout.reshape(sizes)
            else:
                axis = int(rng.integers(moved.ndim))
                start = int(rng.integers(moved.shape[axis]))
                size = int(rng.integers(1, moved.shape[axis] - start + 1))
                moved, following = moved.narrow(axis, start, size), layout.narrow(axis, start, size)
            if following is None:
                break
            layout = following
            assert layout.shape == tuple(moved.shape)
            if (found := layout.strided()) is not None:
                assert torch.equal(memory.as_strided(*found), moved)
                views += 1
    assert views > 300


def _reshaped(rng: np.random.Generator, shape: tuple[int, ...]) -> list[int]:
    """Two neighbours joined, or an axis cut in two."""
    sizes, axis = list(shape), int(rng.integers(len(shape)))
    if rng.integers(2) and axis + 1 < len(sizes):
        sizes[axis : axis + 2] = [sizes[axis] * sizes[axis + 1]]
    else:
        divisors = [part for part in range(1, sizes[axis] + 1) if sizes[axis] % part == 0]
        part = int(rng.choice(divisors))
        sizes[axis : axis + 1] = [part, sizes[axis] // part]
    return sizes


def test_heads_out_of_a_product_are_one_view() -> None:
    """As an export moves them: (B, T, 3·H·D) → heads of the keys (B, H, T, D), over (T, B·H, D)."""
    batch, tokens, heads, width = 2, 5, 3, 4
    memory = torch.arange(batch * tokens * 3 * heads * width)
    moved: Any = memory.reshape(batch, tokens, 3 * heads * width)
    layout: Any = Layout.contiguous(moved.shape)
    moved, layout = moved.permute(1, 0, 2), layout.permute([1, 0, 2])
    moved, layout = (each.reshape((tokens, batch, 3, heads * width)) for each in (moved, layout))
    moved, layout = moved.narrow(2, 1, 1), layout.narrow(2, 1, 1)
    for sizes, order in (((tokens, batch * heads, width), [1, 0, 2]), ((batch, heads, tokens, width), [0, 1, 2, 3])):
        moved, layout = moved.reshape(sizes).permute(order), layout.reshape(sizes).permute(order)
    assert layout.strided() == ((2, 3, 5, 4), (180, 4, 36, 1), 12)
    assert torch.equal(memory.as_strided(*layout.strided()), moved)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [None, 5, 8, 13])
def test_value_steps_are_the_same_bits(channels: int, side: int | None) -> None:
    rng = np.random.default_rng(0)
    levels = rng.normal(size=(channels, 256)).astype(np.float32)
    levels[:, :2] = [[-0.0, 0.0]]
    frames = rng.choice(np.array([0, 0, 0, 1, 2, 255], np.uint8), (4, 8, 11))
    frames[3] = 0  # of which −0 is left, or 0 where products of both signs are added
    steps = ValueSteps(levels, side)
    found = on_device(steps, frames.shape[1:], "cpu")(torch.from_numpy(frames)).numpy()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.view(np.int32), steps(frames).view(np.int32))


@pytest.mark.parametrize(("side", "fits"), [(8, True), (9, False)])
@pytest.mark.parametrize("operator", ["AveragePool", "MaxPool"])
def test_pooling_that_rounds_up_is_known_where_nothing_is_rounded(
    tmp_path: Path, operator: str, side: int, fits: bool
) -> None:
    """timm's ResNet-D has it in every second stage, and sizes that two divides."""
    pooled = node(operator, ["x"], ["y"], ceil_mode=1, kernel_shape=[2, 2], strides=[2, 2])
    given, output = (value(name, FLOAT, ["N", 3, "H", "W"]) for name in "xy")
    path = tmp_path / "pool.onnx"
    path.write_bytes(model([pooled], {}, given, output))
    pixels = np.random.default_rng(0).normal(size=(2, 3, side, side)).astype(np.float32)
    graph = TorchGraph(path, "y")
    if not fits:
        with pytest.raises(BundleError, match=f"{operator} with pooling with ceil_mode is not known"):
            graph("x", torch.from_numpy(pixels))
        return
    expected = onnxruntime.InferenceSession(path).run(None, {"x": pixels})[0]
    np.testing.assert_allclose(graph("x", torch.from_numpy(pixels)).numpy(), expected, atol=1e-6)
