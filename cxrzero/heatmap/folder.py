"""The folder of heatmaps: a table, and beside it pictures or arrays. It has its name once all of it is there."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from types import TracebackType
from typing import Self

from PIL import Image

from cxrzero.errors import OutputError, OutputExistsError
from cxrzero.files import PARTIAL, cannot_write
from cxrzero.heatmap.arrays import FilmMaps, write_npz
from cxrzero.prediction import Cell
from cxrzero.tables.table import Table

TABLE = "heatmaps.csv"
COLUMNS: dict[str, type] = {
    "path": str, "frame": int, "sop_instance_uid": str, "label": str, "p": float, "found": int, "location": str,
    "peak_x": int, "peak_y": int, "box_left": int, "box_upper": int, "box_right": int, "box_lower": int,
    "share": float, "rows": int, "columns": int, "method": str, "picture": str, "arrays": str,
    "status": str, "flags": str, "error": str, "fingerprint": str,
}  # fmt: skip
# Of what is written here: numbers, and of a label its plain letters. Nothing else in a folder is ever removed.
OWN_NAME = re.compile(r"[0-9]{6,}_[0-9]+(_[0-9]+(-[a-z0-9-]+)?)?\.(png|npz)")


class Folder:
    """Opens `<out>.partial`, where everything is until `commit`; what ends the run early leaves it there.

    Raises:
        OutputError, OutputExistsError: see `check_folder`; another run is writing it.
    """

    def __init__(self, out: Path, *, overwrite: bool) -> None:
        check_folder(out, overwrite=overwrite)
        self._out, self._partial = out, partial_folder(out)
        try:
            self._partial.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self._partial, error) from error
        self._table = Table(str(self._partial / TABLE), COLUMNS, "csv", overwrite=True)  # locked: one run at a time
        _remove_own(self._partial)

    def add(self, **cells: Cell) -> None:
        """Append a row; what is not named stays empty.

        Raises:
            OutputError: the disk is full or went away.
        """
        assert cells.keys() <= COLUMNS.keys()
        self._table.write([cells.get(name, "" if kind is str else None) for name, kind in COLUMNS.items()])

    def add_picture(self, name: str, picture: Image.Image) -> None:
        """Write an overlay.

        Raises:
            WriteError: it cannot be written.
        """
        content = io.BytesIO()
        picture.save(content, "PNG")
        try:
            (self._partial / name).write_bytes(content.getvalue())
        except OSError as error:
            raise cannot_write(self._partial / name, error) from error

    def add_arrays(self, name: str, maps: FilmMaps) -> None:
        """Write the maps of a frame.

        Raises:
            WriteError: it cannot be written.
        """
        write_npz(self._partial / name, maps)

    def commit(self) -> None:
        """Give the folder its name, in the place of heatmaps that were there. The table comes last.

        Raises:
            WriteError: it cannot be written.
        """
        self._table.commit()
        try:
            if not self._out.exists():
                self._partial.rename(self._out)
                return
            (self._out / TABLE).unlink(missing_ok=True)
            _remove_own(self._out)
            for path in sorted(self._partial.iterdir(), key=lambda each: each.name == TABLE):
                path.replace(self._out / path.name)
            self._partial.rmdir()
        except OSError as error:
            raise cannot_write(self._out, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._table.__exit__(kind, error, trace)


def check_folder(out: Path, *, overwrite: bool) -> None:
    """Find out whether heatmaps could be written to a folder, writing nothing.

    Raises:
        OutputExistsError: it has something in it: heatmaps, and overwrite is false, or other files.
        OutputError: it is no folder, or cannot be made or written.
    """
    if os.path.lexists(out) and not out.is_dir():
        raise OutputError(f"{out} is not a folder; name one with --out")
    parent = out if out.is_dir() else out.absolute().parent
    if not parent.is_dir():
        raise OutputError(f"the folder {parent} does not exist; create it first")
    if not os.access(parent, os.W_OK):
        raise OutputError(f"the folder {parent} cannot be written")
    there = [path.name for path in out.iterdir()] if out.is_dir() else []
    if TABLE in there and not overwrite:
        raise OutputExistsError(
            f"{out} holds heatmaps already; name another folder, or give --overwrite to replace them"
        )
    if there and TABLE not in there:
        raise OutputExistsError(f"{out} has other files in it; name a new folder with --out, so that nothing is mixed")


def partial_folder(out: Path) -> Path:
    """Where the folder is while it is written: beside what `out` leads to."""
    return Path(os.path.realpath(out) + PARTIAL)


def file_name(number: int, frame: int, label: tuple[int, str] | None = None, suffix: str = "npz") -> str:
    """A name that is unique in its folder and says nothing of the file: the film's number in the run, the frame, and
    the label's number with its plain letters."""
    stem = f"{number:06d}_{frame}"
    if label is not None:
        place, text = label
        letters = re.sub(r"[^a-z0-9]+", "-", text.lower())[:40].strip("-")
        stem += f"_{place}" + (f"-{letters}" if letters else "")
    return f"{stem}.{suffix}"


def _remove_own(folder: Path) -> None:
    for path in folder.iterdir():
        if OWN_NAME.fullmatch(path.name):
            path.unlink()
