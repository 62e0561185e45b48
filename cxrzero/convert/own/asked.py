"""What an import of a user's own encoders is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxrzero.model.model_json import Scoring, Templates

LINEAGE = "own ONNX encoders"  # in model.json


@dataclass(frozen=True, slots=True)
class OwnEncoders:
    """A pair of encoders and what its files do not say.

    Attributes:
        image, text: ONNX files, which may be one and the same.
        steps: a JSON file, see `cxrzero.convert.own.steps`.
        context_length, pad_id: None leaves them to the graph and the tokenizer.
        scorer: of a model that scores by attention, whose encoders give tokens; None where they give embeddings.
        image_output, text_output: None takes the only one, or the one of the contract's name.
    """

    image: Path
    text: Path
    tokenizer: Path
    steps: Path
    scoring: Scoring
    templates: Templates
    context_length: int | None = None
    pad_id: int | None = None
    image_output: str | None = None
    text_output: str | None = None
    licence: str | None = None
    scorer: Path | None = None
