"""How far bf16 and fp16 are from fp32, and which part of bf16's arithmetic it comes from.

    python benchmarks/precision.py FOLDER [--films 96] [--model M]

d = cos⁺ − cos⁻ for the model's own labels, with OpenVINO, in standard deviations of d over the films; the worst label
counts. Beside bf16 and fp16 as OpenVINO computes them:

    products           only the products with weights in bf16: inputs and weights rounded before, results after
    inputs in two      the same, inputs as a sum of two bf16 numbers (16 bits of mantissa), each multiplied
    weights in two     the same, weights as such a sum
    both in two        inputs and weights, the smallest of the four products left out

Without --model it is the random ViT-B/32 of end_to_end.py.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.end_to_end import make_model
from cxrzero.backends.openvino import core
from cxrzero.backends.openvino_weights import read_model
from cxrzero.bench.machine import machine, versions
from cxrzero.images import decode
from cxrzero.model.model_json import IMAGE_ENCODER
from cxrzero.screener import Screener
from cxrzero.sources import find_images
from cxrzero.stats.metrics import rank_correlation

RANDOM = "RANDOM"
BATCH = 16

Edit = Callable[[Any], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--films", type=int, default=96)
    parser.add_argument("--model", default=RANDOM)
    args = parser.parse_args()
    print(machine(), versions())
    with tempfile.TemporaryDirectory() as work:
        if args.model == RANDOM:
            make_model(Path(work))
        screener = Screener(str(Path(work) / "bundle") if args.model == RANDOM else args.model, device="cpu")
        member = screener.member
        refs = islice(find_images([str(args.folder)]), args.films)
        films = np.stack([member.preprocess(next(decode(ref.path)).pixels) for ref in refs])
        scorer = screener.classifier(screener.prompts())
        path = member.bundle.file(IMAGE_ENCODER)
        exact = differences(path, "f32", None, films, scorer)
        print(f"{len(films)} films, {exact.shape[1]} labels\n")
        print("| | max Δd / sd | of it common to all films | ρ |\n|---|---|---|---|")
        for name, hint, edit in ARITHMETIC:
            print(f"| {name} | {deviation(differences(path, hint, edit, films, scorer), exact)} |", flush=True)


def differences(path: Path, hint: str, edit: Edit | None, films: np.ndarray, scorer: Any) -> np.ndarray:
    """(N, labels) float64."""
    model = read_model(core(), path)
    if edit:
        edit(model)
    request = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": hint}).create_infer_request()
    outputs = [request.infer({0: films[at : at + BATCH]})["image_embeds"].copy() for at in range(0, len(films), BATCH)]
    scores = scorer(np.concatenate(outputs))
    return scores.cos_pos.astype(np.float64) - scores.cos_neg


def deviation(d: np.ndarray, exact: np.ndarray) -> str:
    spread, off = exact.std(axis=0), d - exact
    rho = min(rank_correlation(a, b) for a, b in zip(d.T, exact.T, strict=True))
    return (
        f"{(np.abs(off).max(axis=0) / spread).max():.4f} | {(np.abs(off.mean(axis=0)) / spread).max():.4f} | {rho:.4f}"
    )


def products(model: Any, inputs: int = 1, weights: int = 1) -> None:
    """Have products with weights computed in bf16, each factor as a sum of one or two bf16 numbers; the rest stays."""
    from openvino import opset13 as op

    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul" or not is_constant(node.input_value(1).get_node()):
            continue
        users = list(node.output(0).get_target_inputs())
        how = node.get_attributes()
        parts = [in_bf16(node.input_value(0), inputs), in_bf16(node.input_value(1), weights)]
        total = None
        for i, x in enumerate(parts[0]):
            for j, w in enumerate(parts[1]):
                if i + j < 2:
                    term = op.convert(op.matmul(x, w, how["transpose_a"], how["transpose_b"]), "f32")
                    total = term if total is None else op.add(total, term)
        for user in users:
            user.replace_source_output(total.output(0))
    model.validate_nodes_and_infer_types()


def in_bf16(value: Any, count: int) -> list[Any]:
    """`count` bf16 nodes whose sum is nearest to an f32 one."""
    from openvino import opset13 as op

    found = [op.convert(value, "bf16")]
    if count == 2:
        found.append(op.convert(op.subtract(value, op.convert(found[0], "f32")), "bf16"))
    return found


def is_constant(node: Any) -> bool:
    while node.get_type_name() in ("Convert", "Transpose", "Reshape"):
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Constant")


ARITHMETIC: tuple[tuple[str, str, Edit | None], ...] = (
    ("bf16", "bf16", None),
    ("fp16", "f16", None),
    ("products in bf16", "f32", products),
    ("inputs in two", "f32", partial(products, inputs=2)),
    ("weights in two", "f32", partial(products, weights=2)),
    ("both in two", "f32", partial(products, inputs=2, weights=2)),
)


if __name__ == "__main__":
    main()
