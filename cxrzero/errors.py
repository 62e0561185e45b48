"""Every error that cxrzero raises on purpose.

    CxrzeroError
    ├── UsageError                 exit 2: the request itself is wrong; nothing was run
    │   ├── LabelError             a label is empty, repeated, not where it is looked for, or named like a fixed column
    │   ├── ConfigError            a configuration file or option has an unknown key or a wrong value
    │   ├── ImageInputError        what a Python program gave is no picture, or not enough is known of it
    │   ├── NoInputError           no path, a path that does not exist, or nothing to read in it
    │   ├── OutputExistsError      the output is there already and --overwrite was not given
    │   ├── AmbiguousModelError    a model name that means two things
    │   └── LicenceError           terms that forbid commercial use, or are gated, were not accepted
    ├── RunError                   exit 1: the run cannot be done here
    │   ├── OutputError            the output cannot be written
    │   │   └── WriteError         the system says no: a full disk, a disk that went away, no permission
    │   │       └── ReaderGoneError    exit 141: whoever read standard output or error has gone (`| head`)
    │   ├── BundleError            a model bundle is missing, incomplete or not what its hashes say
    │   │   └── BundleVersionError the bundle was written for a newer cxrzero
    │   ├── ArchiveError           an archive (PACS) does not answer, refuses, or answers nonsense
    │   ├── RemoteError            an object store or web server does not answer, refuses, or answers nonsense
    │   ├── DownloadError          a model cannot be fetched, or is not the file that was expected
    │   ├── TokenizerError         a prompt does not fit the model's context, or the tokenizer is broken
    │   ├── DatabaseError          a database of results cannot be reached or used
    │   ├── DeviceError            the device asked for cannot run
    │   ├── ImportModelError       a checkpoint cannot become a bundle
    │   │   └── InexactExportError as a bundle it would not answer as it does itself
    │   ├── MissingExtraError      an optional dependency is not installed
    │   ├── ImagesEndedError       what a program's own iterable of images raised; with the rows before it
    │   └── TrainingError          training cannot start or go on
    └── ImageError                 a row, not the end of the run: status "failed", `code: message`
        └── SkippedImage           readable, but not an image to score: status "skipped"

Messages say what happened, to which file, and what to do. They never quote attributes of a DICOM header that
could identify a patient. Only the command line prints them; `exit_code` tells it how to exit, and the function of that
name how a command exits that went through images and raised nothing.
"""

from __future__ import annotations

from functools import partial
from typing import Any


class CxrzeroError(Exception):
    """Base of all errors of this package; its arguments are the lines of its message, of which most have one.

    For example:

        >>> try:
        ...     rows = screener.predict("nowhere/", ["edema"])
        ... except CxrzeroError as error:
        ...     print(error)
        nowhere/ does not exist
    """

    exit_code = 1

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class UsageError(CxrzeroError):
    """The request itself is wrong; nothing was run.

    For example:

        >>> Screener(workers=0)
        Traceback (most recent call last):
        cxrzero.errors.UsageError: batch_size and workers must be at least 1
    """

    exit_code = 2


class LabelError(UsageError):
    """A label is empty, repeated, not where it is looked for, or named like a fixed column.

    For example:

        >>> screener.predict("films/", "edema")
        Traceback (most recent call last):
        cxrzero.errors.LabelError: labels must be a list of texts, for example ["pneumonia", "edema"]
    """


class ConfigError(UsageError):
    """An option, a configuration file, prompts or a calibration have an unknown key or a wrong value.

    For example:

        >>> Selection(skip=frozenset({"upside_down"}))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        cxrzero.errors.ConfigError: --skip: unknown flag upside_down; known: ...
    """


class ImageInputError(UsageError):
    """What a Python program gave is no picture, or what is black and white in it is not known.

    For example:

        >>> screener.predict(numpy.zeros((256, 256)), ["edema"])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        cxrzero.errors.ImageInputError: 'image 1' is of float64, of which nobody knows what is black ...
    """


class NoInputError(UsageError):
    """A path does not exist, none was given, or there is nothing to read in it.

    For example:

        >>> screener.embed([])
        Traceback (most recent call last):
        cxrzero.errors.NoInputError: no input: name a file, a folder or @list.txt
    """


class OutputExistsError(UsageError):
    """The output is there already, and nobody said that it may be replaced."""


class AmbiguousModelError(UsageError):
    """A model name means two things here.

    For example:

        >>> try:
        ...     screener = Screener("cxrzero-mini")
        ... except AmbiguousModelError as error:
        ...     print(error)  # names both, and how to say which is meant
    """


class LicenceError(UsageError):
    """A model's terms, which forbid commercial use or are gated, were not accepted."""


class RunError(CxrzeroError):
    """The run cannot be done here, or cannot go on.

    For example:

        >>> screener.search("films/", like=b"")
        Traceback (most recent call last):
        cxrzero.errors.RunError: the example cannot be read: empty_file: the file is empty
    """


class OutputError(RunError):
    """The output cannot be written."""


class WriteError(OutputError):
    pass


class ReaderGoneError(WriteError):
    """Whoever read standard output or error has gone, as `| head` does: there is nobody to tell."""

    exit_code = 141  # 128 + SIGPIPE, what shells expect


class BundleError(RunError):
    """A model bundle is missing, incomplete or not what its hashes say.

    For example:

        >>> Screener("films/")
        Traceback (most recent call last):
        cxrzero.errors.BundleError: films is not a model bundle: it has no model.json
    """


class BundleVersionError(BundleError):
    """The bundle was written for a newer cxrzero."""


class ArchiveError(RunError):
    """An archive does not answer, refuses, or answers what nobody can use.

    For example:

        >>> try:
        ...     rows = screener.predict("films/", ["edema"])  # or the address of an archive
        ... except ArchiveError as error:
        ...     print(error)
    """


class RemoteError(RunError):
    """An object store or a web server does not answer, refuses, or answers what nobody can use.

    For example:

        >>> try:
        ...     rows = screener.predict("films/", ["edema"])  # or the address of a store
        ... except RemoteError as error:
        ...     print(error)
    """


class DownloadError(RunError):
    """A model cannot be fetched, or is not the file that was expected."""


class TokenizerError(RunError):
    """A prompt does not fit the model's context, or the tokenizer is broken.

    For example:

        >>> screener.embed_texts(["opacity " * 500])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        cxrzero.errors.TokenizerError: ...
    """


class DatabaseError(RunError):
    """A database of results cannot be reached, or is none that this cxrzero can use; passwords are never quoted."""


class DeviceError(RunError):
    """The device asked for cannot run.

        >>> try:
        ...     screener = Screener(device="cuda")
        ... except DeviceError as error:
        ...     screener = Screener(device="cpu")

    Args:
        obstacle: what is in the way, where the message says more than that.
    """

    def __init__(self, message: str, obstacle: str = "") -> None:
        super().__init__(message)
        self.obstacle = obstacle or message


class ImportModelError(RunError):
    """A checkpoint cannot become a bundle.

    For example:

        >>> try:
        ...     screener = Screener("cxrzero-mini")  # or a checkpoint
        ... except ImportModelError as error:
        ...     print(error)
    """


class InexactExportError(ImportModelError):
    """An exported model does not answer as the model itself does."""


class MissingExtraError(RunError):
    """An optional dependency is missing.

        >>> rows = screener.predict("films/normal.png", ["edema"])
        >>> try:
        ...     table = rows.to_pandas()
        ... except MissingExtraError as error:  # it says what to install
        ...     table = [dict(row) for row in rows]

    Args:
        module: the module that could not be imported.
        extra: the extra of cxrzero that installs it.
    """

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(f"{module} is not installed; run: pip install 'cxrzero[{extra}]'")
        self.module = module
        self.extra = extra

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it for the way out of a decoding process."""
        return type(self), (self.module, self.extra)


class ImagesEndedError(RunError):
    """A program's own iterable of images raised, or gave what is no image; that is the cause of this error.

        >>> def films():
        ...     yield "films/normal.png"
        ...     raise OSError("the disk went away")
        >>> try:
        ...     rows = screener.predict(films(), ["edema"])
        ... except ImagesEndedError as error:
        ...     print(error.__cause__, error.rows)
        the disk went away <Predictions: 1 image, 1 label>

    Attributes:
        rows: of the images before it, a list of `cxrzero.Prediction`; empty where they were handed out already.
        embeddings: of these, where they were asked for (`cxrzero.Embeddings`); else None.
    """

    def __init__(self, message: str, rows: list[Any] | None = None, embeddings: Any = None) -> None:
        super().__init__(message)
        self.rows = rows or []
        self.embeddings = embeddings


class TrainingError(RunError):
    """Training cannot start or go on."""


class ImageError(CxrzeroError):
    """One image that could not be read: becomes a row with status "failed".

    Args:
        code: a short stable slug, e.g. "truncated", "empty_file" (docs/images.md lists them).
        message: what is wrong, in plain words, without header values that could identify a patient.
        facts: what the header stated before reading stopped, the fields of `cxrzero.images.radiograph.Facts` in their
            order, so that the row keeps it.
    """

    status = "failed"

    def __init__(self, code: str, message: str, *, facts: tuple[str, ...] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.facts = facts

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it for the way out of a decoding process."""
        return partial(type(self), facts=self.facts), (self.code, self.message)


class SkippedImage(ImageError):
    """Readable, but not an image to score (no pixels, CT, left out by --skip): status "skipped"."""

    status = "skipped"


def exit_code(done: int, failed: int) -> int:
    """The exit code of a command over images: 0 all done or skipped, 1 nothing done, 3 some failed."""
    if not done:
        return 1
    return 3 if failed else 0
