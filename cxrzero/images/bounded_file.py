"""A file whose length fields may lie: 4 GB that are not there must not be allocated, and a cut value is noticed."""

from __future__ import annotations

import os
from typing import BinaryIO


class BoundedFile:
    """A binary file whose reads never ask for more than is there; `cut` says whether one came back short."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        self.cut = False
        file.seek(0)

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.size - self._file.tell())
        if size > left:
            self.cut = self.cut or left > 0
            size = left
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        position = offset + (0, self._file.tell(), self.size)[whence]
        self.cut = self.cut or position > self.size
        return self._file.seek(min(max(position, 0), self.size))

    def tell(self) -> int:
        return self._file.tell()
