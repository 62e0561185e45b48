"""`--out s3://…`: what a command writes goes into a private folder here, and from there to the store, each file whole.

The table is sent last: where it is, all that belongs to it is. Whatever goes wrong, nothing partial appears: what was
sent by then and was not there before is taken away, and the files here are kept and named.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from cxrzero.choices import Notify, silent
from cxrzero.errors import CxrzeroError, OutputExistsError, RemoteError, UsageError
from cxrzero.remote.address import parse_object
from cxrzero.remote.objects import Objects


class Upload:
    """One output and what is written beside it.

    Args:
        out: its address.
        notify: is told what there is to say of the store.

    Attributes:
        local: where it is written first; its folder is there between `__enter__` and a `commit`.

    Raises:
        UsageError: it is no address of an object that can be written.
        MissingExtraError: the library that speaks to the store is not installed.
    """

    def __init__(self, out: str, notify: Notify = silent) -> None:
        self._place = parse_object(out)
        if self._place.is_web:
            raise UsageError("--out: a web server takes no tables; name a file, or an object store such as s3://")
        if self._place.is_folder:
            raise UsageError(f"--out {self._place} is a folder; name a table in it")
        self._notify = notify
        self._objects = Objects(notify=notify)
        self._objects.check([out])
        self._folder: Path | None = None
        self._is_done = False

    def check(self, names: Iterable[str], *, overwrite: bool) -> None:
        """Find out whether these files could be written beside the table.

        Raises:
            OutputExistsError: one is there already and may not be replaced.
            RemoteError: the store cannot be asked.
        """
        for name in () if overwrite else names:
            if self.exists(self.address(name)):
                raise OutputExistsError(
                    f"{self.address(name)} exists already; name another file, or give --overwrite to replace it"
                )

    def exists(self, address: str) -> bool:
        """Whether something is there already. Raises RemoteError."""
        return self._objects.exists(address)

    def __str__(self) -> str:
        return str(self._place)

    @property
    def local(self) -> Path:
        assert self._folder is not None, "it is entered first"
        return self._folder / self.name

    @property
    def name(self) -> str:
        """Of the table."""
        return self._place.key.rpartition("/")[2]

    def address(self, name: str) -> str:
        """Where a file of this name goes."""
        folder, slash, _ = self._place.key.rpartition("/")
        return str(self._place.with_key(folder + slash + name))

    def commit(self, *, overwrite: bool) -> None:
        """Send all files, the table last, and remove them here.

        Raises:
            OutputExistsError: one is there by now and may not be replaced.
            RemoteError: one cannot be written; all are kept here.
        """
        files = sorted(self.local.parent.iterdir(), key=lambda file: (file.name == self.name, file.name))
        new: list[str] = []
        try:
            for file in files:
                address = self.address(file.name)
                is_new = not (overwrite and self.exists(address))
                self._objects.put(address, file, overwrite=overwrite)
                new += [address] * is_new
        except CxrzeroError as error:
            for address in new:
                with suppress(CxrzeroError):  # the first error is the one to report
                    self._objects.remove(address)
            kind = OutputExistsError if isinstance(error, OutputExistsError) else RemoteError
            raise kind(f"{error}; {self} was not written, and its table is in {self.local}") from None
        self._is_done = True

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="cxrzero-"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._objects.close()
        assert self._folder is not None
        if self._is_done or not any(self._folder.iterdir()):
            shutil.rmtree(self._folder)
        else:
            self._notify(f"What was written so far is kept in {self._folder}.")
