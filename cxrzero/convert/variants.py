"""The image encoder of a bundle in faster precisions, each with how far it was measured to be from fp32."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from cxrzero.backends import Encoder, open_encoder
from cxrzero.backends.base import IMAGE
from cxrzero.backends.open import check_bf16
from cxrzero.backends.precision import check_variants, is_small
from cxrzero.backends.processor import instruction_sets
from cxrzero.convert.graphs import MAX_INSIDE
from cxrzero.convert.labels import LABELS
from cxrzero.errors import ConfigError, ImportModelError
from cxrzero.files import write_json, write_whole
from cxrzero.maths import Floats
from cxrzero.member import Member
from cxrzero.model.bundle import Bundle, load_bundle
from cxrzero.model.model_json import IMAGE_ENCODER, MODEL_JSON, TOKENIZER, Deviation, MeasuredOn, Variant
from cxrzero.model.preprocess import Preprocess
from cxrzero.model.tokenizer import Tokenizer
from cxrzero.model.weights import map_tensors, stored_tensors
from cxrzero.phantom import draw, sample_findings
from cxrzero.prompts import build_prompts
from cxrzero.stats.metrics import rank_correlation

# Films drawn to choose the ranges of int8, and others to measure on; each with findings of its own.
CALIBRATION_FILMS, TEST_FILMS = 48, 96
FILM_SIDE = 512  # pixels
FIRST_TEST_SEED = 10_000
BATCH = 16

# Stay in float32 beside the arithmetic of fp16, where sums over many values lose digits.
FP32_OPERATORS = ("LayerNormalization", "ReduceL2", "Softmax")
# What int8 is worth: the products; everything between stays float32.
INT8_OPERATORS = ("Conv", "Gemm", "MatMul")


def add_variants(folder: Path, precisions: Sequence[str]) -> tuple[str, ...]:
    """Put the image encoder in other precisions beside the fp32 one and state each one's deviation in model.json.

    "fp16" and "int8" (static: ranges chosen beforehand, so that an image's result does not depend on its batch) are
    files; "bf16" is computed by a backend from the fp32 file and only measured.

    Args:
        folder: a bundle that nobody uses yet.
        precisions: of `cxrzero.model.model_json.VARIANTS`.

    Returns:
        What was measured, line by line, for the user.

    Raises:
        UsageError: an unknown precision.
        ConfigError: bf16, and this processor does not compute it; or the model scores by attention.
        ImportModelError: the encoder cannot be converted, or gives something that is no embedding.
    """
    check_variants(precisions)
    bundle = load_bundle(folder)
    _refuse_scorer(bundle)
    _refuse_large(bundle, precisions)
    if "bf16" in precisions:  # after what no processor would change
        check_bf16()
    films = list(_films(Preprocess(bundle.preprocess, bundle.image_size), FIRST_TEST_SEED, TEST_FILMS))
    # fp32 is what deviations are from: of one backend, whichever else is installed.
    exact = _differences(bundle, open_encoder(bundle, "onnxruntime", "cpu"), films)
    entries: dict[str, Any] = dict(bundle.card.get("variants", {}))
    files: dict[str, Any] = dict(bundle.card["files"])
    lines = []
    for precision in dict.fromkeys(precisions):
        name, described = _write(bundle, precision)
        files |= described
        made = replace(
            bundle,
            variants={precision: Variant(name, None)},
            files={key: entry["sha256"] for key, entry in files.items()},
        )
        encoder = open_encoder(made, "auto", "cpu", precision)  # type: ignore[arg-type]
        where = MeasuredOn(encoder.backend, instruction_sets())
        deviation = measure(exact, _differences(made, encoder, films), precision, where)
        entries[precision] = ({"image_encoder": name} if name else {}) | {"deviation": asdict(deviation)}
        lines.append(_line(precision, deviation))
    card = dict(bundle.card) | {"files": files, "variants": entries}
    write_json(folder / MODEL_JSON, card)
    load_bundle(folder)
    return tuple(lines)


def add_unmeasured(folder: Path, precision: str) -> None:
    """Put the image encoder in "fp16" or "int8" beside the fp32 one; `auto` does not take what nobody measured.

    For whoever measures it elsewhere: on another device, or with films of their own.

    Raises:
        UsageError, ImportModelError: as `add_variants` does.
    """
    check_variants([precision])
    bundle = load_bundle(folder)
    _refuse_scorer(bundle)
    _refuse_large(bundle, [precision])
    name, described = _write(bundle, precision)
    files, entries = bundle.card["files"] | described, bundle.card.get("variants", {})
    entry = {"image_encoder": name, "deviation": None} if name else {"deviation": None}
    write_json(folder / MODEL_JSON, dict(bundle.card) | {"files": files, "variants": entries | {precision: entry}})
    load_bundle(folder)


def _refuse_scorer(bundle: Bundle) -> None:
    if bundle.has_scorer:
        raise ConfigError(
            f"{bundle.name} scores by attention, and other precisions are measured on cosines: leave --variants out"
        )


def _refuse_large(bundle: Bundle, precisions: Sequence[str]) -> None:
    """A file is made by way of the fp32 encoder as one ONNX file."""
    size = sum(4 * math.prod(tensor.shape) for tensor in stored_tensors(bundle.file(IMAGE_ENCODER)))
    made = [precision for precision in dict.fromkeys(precisions) if MAKERS[precision] is not None]
    if made and size > MAX_INSIDE:
        raise ImportModelError(
            f"the image encoder of {bundle.name} has {size / 1e9:.1f} GB of numbers in fp32, and one ONNX file, by way "
            f"of which another precision is made, holds 2 GiB: leave {', '.join(made)} out of --variants"
        )


def _write(bundle: Bundle, precision: str) -> tuple[str | None, dict[str, Any]]:
    """Write a precision's file: its name, and what `files` of model.json says of it; None and nothing without one."""
    make = MAKERS[precision]
    if make is None:
        return None, {}
    name, data = f"image_encoder.{precision}.onnx", make(bundle)
    write_whole(bundle.file(name), data)
    return name, {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}}


def measure(exact: Floats, other: Floats, precision: str, where: MeasuredOn | None = None) -> Deviation:
    """Compare d = cos⁺ − cos⁻ of the same films.

    Args:
        exact, other: (N films, L labels).
    """
    spread = np.maximum(exact.std(axis=0), np.finfo(np.float32).tiny)
    largest = (np.abs(other - exact).max(axis=0) / spread).max()
    spearman = min(rank_correlation(*columns) for columns in zip(exact.T, other.T, strict=True))
    command = f"cxrzero models import SOURCE --variants {precision}"
    return Deviation(round(float(largest), 5), round(spearman, 6), len(exact), command, where)


def _line(precision: str, found: Deviation) -> str:
    bound = "within the bound of --precision auto" if is_small(found) else "beyond the bound, so auto does not take it"
    backend = f" with {found.measured_on.backend}" if found.measured_on else ""
    return (
        f"{precision}: max |Δd| {found.max_abs_d_over_sd:.2%} of d's standard deviation, Spearman at least "
        f"{found.spearman:.4f} over {found.n} drawn films{backend}; {bound}"
    )


def _differences(bundle: Bundle, encoder: Encoder, films: Sequence[npt.NDArray[np.float32]]) -> Floats:
    """(TEST_FILMS, L) d of batches of films for the bundle's own labels; CheXpert's where it has none."""
    preprocess = Preprocess(bundle.preprocess, bundle.image_size)
    tokenizer = Tokenizer(bundle.file(TOKENIZER), bundle.context_length, bundle.pad_id)
    member = Member(bundle, tokenizer, preprocess, encoder, None)
    scores = member.classifier(build_prompts(bundle.labels or LABELS, bundle.templates))
    found = scores(np.concatenate([encoder.encode_images(batch) for batch in films]))
    assert found.cos_pos is not None
    assert found.cos_neg is not None
    difference = found.cos_pos.astype(np.float64) - found.cos_neg
    if not np.isfinite(difference).all():
        raise ImportModelError(f"{encoder.precision}: the encoder gives numbers that are not finite")
    return difference


def _films(preprocess: Preprocess, seed: int, count: int) -> Iterator[npt.NDArray[np.float32]]:
    """Batches (n, 3, H, W) of drawn films as the encoder sees them."""
    for first in range(seed, seed + count, BATCH):
        seeds = range(first, min(first + BATCH, seed + count))
        films = [draw(each, FILM_SIDE, sample_findings(np.random.default_rng(each))) for each in seeds]
        yield np.stack([preprocess(film.to_uint8()) for film in films])


def _to_fp16(bundle: Bundle) -> bytes:
    """Weights and arithmetic in half precision, inputs and outputs in float32."""
    with tempfile.TemporaryDirectory() as work:
        model = onnx.load(_plain(bundle, Path(work)))
        kept = [*DEFAULT_OP_BLOCK_LIST, *FP32_OPERATORS]
        half = convert_float_to_float16(model, keep_io_types=True, op_block_list=kept)
        _drop_repeated(half.graph)
        return bytes(half.SerializeToString())


def _drop_repeated(graph: onnx.GraphProto) -> None:
    """The converter widens a weight once for every operator that shares it, each time under the same name."""
    made: set[str] = set()
    kept = []
    for node in graph.node:
        if node.output[0] not in made:
            kept.append(node)
            made.update(node.output)
    del graph.node[:]
    graph.node.extend(kept)


def _to_int8(bundle: Bundle) -> bytes:
    """Weights in 8 bits by channel, activations in 8 bits with ranges seen on drawn films."""
    with tempfile.TemporaryDirectory() as work:
        plain, quantised = _plain(bundle, Path(work)), Path(work) / "int8.onnx"
        quantize_static(
            str(plain),
            str(quantised),
            _Calibration(Preprocess(bundle.preprocess, bundle.image_size)),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(INT8_OPERATORS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return quantised.read_bytes()


def _plain(bundle: Bundle, work: Path) -> Path:
    """The fp32 encoder with its constants folded: weights stored as float16 become weights again."""
    whole, plain = work / "whole.onnx", work / "plain.onnx"
    try:
        onnx.save(_with_weights(bundle.file(IMAGE_ENCODER)), whole)
        quant_pre_process(str(whole), str(plain), skip_symbolic_shape=True)
    except Exception as error:  # ONNX Runtime raises what its optimiser raises, of many kinds
        raise ImportModelError(f"the image encoder cannot be prepared for another precision: {error}") from error
    return plain


def _with_weights(graph: Path) -> onnx.ModelProto:
    """The graph with its weights in it: a variant's file holds all its numbers itself."""
    model = onnx.load(graph, load_external_data=False)
    stored = map_tensors(graph)
    for tensor in model.graph.initializer:
        if tensor.name in stored:
            tensor.CopyFrom(numpy_helper.from_array(stored[tensor.name], tensor.name))
    return model


class _Calibration(CalibrationDataReader):
    """Hands out batches of one film."""

    def __init__(self, preprocess: Preprocess) -> None:
        self._films = (film[None] for batch in _films(preprocess, 0, CALIBRATION_FILMS) for film in batch)

    def get_next(self) -> dict[str, Any] | None:
        film = next(self._films, None)
        return None if film is None else {IMAGE.input: film}


# Precision → how its file is made; None where there is no file.
MAKERS: dict[str, Callable[[Bundle], bytes] | None] = {"fp16": _to_fp16, "bf16": None, "int8": _to_int8}
