"""Recognise a source's layout, say which it is, and read it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cxrzero.choices import PairsLayout
from cxrzero.errors import NoInputError, UsageError
from cxrzero.train.data.layouts.folder import has_pairs, read_folder
from cxrzero.train.data.layouts.listing import Folder, walk
from cxrzero.train.data.layouts.mimic import is_patient, read_mimic
from cxrzero.train.data.layouts.openi import is_report, read_openi
from cxrzero.train.data.layouts.record import Source
from cxrzero.train.data.layouts.table import read_table

LAYOUTS: Final[tuple[PairsLayout, ...]] = ("auto", "table", "folder", "mimic", "openi")
_FOLDERS: Final = {"folder": read_folder, "mimic": read_mimic, "openi": read_openi}


def read_source(path: Path, images: Path | None = None, layout: PairsLayout = "auto") -> Source:
    """Read every record of a source.

    Args:
        path: a CSV file or a folder.
        images: folder that image paths start from; None = the folder itself, or that of the CSV.
        layout: "auto" recognises it.

    Raises:
        NoInputError: there is no such file or folder, or nothing in it that a layout describes.
        UsageError: the source has the marks of two layouts, or a value in it is wrong.
    """
    if not path.exists():
        raise NoInputError(f"{path} does not exist")
    if images is not None and not images.is_dir():
        raise NoInputError(f"{images} is not a folder")
    if path.is_file():
        if layout not in ("auto", "table"):
            raise UsageError(f"{path} is a file; the layout {layout} is that of a folder")
        source = Source(path, "table", images or path.parent)
        read_table(source)
        return source
    folders = list(walk(path))
    source = Source(path, _recognise(path, folders) if layout == "auto" else layout, images or path)
    if source.layout == "table":
        raise UsageError(f"{path} is a folder; name the CSV file in it")
    _FOLDERS[source.layout](source, folders)
    if not source.records and not source.problems:
        raise NoInputError(f"{path} holds no image with a report in the layout {source.layout}{_passed_over(source)}")
    return source


def _passed_over(source: Source) -> str:
    return "".join(f"; {what}: {count:,}" for what, count in source.counts.items() if count)


def _recognise(path: Path, folders: list[Folder]) -> str:
    found = {
        "mimic": any(map(is_patient, folders)),
        "openi": any(
            name.lower().endswith(".xml") and is_report(folder.path / name)
            for folder in folders
            for name in folder.names
        ),
        "folder": any(map(has_pairs, folders)),
    }
    layouts = [layout for layout, is_it in found.items() if is_it]
    if len(layouts) == 1:
        return layouts[0]
    if layouts:
        raise UsageError(f"{path} has the marks of the layouts {' and '.join(layouts)}; choose one with --layout")
    tables = [name for name in folders[0].names if name.lower().endswith(".csv")]
    hint = f". Or name a CSV file such as {folders[0].path / tables[0]}" if tables else ""
    raise NoInputError(
        f"the layout of {path} is not known. Known are: images, each with a .txt of the same name beside it; MIMIC-CXR "
        f"(pNN/pNNNNNNNN/sNNNNNNNN.txt); Open-I (XML reports){hint}"
    )
