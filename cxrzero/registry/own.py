"""What a user states of encoders of their own: options of `cxrzero models import`, and what they come to.

Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cxrzero.errors import UsageError
from cxrzero.options import option

if TYPE_CHECKING:
    from cxrzero.convert.own.asked import OwnEncoders
    from cxrzero.model.model_json import Scoring, Templates

PANEL = "Your own ONNX encoders"
# The pair of the CheXzero paper.
POSITIVE, NEGATIVE = ("{}",), ("no {}",)
STATED = ("context_length", "pad_id", "image_output", "text_output", "licence", "scorer")  # as it is


@dataclass(frozen=True, slots=True)
class OwnOptions:
    """`cxrzero models import --onnx …`."""

    onnx: tuple[Path, Path, Path] | None = option(
        None,
        "Give encoders of your own in place of SOURCE, as three files: image encoder, text encoder, tokenizer. Needs "
        "--preprocess, --score and --scale.",
        metavar="IMAGE TEXT TOKENIZER",
        panel=PANEL,
    )
    preprocess: Path | None = option(
        None,
        "Say how a film becomes the image encoder's input: a JSON file with the steps of docs/models.md, which decide "
        "the image size.",
        metavar="STEPS",
        panel=PANEL,
    )
    score: Literal["softmax_pair", "sigmoid"] | None = option(
        None,
        "Choose how cosines become a probability: softmax_pair is σ(s·(cos⁺ − cos⁻)), sigmoid is σ(s·cos⁺ + b).",
        panel=PANEL,
    )
    scale: float | None = option(
        None,
        "Give s, exponentiated: exp(logit_scale) of CLIP and SigLIP; 1 is the rule of the CheXzero paper.",
        metavar="S",
        panel=PANEL,
    )
    bias: float | None = option(
        None, "Give b of sigmoid: logit_bias of SigLIP, often near -10.", metavar="B", panel=PANEL
    )
    positive: tuple[str, ...] = option(
        (),
        "Ask for a label with this sentence, which has a pair of braces in its place; may be given several times. By "
        "default the label alone.",
        metavar="TEXT",
        panel=PANEL,
    )
    negative: tuple[str, ...] = option(
        (),
        "Ask for its absence with this sentence; may be given several times. By default no and the label.",
        metavar="TEXT",
        panel=PANEL,
    )
    context_length: int | None = option(
        None,
        "State how many tokens the text encoder reads, where neither its graph nor the tokenizer does.",
        metavar="N",
        minimum=1,
        panel=PANEL,
    )
    pad_id: int | None = option(
        None,
        "State the id of the padding token, where the tokenizer names none.",
        metavar="ID",
        minimum=0,
        panel=PANEL,
    )
    scorer: Path | None = option(
        None,
        "Give the scorer of a model that scores by attention, a third graph: image_tokens, text_tokens to logits, "
        "which then take the place of cosines. The encoders give tokens.",
        metavar="SCORER",
        panel=PANEL,
    )
    image_output: str | None = option(
        None, "Name the output with the image embeddings, where a graph has several.", metavar="NAME", panel=PANEL
    )
    text_output: str | None = option(
        None, "Name the output with the text embeddings, where a graph has several.", metavar="NAME", panel=PANEL
    )
    licence: str | None = option(
        None,
        "State the terms of the weights, for the card; left out, they are unverified.",
        flag="--license",
        metavar="TEXT",
        panel=PANEL,
    )


def own_encoders(stated: Mapping[str, Any]) -> OwnEncoders | None:
    """What the user stated with --onnx; None without it.

    Raises:
        UsageError: something is missing, or does not go together.
    """
    asked = OwnOptions(**stated)
    if asked.onnx is None:
        if stated:
            raise UsageError(f"--{next(iter(stated)).replace('_', '-')} goes with --onnx only")
        return None
    if asked.preprocess is None:
        raise UsageError("--onnx needs --preprocess STEPS, a JSON file: how a film becomes the image encoder's input")
    from cxrzero.convert.own.asked import OwnEncoders

    return OwnEncoders(
        *asked.onnx,
        steps=asked.preprocess,
        scoring=_scoring(asked),
        templates=_templates(asked),
        **{key: getattr(asked, key) for key in STATED},
    )


def _scoring(asked: OwnOptions) -> Scoring:
    from cxrzero.model.model_json import SCORER_RULE, Scoring  # brings NumPy along, and --help should come at once

    if asked.score is None or asked.scale is None:
        raise UsageError(
            "--onnx needs --score and --scale: --score softmax_pair --scale S for p = σ(S·(cos⁺ − cos⁻)), or --score "
            "sigmoid --scale S --bias B for p = σ(S·cos⁺ + B); S is exp(logit_scale) of the training"
        )
    if not 0 < asked.scale < float("inf"):
        raise UsageError(f"--scale must be a number above 0, not {asked.scale}")
    if asked.score == "softmax_pair":
        if asked.bias is not None:
            raise UsageError("--bias goes with --score sigmoid; in softmax_pair it would cancel")
        return Scoring(SCORER_RULE if asked.scorer else "softmax_pair", asked.scale, pairs=asked.scorer is not None)
    if asked.bias is None or not abs(asked.bias) < float("inf"):
        raise UsageError("--score sigmoid needs --bias B, a number: logit_bias of the training, or 0")
    return Scoring(SCORER_RULE if asked.scorer else "sigmoid", asked.scale, asked.bias)


def _templates(asked: OwnOptions) -> Templates:
    from cxrzero.model.model_json import Templates

    for sentence in (*asked.positive, *asked.negative):
        if "{}" not in sentence:
            raise UsageError(f"the sentence {sentence!r} has no {{}}, the place of the label")
    return Templates(asked.positive or POSITIVE, asked.negative or NEGATIVE)
