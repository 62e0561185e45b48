"""A user's scorer, image tokens and text tokens → logits, of a model that scores by attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import numpy_helper

from cxrzero.backends.base import IMAGE_TOKENS, LOGITS, TEXT_TOKENS
from cxrzero.convert.graphs import MAX_INSIDE, size_of
from cxrzero.convert.own.ends import FLOATS, End, ends_of, output_of
from cxrzero.convert.own.external import is_external, values_of
from cxrzero.convert.own.reading import Graph, part, read_graph
from cxrzero.convert.own.rewriting import rewritten_scorer
from cxrzero.convert.own.trial import Feed, Trial
from cxrzero.errors import ImportModelError
from cxrzero.model.model_json import SCORER

# Of a logit, in standard deviations of the logits of a sentence over the films, as for every other import.
MAX_DEVIATION = 0.001

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class ScorerGraph:
    """The graph and its ends."""

    graph: Graph
    image: End
    text: End
    output: End


@dataclass(frozen=True, slots=True)
class Scored:
    """What was found of a scorer.

    Attributes:
        together: whether sentences look at each other.
        deviation: the most that a logit differs from the user's graph's, in standard deviations over the films.
    """

    together: bool
    deviation: float


def read_scorer(path: Path) -> ScorerGraph:
    """Read a scorer.

    Raises:
        NoInputError: there is none.
        ImportModelError: it is no plain graph with the inputs and the output of the contract.
    """
    model = read_graph(path)
    graph = part(model, output_of(model, path, None, LOGITS.output, "logits"), path)
    ends = {each.name: each for each in ends_of(graph.model.graph.input)}
    [output] = ends_of(graph.model.graph.output)
    if set(ends) != set(LOGITS.inputs):
        raise ImportModelError(
            f"{path} must have the inputs {' and '.join(LOGITS.inputs)}, not {', '.join(map(str, ends.values()))}; "
            "export it with these names"
        )
    found = ScorerGraph(graph, ends[IMAGE_TOKENS.output], ends[TEXT_TOKENS.output], output)
    for end, axes in ((found.image, 3), (found.text, 3), (output, 2)):
        if end.dtype not in FLOATS or len(end.shape or (None,) * axes) != axes:
            raise ImportModelError(f"{path} has {end}, which must be floating-point numbers with {axes} axes")
    if found.image.fixed_batch or found.text.fixed_batch:
        raise ImportModelError(
            f"{path} takes a fixed number of films or sentences; export it with free axes (dynamic_axes)"
        )
    return found


def import_scorer(trial: Trial, scorer: ScorerGraph, folder: Path, films: Array, texts: Array) -> Scored:
    """Write scorer.onnx, and find out whether it scores a film alone as beside others, and a sentence.

    Args:
        films, texts: (N, T, D) and (L, S', E), what the encoders give.

    Raises:
        ImportModelError: it cannot be run on them, or a film's logits depend on other films.
    """
    path, file, graph = scorer.graph.path, folder / SCORER, scorer.graph.model.graph
    if size_of(scorer.graph.model) > MAX_INSIDE:
        raise ImportModelError(f"{path} holds more numbers than one ONNX file does (2 GiB)")
    for tensor in filter(is_external, graph.initializer):
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(values_of(tensor, path)), tensor.name))
    file.write_bytes(scorer.graph.model.SerializeToString())
    [expected] = trial.run(file, path, [_feed(scorer, films, texts)])
    if expected.shape != (len(films), len(texts)) or not np.isfinite(expected).all():
        raise ImportModelError(
            f"{path} gives numbers of the shape {expected.shape} for {len(films)} films and {len(texts)} sentences, or "
            "some that are not finite; logits are (N, L)"
        )
    sd = float(np.sqrt(expected.astype(np.float64).var(axis=0, ddof=1).mean()))
    if not sd > 0:
        raise ImportModelError(f"{path} gives all films the same logits")
    made = rewritten_scorer(scorer.graph.model, (scorer.image, scorer.text), scorer.output, _declared(films, texts))
    file.write_bytes(made.SerializeToString())
    whole = {IMAGE_TOKENS.output: films, TEXT_TOKENS.output: texts}
    alone = [whole | {IMAGE_TOKENS.output: films[n : n + 1]} for n in range(len(films))]
    single = [whole | {TEXT_TOKENS.output: texts[n : n + 1]} for n in range(len(texts))]
    found = trial.run(file, path, [whole, whole, *alone, *single])
    first, again, by_film, by_text = found[0], found[1], found[2 : 2 + len(alone)], found[2 + len(alone) :]
    if not np.array_equal(first, again):
        raise ImportModelError(f"{path} gives two results for the same input: a random operator, such as dropout")
    if _most(first, by_film, 0, sd) > MAX_DEVIATION:
        raise ImportModelError(
            f"{path}: a film has other logits alone than beside others; export it in evaluation mode"
        )
    deviation = float(np.abs(first.astype(np.float64) - expected).max()) / sd
    if deviation > MAX_DEVIATION:
        raise ImportModelError(f"in the bundle {path} would give other logits; nothing was written")
    return Scored(_most(first, by_text, 1, sd) > MAX_DEVIATION, deviation)


def _feed(scorer: ScorerGraph, films: Array, texts: Array) -> Feed:
    return {scorer.image.name: films.astype(scorer.image.numpy), scorer.text.name: texts.astype(scorer.text.numpy)}


def _declared(films: Array, texts: Array) -> tuple[tuple[int, int], tuple[int, int]]:
    return (films.shape[1], films.shape[2]), (texts.shape[1], texts.shape[2])


def _most(whole: Array, parts: Sequence[Array], axis: int, sd: float) -> float:
    """The most that parts, laid side by side, differ from the whole; in standard deviations over the films."""
    return float(np.abs(np.concatenate(list(parts), axis=axis).astype(np.float64) - whole).max()) / sd
