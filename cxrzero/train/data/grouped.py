"""The films of --alike: the training images that a text is true of, by where they are from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from cxrzero.display.counts import counted
from cxrzero.errors import UsageError
from cxrzero.maths import Ints
from cxrzero.train.data.pairs import Pairs
from cxrzero.train.data.truth import text_classes

MIN_FILMS = 20  # of a group, for its mean to say anything
PARTS = 4


@dataclass(frozen=True)
class GroupedFilms:
    """Films of one kind from several groups.

    Attributes:
        images: (N,) indices into `Pairs.images`.
        groups: (N,) the group of each, from 0.
        parts: (N,) from 0 to PARTS - 1: a patient's films of a group are in one part, and every part has as many
            patients of a group, if there are enough.
    """

    images: Ints
    groups: Ints
    parts: Ints

    @property
    def count(self) -> int:
        """The number of groups."""
        return int(self.groups.max()) + 1


def films_saying(pairs: Pairs, text: str) -> GroupedFilms:
    """The training images that `text`, or one that says the same, is true of, by source; sources with fewer than
    MIN_FILMS are left out.

    Where several sources share a group, only they are compared: what is kept apart (drawn films, say) is to stay so.

    Raises:
        UsageError: there are not two groups with so many.
    """
    classes = text_classes([*pairs.texts, text])
    found: dict[str, list[int]] = {}
    shared = _shared(pairs)
    for image in np.flatnonzero(~pairs.validation):
        if shared and pairs.groups[image] not in shared:
            continue
        if (classes[pairs.true_of(int(image))] == classes[-1]).any():
            found.setdefault(pairs.sources[image], []).append(int(image))
    kept = [images for _, images in sorted(found.items()) if len(images) >= MIN_FILMS]
    if len(kept) < 2:
        raise UsageError(
            f"--alike compares groups of films, and needs two with at least {MIN_FILMS} training images that the text "
            f"is true of: here {counted(len(kept), 'group has', 'groups have')} so many. Groups are the column source "
            "of SOURCE, or else its column group; the text must be one of its texts"
        )
    sizes = [len(images) for images in kept]
    parts = [_parts([pairs.patients[i] or pairs.images[i] for i in images]) for images in kept]
    return GroupedFilms(np.concatenate(kept), np.repeat(np.arange(len(kept)), sizes), np.concatenate(parts))


def _shared(pairs: Pairs) -> set[str]:
    """The groups that films of several sources are in."""
    sources: dict[str, set[str]] = {}
    for group, source in zip(pairs.groups, pairs.sources, strict=True):
        sources.setdefault(group, set()).add(source)
    return {group for group, names in sources.items() if len(names) > 1}


def _parts(patients: list[str]) -> Ints:
    """The part of each film, by the order of the patients' hashes."""
    order = sorted(set(patients), key=lambda each: hashlib.sha256(each.encode("utf-8", "surrogateescape")).digest())
    place = {patient: number % PARTS for number, patient in enumerate(order)}
    return np.array([place[patient] for patient in patients], np.int64)
