"""`--embeddings`: films that are asked by their kept embeddings (`cxrzero embed`), in place of films that are read."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

from cxrzero.embeddings.ask import scored
from cxrzero.embeddings.files import Reader, complaints, open_embeddings
from cxrzero.errors import NoInputError, UsageError
from cxrzero.files import sha256_of
from cxrzero.model.score import Scorer
from cxrzero.pipeline.items import RunStats
from cxrzero.pipeline.selection import Selection
from cxrzero.prediction import Prediction

if TYPE_CHECKING:
    from cxrzero.predict.options import PredictOptions

# Options that say how films are read, or open them again: here nobody has films.
OF_FILMS = (
    "query", "refetch", "keep_files", "allow_remote_list", "invert", "gpu_decode", "cache_by", "shard", "engine",
    "dicom_sr",
)  # fmt: skip


def check_kept(options: PredictOptions) -> Reader:
    """Open the file of `--embeddings`, and refuse what needs films.

    Raises:
        UsageError: films are named as well, or an option that is about films.
        NoInputError: there is no such file, it is none of embeddings, or has no film.
    """
    assert options.embeddings
    if options.paths:
        raise UsageError("--embeddings asks films that were embedded before: leave out PATH, or leave out --embeddings")
    defaults = {each.name: each.default for each in dataclasses.fields(options)}
    for name in OF_FILMS:
        if getattr(options, name) != defaults[name]:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} is for films, and --embeddings has none; leave out one of them")
    kept = open_embeddings(options.embeddings)
    if not kept.n_rows:
        raise NoInputError(f"{options.embeddings} has no film")
    return kept


def kept_rows(
    kept: Reader, scorer: Scorer, labels: dict[str, None], selection: Selection, stats: RunStats
) -> Generator[Prediction, None, None]:
    """The rows that `predict` writes of the films, in their order.

    Args:
        selection: may leave out more films than `embed` did.

    Raises:
        NoInputError: the file is damaged.
    """
    with complaints(kept.path):
        for rows, image_embeds in kept.blocks():
            answers = scored(image_embeds, scorer, labels)
            for row in rows:
                made = _row(row, labels, answers, selection)
                stats.count(made.status)
                stats.cached += made.status == "ok"
                yield made


def _row(
    row: Prediction, labels: dict[str, None], answers: Iterator[dict[str, Any]], selection: Selection
) -> Prediction:
    if row.status != "ok":
        return dataclasses.replace(row, labels=labels)
    scores = next(answers)
    if (left_out := selection.reason(row.flags)) is not None:
        return dataclasses.replace(row, labels=labels, status=left_out.status, error=str(left_out), code=left_out.code)
    return dataclasses.replace(row, labels=labels, **scores)


def kept_record(kept: Reader) -> dict[str, Any]:
    """What the run's record says of the file, and of what made it."""
    return {
        "file": kept.path.name,
        "sha256": sha256_of(kept.path),
        "films": kept.n_rows,
        "origin": kept.origin.as_dict(),
    }
