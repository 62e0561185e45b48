"""Rank an archive by closeness to a sentence or to an example image."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from contextlib import closing

import numpy as np
import numpy.typing as npt

from cxrzero.embeddings.ask import Hit
from cxrzero.embeddings.files import Reader
from cxrzero.errors import ImageError, NoInputError, RunError, UsageError
from cxrzero.model.score import Cosine
from cxrzero.pipeline.live import Live, OnRow
from cxrzero.places.kind import shown
from cxrzero.predict.kept import kept_rows
from cxrzero.prediction import Prediction
from cxrzero.prompts import LabelPrompts
from cxrzero.prompts.labels import as_typed
from cxrzero.screener import Screener
from cxrzero.sources import check_paths, find_images

Query = npt.NDArray[np.float32]
SCORE = "cosine"


def text_query(screener: Screener, text: str) -> Query:
    """Embed a sentence: (D,) float32 of length 1.

    Raises:
        UsageError: it is empty, or not text; or the model has no embeddings.
        TokenizerError: it is too long for the model.
    """
    text = as_typed(text).strip()
    if not text:
        raise UsageError("the text to search for is empty; write a sentence, or name an image with --like")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            "the text to search for is not in this locale's encoding; choose one of UTF-8, as LC_ALL=C.UTF-8"
        ) from error
    return np.asarray(screener.embed_texts([text])[0], np.float32)


def image_query(screener: Screener, path: str) -> Query:
    """Embed the first frame of an image: (D,) float32 of length 1.

    Raises:
        UsageError: the model has no embeddings.
        NoInputError: there is no such file.
        RunError: it cannot be read.
    """
    screener.member.require_embeddings()
    check_paths([path], screener.archives, screener.objects)
    try:
        radiograph = next(iter(screener.decode(path)), None)
    except ImageError as error:
        raise RunError(f"--like {path}: {error.message}") from error
    if radiograph is None:
        raise RunError(f"--like {path}: there is no picture in it")
    member = screener.member
    return np.asarray(member.encoder.encode_images(member.preprocess(radiograph.pixels)[None])[0], np.float32)


def search(
    screener: Screener,
    query: Query,
    paths: Sequence[str],
    top: int,
    live: Live,
    on_row: OnRow | None = None,
    kept: Reader | None = None,
) -> list[Hit]:
    """The `top` images nearest to the query, nearest first, in memory that grows with `top` only.

    Args:
        live: filled while the search goes on.
        on_row: called with it for each row.
        kept: an open file of this model's embeddings, which is searched in place of `paths`.

    Raises:
        UsageError: the model has no embeddings.
        NoInputError: nothing to read was found.
    """
    screener.member.require_embeddings()
    classifier = Cosine(query[None], query[None], screener.member.bundle.scoring)
    asked = [LabelPrompts(SCORE, (), ())]
    if kept:
        rows = kept_rows(kept, classifier, {SCORE: None}, screener.selection, live.stats)
    else:
        check_paths(paths, screener.archives, screener.objects)
        refs = find_images(paths, live.walk, screener.archives, screener.objects)
        rows = screener.stream(refs, classifier, asked, live.stats)
    with closing(rows):
        hits = _nearest(_told(rows, live, on_row), top)
    if not live.stats.rows:
        raise NoInputError(f"no image or DICOM file in {', '.join(map(shown, paths))}")
    return hits


def _told(rows: Iterable[Prediction], live: Live, on_row: OnRow | None) -> Iterable[Prediction]:
    for row in rows:
        if on_row:
            on_row(live)
        if row.status == "ok":
            yield row


def _nearest(rows: Iterable[Prediction], top: int) -> list[Hit]:
    heap: list[tuple[float, int, Prediction]] = []
    for number, row in enumerate(rows):
        item = (row.scores[SCORE], -number, row)  # of equal cosines the earlier image is nearer
        if len(heap) < top:
            heapq.heappush(heap, item)
        else:
            heapq.heappushpop(heap, item)
    ordered = sorted(heap, key=lambda item: item[:2], reverse=True)
    return [Hit(rank, cosine, row) for rank, (cosine, _, row) in enumerate(ordered, start=1)]
