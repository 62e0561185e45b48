"""`cxrzero heatmap`: films → maps → a folder with a table and pictures, in constant memory."""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

from cxrzero.errors import ImageError, NoInputError
from cxrzero.heatmap.films import Film, films_in
from cxrzero.heatmap.folder import Folder
from cxrzero.heatmap.mapper import Mapper
from cxrzero.heatmap.plan import Plan
from cxrzero.heatmap.table import Listed
from cxrzero.heatmap.writer import Outcome, Writer
from cxrzero.pipeline.decode_file import DecodeJob
from cxrzero.pipeline.items import Failure
from cxrzero.pipeline.live import Live, OnRow
from cxrzero.places.kind import is_local, kind_of_place
from cxrzero.places.members import file_of
from cxrzero.sources import ImageRef, find_images
from cxrzero.tables.changed import IN_ARCHIVE, IN_STORE, MOVED

T = TypeVar("T")


def run(plan: Plan, on_row: OnRow | None = None) -> Outcome:
    """Make the maps of all films, and write them.

    Raises:
        NoInputError: nothing to read was found.
        OutputError: the folder could not be written; what is done stays in `<out>.partial`.
    """
    options, outcome = plan.asked.options, Outcome(Live())
    writer = Writer(plan, outcome)
    mapper = Mapper(plan.screener.members, plan.prompts, plan.method, plan.screener.batch_size)
    with Folder(options.out, overwrite=options.overwrite) as folder, closing(_read(plan, outcome.live)) as found:
        for some in _together(found, mapper.at_once):
            films = [film for film, _ in some if isinstance(film, Film)]
            maps = iter(mapper(films) if films else ())
            for film, listed in some:
                writer.add(folder, film, next(maps) if isinstance(film, Film) else None, listed)
                outcome.passes = mapper.passes
                if on_row:
                    on_row(outcome.live)
        if not outcome.live.stats.rows:
            raise NoInputError(f"no image or DICOM file in {', '.join(map(writer.argument, options.paths))}")
        folder.commit()
    return outcome


def _read(plan: Plan, live: Live) -> Generator[tuple[Film | Failure, Listed | None], None, None]:
    """Films in order, several files decoded ahead."""
    options, screener = plan.asked.options, plan.screener
    geometries = [member.preprocess.fit for member in screener.members]

    def films(ref: ImageRef, listed: Listed | None) -> Iterator[tuple[Film | Failure, Listed | None]]:
        wanted = (lambda frame: frame == listed.frame) if listed else (lambda frame: True)
        made = 0
        for each in films_in(ref, screener.decode, geometries, draw=options.format != "npz", is_wanted=wanted):
            made += 1
            yield each, listed
        if listed and not made:
            yield Failure(ref, ImageError("changed", f"the file has no frame {listed.frame} now")), listed

    if plan.asked.listed is None:
        jobs = (films(ref, None) for ref in find_images(options.paths, live.walk, screener.archives, screener.objects))
    else:
        jobs = (films(_ref_of(listed), listed) for listed in plan.asked.listed)
        live.total = len(plan.asked.listed)
    return in_order(jobs, screener.workers)


def _ref_of(listed: Listed) -> ImageRef:
    if not is_local(listed.path):
        where = IN_ARCHIVE if kind_of_place(listed.path) == "archive" else IN_STORE
        return ImageRef(listed.path, ImageError("changed", where))
    if os.path.isfile(file_of(listed.path)):
        return ImageRef(listed.path)
    return ImageRef(listed.path, ImageError("changed", MOVED))


def in_order(jobs: Iterable[Iterator[T]], workers: int) -> Generator[T, None, None]:
    """What iterators give, one after the other, while threads already work on the next ones; a few results of each
    wait in memory at most."""
    stop = threading.Event()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    waiting: deque[DecodeJob[T]] = deque()
    try:
        for made in jobs:
            job = DecodeJob(made, stop)
            waiting.append(job)
            pool.submit(job.run)
            if len(waiting) > workers:
                yield from waiting.popleft().items()
        while waiting:
            yield from waiting.popleft().items()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _together(
    found: Iterator[tuple[Film | Failure, Listed | None]], count: int
) -> Iterator[list[tuple[Film | Failure, Listed | None]]]:
    while some := list(itertools.islice(found, count)):
        yield some
