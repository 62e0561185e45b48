"""What is said of a user's encoders: lines for the user, and model.json."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cxrzero.backends.onnxruntime import OnnxRuntimeEncoder
from cxrzero.convert.example import EXAMPLE, noted
from cxrzero.convert.labels import LABELS
from cxrzero.convert.own.asked import LINEAGE, OwnEncoders
from cxrzero.convert.own.ends import End, ImageGraph
from cxrzero.convert.own.judging import Rows, lengths
from cxrzero.convert.own.rewriting import Change
from cxrzero.convert.own.scorer import Scored
from cxrzero.convert.own.steps import Steps
from cxrzero.files import sha256_of, software, write_json
from cxrzero.model.bundle import Bundle
from cxrzero.model.model_json import MODEL_JSON, SCORER_RULE, Scoring
from cxrzero.model.tokenizer import Tokenizer

VERSIONS = ("onnx", "onnxruntime-gpu", "onnxruntime", "tokenizers")


def described(
    asked: OwnEncoders,
    steps: Steps,
    tokenizer: Tokenizer,
    weights: Collection[Path],
    scoring: Scoring,
    *,
    name: str,
    space: Mapping[str, Any],
    parity: Mapping[str, float],
    said: Sequence[str],
) -> dict[str, Any]:
    """The content of model.json but for its schema and files. What nobody stated is null."""
    return {
        "name": name,
        "architecture": LINEAGE,
        "activation": None,
        **space,
        "image_size": list(steps.preprocess.image_size),
        "context_length": tokenizer.context_length,
        "pad_id": tokenizer.pad_id,
        "preprocess": steps.listed,
        "scoring": _as_json(scoring),
        "templates": {"positive": list(asked.templates.positive), "negative": list(asked.templates.negative)},
        "labels": LABELS,
        "license": asked.licence,
        "intended_use": None,
        "training_data": None,
        "results": [],
        "provenance": {
            "source": _fingerprints(asked, weights),
            "lineage": LINEAGE,
            "recognised": list(said),
            "parity": dict(parity),
            "versions": software(VERSIONS),
        },
    }


def of_graph(what: str, path: Path, given: End, output: End, opset: int, rows: Rows, change: Change) -> Iterator[str]:
    yield f"{what}: {path.name}, opset {opset}, {given} → {output}, {rows.shape[1]:,} numbers"
    if change.normalise:
        low, high = lengths(rows)
        yield f"{what}: its embeddings have lengths from {low:.4g} to {high:.4g}; a normalisation to length 1 was added"
    if given.fixed_batch is not None:
        yield f"{what}: its batch was fixed to {given.fixed_batch} and is free now"


def of_pictures(image: ImageGraph) -> str:
    changes = ["one of three equal channels is given to the graph"] * (image.channels == 1)
    changes += ["channels are moved to the last axis"] * image.channels_last
    return "; " + ", ".join(changes) if changes else ""


def in_words(scoring: Scoring) -> str:
    if scoring.rule == SCORER_RULE:
        logit = "(logit⁺ − logit⁻)" if scoring.pairs else "logit"
        return f"scorer, p = σ({scoring.scale:.4g}·{logit}{'' if scoring.pairs else f' {scoring.bias:+.4g}'})"
    if scoring.rule == "sigmoid":
        return f"sigmoid, p = σ({scoring.scale:.4g}·cos⁺ {scoring.bias:+.4g})"
    note = (
        "; 4.6052 is the logarithm of CLIP's 100: state it exponentiated" if abs(scoring.scale - 4.6052) < 1e-3 else ""
    )
    return f"softmax_pair, p = σ({scoring.scale:.4g}·(cos⁺ − cos⁻)){note}"


def _as_json(scoring: Scoring) -> dict[str, Any]:
    if scoring.rule == SCORER_RULE:
        return scoring.as_dict()
    bias = {"bias": scoring.bias} if scoring.rule == "sigmoid" else {}
    return {"rule": scoring.rule, "scale": scoring.scale} | bias


def of_tokens(films: tuple[int, ...], texts: tuple[int, ...]) -> dict[str, Any]:
    """What the encoders give in the place of embeddings."""
    return {"tokens": {"image": list(films), "text": list(texts), "dtype": "float32"}, "attention": None}


def of_scorer(scored: Scored) -> str:
    alone = "look at each other, and are asked together" if scored.together else "are scored each by itself"
    return f"scorer: sentences {alone}; logits within {scored.deviation:.2g} of their standard deviation"


def note_example(bundle: Bundle) -> None:
    """Note in model.json what the scorer answers, for whoever verifies the bundle."""
    content = dict(bundle.card)
    content["provenance"] |= {EXAMPLE: noted(bundle, OnnxRuntimeEncoder(bundle, "cpu"))}
    write_json(bundle.file(MODEL_JSON), content)


def _fingerprints(asked: OwnEncoders, weights: Collection[Path]) -> dict[str, str]:
    """Name → SHA-256; of two files of one name the later one with what it is."""
    found: dict[str, str] = {}
    roles = {"image": asked.image, "text": asked.text, "tokenizer": asked.tokenizer, "steps": asked.steps}
    roles |= {"scorer": asked.scorer} if asked.scorer else {}
    files = [*roles.items(), *(("weights", path) for path in sorted(weights, key=os.fsencode))]
    for role, path in files:
        digest = sha256_of(path)
        name = path.name if found.get(path.name, digest) == digest else f"{role}/{path.name}"
        found[name] = digest
    return found
