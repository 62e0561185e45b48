"""An object → a file that is named by the object's own UID, whole or not at all, and readable by its owner only."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset

from cxrzero.errors import OutputExistsError
from cxrzero.files import WholeFile, cannot_write, make_private


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


def encoded(dataset: Dataset) -> bytes:
    """An object as the bytes of a file (PS3.10)."""
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
