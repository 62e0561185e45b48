"""An object → a file that is named by the object's own UID, whole or not at all, and readable by its owner only."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from cxrzero.errors import OutputError, OutputExistsError
from cxrzero.files import WholeFile, cannot_write, make_private

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def write_report(dataset: Dataset, folder: Path, *, overwrite: bool = False) -> Path:
    """Write an object; one that is there already with the same bytes stays as it is.

    Args:
        overwrite: replace a file of this UID that has other bytes, as after a run with other dates.

    Raises:
        OutputExistsError: there is such a file, and `overwrite` is false.
        OutputError: it cannot be written.
    """
    make_private(folder)
    path, content = folder / f"{dataset.SOPInstanceUID}.dcm", encoded(dataset)
    try:
        if path.exists():
            if path.read_bytes() == content:
                return path
            if not overwrite:
                raise OutputExistsError(f"{path} is there already and differs; give --overwrite to replace it")
        with WholeFile(path, private=True) as whole:
            whole.file.write(content)
            whole.commit()
    except OSError as error:
        raise cannot_write(path, error) from error
    return path


def check_reports_folder(out: Path) -> None:
    """Find out whether objects could be written to a folder, writing nothing.

    Raises:
        OutputError: it is no folder, or cannot be made or written.
    """
    if os.path.lexists(out) and not out.is_dir():
        raise OutputError(f"{out} is not a folder; name one for the DICOM objects")
    there = next(path for path in (out, *out.absolute().parents) if path.is_dir())
    if not os.access(there, os.W_OK):
        raise OutputError(f"the folder {there} cannot be written")


def encoded(dataset: Dataset) -> bytes:
    """An object as the bytes of a file (PS3.10)."""
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
