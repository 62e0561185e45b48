"""Rows, pictures and arrays of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cxrzero.calibration.applied import lowest_positive
from cxrzero.errors import ImageError, SkippedImage, exit_code
from cxrzero.heatmap.arrays import FilmMaps
from cxrzero.heatmap.films import Film
from cxrzero.heatmap.folder import Folder, file_name
from cxrzero.heatmap.methods import LOCATION, validated
from cxrzero.heatmap.overlay import NOT_FOUND, UNVALIDATED, overlay
from cxrzero.heatmap.plan import Plan
from cxrzero.heatmap.table import Listed
from cxrzero.pipeline.items import Failure
from cxrzero.pipeline.live import Live
from cxrzero.prediction import Cell, printable_path
from cxrzero.tables.pseudonym import Pseudonymiser, default_key_file, load_key

# Films without maps that are remembered, to be named.
MOST_FAULTS = 20


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


class Writer:
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
            found = np.float32(probability) >= lowest_positive(self._plan.thresholds[label])
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
