"""`cxrzero heatmap`: films → maps → a folder with a table and pictures, in constant memory."""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cxrzero.errors import ImageError, NoInputError, SkippedImage, UsageError, exit_code
from cxrzero.heatmap.arrays import FilmMaps
from cxrzero.heatmap.films import Film, films_in
from cxrzero.heatmap.folder import Folder, check_folder, file_name
from cxrzero.heatmap.mapper import Mapper
from cxrzero.heatmap.methods import Method, choose_method, validated
from cxrzero.heatmap.options import HeatmapOptions
from cxrzero.heatmap.overlay import NOT_FOUND, UNVALIDATED, overlay
from cxrzero.heatmap.table import Listed, highest
from cxrzero.heatmap.thresholds import thresholds_of
from cxrzero.pipeline.decode_file import DecodeJob
from cxrzero.pipeline.items import Failure
from cxrzero.pipeline.live import Live, OnRow
from cxrzero.prediction import Cell, printable_path
from cxrzero.prompts import LabelPrompts
from cxrzero.sources import ImageRef, check_paths, find_images
from cxrzero.tables.pseudonym import Pseudonymiser, default_key_file, load_key

if TYPE_CHECKING:
    from cxrzero.screener import Screener

T = TypeVar("T")

# Films without maps that are remembered, to be named.
MOST_FAULTS = 20
# In `location` of heatmaps.csv, by what `validated` says.
LOCATION = {True: "validated", False: "not validated", None: "never measured"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked before a model is there.

    Attributes:
        labels: None asks those of the model.
        listed: films of a table; None reads the paths.
    """

    options: HeatmapOptions
    labels: tuple[str, ...] | None
    listed: list[Listed] | None = None


@dataclass(slots=True)
class Outcome:
    """What a run did.

    Attributes:
        passes: images that each model has encoded.
        pictures: written, arrays included.
        faults: the first films without maps: path as the table has it, and why.
        new_key: the key file, where --pseudonymise made one for this run.
    """

    live: Live
    passes: int = 0
    pictures: int = 0
    faults: list[str] = field(default_factory=list)
    new_key: Path | None = None

    @property
    def exit_code(self) -> int:
        return exit_code(self.live.stats.ok, self.live.stats.failed)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is asked, with its model; see `prepare`.

    Attributes:
        thresholds: label → probability below which it is not found.
        remarks: what there is to say before the run.
    """

    asked: Asked
    screener: Screener
    prompts: tuple[LabelPrompts, ...]
    method: Method
    thresholds: dict[str, float]
    remarks: tuple[str, ...]


def check(options: HeatmapOptions) -> Asked:
    """Check all that can be checked before a model is opened; with --top the table is read.

    Raises:
        UsageError: paths, table or options are not usable.
        OutputError: the folder cannot be written.
    """
    if options.pseudonym_key and not options.pseudonymise:
        raise UsageError("--pseudonym-key without --pseudonymise would write real paths and UIDs; give both")
    check_folder(options.out, overwrite=options.overwrite)
    if options.top is None:
        check_paths(options.paths)
        return Asked(options, options.labels)
    if len(options.paths) != 1:
        raise UsageError("--top takes one table of cxrzero predict, and nothing beside it")
    labels, listed = highest(Path(options.paths[0]), options.labels, options.top)
    if not listed:
        raise NoInputError(f"{options.paths[0]} has no scored film of {', '.join(labels)}")
    return Asked(options, labels, listed)


def prepare(asked: Asked, screener: Screener) -> Plan:
    """Choose the method, and say what must be known before a film is read.

    Raises:
        ConfigError: patches are asked of a model that has none.
        LabelError: labels are not usable.
    """
    options = asked.options
    bundles = [member.bundle for member in screener.members]
    method, why = choose_method(options.method, bundles)
    prompts = screener.prompts(asked.labels, options.prompts)
    thresholds, source = thresholds_of(screener, prompts, options.found_above)
    remarks = [f"maps by {method}: {why}", source]
    doubtful = [prompt.label for prompt in prompts if not validated(bundles, prompt.label, method)]
    if doubtful:
        remarks.append(f"{UNVALIDATED} for {', '.join(doubtful)}: see docs/heatmap.md")
    return Plan(asked, screener, prompts, method, thresholds, tuple(remarks))


def run(plan: Plan, on_row: OnRow | None = None) -> Outcome:
    """Make the maps of all films, and write them.

    Raises:
        NoInputError: nothing to read was found.
        OutputError: the folder could not be written; what is done stays in `<out>.partial`.
    """
    options, outcome = plan.asked.options, Outcome(Live())
    writer = _Writer(plan, outcome)
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
        jobs = (films(ref, None) for ref in find_images(options.paths, live.walk))
    else:
        jobs = (films(_ref_of(listed), listed) for listed in plan.asked.listed)
        live.total = len(plan.asked.listed)
    return in_order(jobs, screener.workers)


def _ref_of(listed: Listed) -> ImageRef:
    if os.path.isfile(listed.path):
        return ImageRef(listed.path)
    return ImageRef(listed.path, ImageError("changed", "there is no file at this path now"))


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


class _Writer:
    """Rows and pictures of one run."""

    def __init__(self, plan: Plan, outcome: Outcome) -> None:
        options = plan.asked.options
        self._plan, self._outcome = plan, outcome
        self._bundles = [member.bundle for member in plan.screener.members]
        self._pseudonymiser: Pseudonymiser | None = None
        if options.pseudonymise:
            path = options.pseudonym_key or default_key_file()
            key, is_new = load_key(path)
            self._pseudonymiser, outcome.new_key = Pseudonymiser(key), path if is_new else None

    def argument(self, path: str) -> str:
        return self._pseudonymiser.argument(path) if self._pseudonymiser else path

    def add(self, folder: Folder, film: Film | Failure, maps: FilmMaps | None, listed: Listed | None) -> None:
        """One frame's rows, pictures and arrays; one row for what failed."""
        if isinstance(film, Failure) or maps is None:
            assert isinstance(film, Failure), "who has no maps has failed"
            self._add_failure(folder, film)
            return
        try:
            if listed is not None:
                listed.check(film, maps)
        except ImageError as error:
            self._add_failure(folder, Failure(film.ref, error, film.frame))
            return
        self._outcome.live.stats.count("ok")
        self._add_maps(folder, film, maps, tuple(listed.stated) if listed else maps.labels)

    def _add_failure(self, folder: Folder, failure: Failure) -> None:
        status = "skipped" if isinstance(failure.error, SkippedImage) else "failed"
        self._outcome.live.stats.count(status)
        path = self._path(failure.ref.path)
        if len(self._outcome.faults) < MOST_FAULTS:
            self._outcome.faults.append(f"{path}: {failure.error}")
        folder.add(path=path, frame=failure.frame, status=status, error=str(failure.error))

    def _add_maps(self, folder: Folder, film: Film, maps: FilmMaps, labels: Sequence[str]) -> None:
        number, fixed = self._outcome.live.stats.rows, self._fixed(film, maps)
        if self._plan.asked.options.format != "png":
            fixed["arrays"] = file_name(number, film.frame)
            folder.add_arrays(str(fixed["arrays"]), replace(maps, path=str(fixed["path"])))
            self._outcome.pictures += 1
        for label in labels:
            place = maps.labels.index(label)
            probability = float(maps.probabilities[place])
            found = probability >= self._plan.thresholds[label]
            known = validated(self._bundles, label, self._plan.method)
            name = ""
            if film.picture is not None:
                name = file_name(number, film.frame, (place, label), "png")
                notes = [NOT_FOUND] * (not found) + [UNVALIDATED] * (not known)
                picture = overlay(film.picture, maps.upright(place), label, probability, notes)
                folder.add_picture(name, picture)
                self._outcome.pictures += 1
            box, share = maps.region(place)
            x, y = maps.peak(place)
            folder.add(
                **fixed, label=label, p=probability, found=int(found), location=LOCATION[known], peak_x=x, peak_y=y,
                box_left=box.left, box_upper=box.upper, box_right=box.right, box_lower=box.lower, share=share,
                picture=name,
            )  # fmt: skip

    def _fixed(self, film: Film, maps: FilmMaps) -> dict[str, Cell]:
        uid = film.facts.sop_instance_uid
        return {
            "path": self._path(film.ref.path),
            "frame": film.frame,
            "sop_instance_uid": self._pseudonymiser.uid(uid) if self._pseudonymiser else uid,
            "rows": maps.rows,
            "columns": maps.columns,
            "method": maps.method,
            "status": "ok",
            "flags": ";".join(sorted(film.flags)),
            "fingerprint": maps.fingerprint,
        }

    def _path(self, path: str) -> str:
        return self._pseudonymiser.path(path) if self._pseudonymiser else printable_path(path)
