"""Images with a text file of the same name beside each."""

from __future__ import annotations

import os
from collections.abc import Iterable

from cxrzero.images.leftovers import FORK
from cxrzero.train.data.layouts.listing import Folder
from cxrzero.train.data.layouts.record import Record, Source
from cxrzero.train.data.layouts.reportfile import read_report


def has_pairs(folder: Folder) -> bool:
    """Whether any image of this folder has its text beside it."""
    texts = _texts(folder)
    return bool(texts) and any(os.path.splitext(name)[0] in texts for name in folder.images())


def read_folder(source: Source, folders: Iterable[Folder]) -> None:
    """Fill `source.records`. The source names no patients; the text is a report or any plain text."""
    for folder in folders:
        texts = _texts(folder)
        used = set()
        for name in folder.images():
            stem = os.path.splitext(name)[0]
            path = folder.path / name
            if stem not in texts:
                source.counts["images without a text file"] += 1
                continue
            used.add(stem)
            report = read_report(folder.path / texts[stem], source)
            if report is not None:
                image = str(path.relative_to(source.images))
                source.records.append(Record(image, path, None, report, str(path)))
        source.counts["text files without an image"] += len(set(texts) - used)


def _texts(folder: Folder) -> dict[str, str]:
    names = (name for name in folder.names if name.lower().endswith(".txt") and not name.startswith(FORK))
    return {os.path.splitext(name)[0]: name for name in names}
