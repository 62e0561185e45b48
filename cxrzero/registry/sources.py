"""Weights as published (a checkpoint, a folder of weights) → a bundle, made once and found again by its contents.

The conversion itself is `cxrzero.convert`, which needs torch and is imported only when something has to be converted.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cxrzero.cards.card import card_names, card_of_file, load_card
from cxrzero.errors import AmbiguousModelError, NoInputError, OutputError, OutputExistsError, RunError, UsageError
from cxrzero.files import make_private, sha256_of_tree
from cxrzero.images.leftovers import FORK
from cxrzero.model.bundle import Bundle, load_bundle
from cxrzero.registry.folder import IMPORTED, check_name, is_bundle, models_folder
from cxrzero.registry.trainingrun import why_no_model

if TYPE_CHECKING:
    from cxrzero.convert.own.asked import OwnEncoders

SUFFIXES = (".pt", ".pth", ".bin", ".safetensors", ".ckpt")
# What makes a folder of weights one model: open_clip's and Hugging Face's configuration.
CONFIGS = ("open_clip_config.json", "config.json")
# What an import may read beside a file of weights.
VOCABULARIES = ("vocab.txt", "tokenizer.json")
# MedKLIP's and MAVL's book; beside it the text encoder that the two take from elsewhere (convert/published/booked.py).
BOOK, OF_BOOK = "observation explanation.json", ("gpt4_mimic.json", "pytorch_model.bin", "model.safetensors")


def find(path: Path) -> list[Path]:
    """The models in a path: itself if it is a checkpoint or a folder with a configuration, else its checkpoints."""
    if path.is_file():
        return [path] if path.suffix.lower() in SUFFIXES else []
    if not path.is_dir():
        return []
    if any((path / name).is_file() for name in CONFIGS):
        return [path]
    named = [file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(FORK)]
    files = [file for file in named if file.is_file()]
    return sorted(files, key=lambda file: os.fsencode(file.name))


def imported(source: Path, notify: Callable[[str], None]) -> Bundle:
    """The bundle of a source; converted the first time, kept by the digest of what it contains.

    Raises:
        AmbiguousModelError: its lineage has to be said; the message holds the command.
        MissingExtraError, RunError: it cannot be converted here.
    """
    folder = models_folder() / IMPORTED / digest(source)
    if not is_bundle(folder):
        notify(f"{source} is imported once, into {folder}")
        try:
            lines = convert(source, folder, name=Path(default_name(source)).name)
        except AmbiguousModelError as error:
            command = f"cxrzero models import {shlex.quote(str(source))} --as CARD --name NAME"
            raise AmbiguousModelError(
                f"{str(error).rstrip('.')}. Import it under a name: {command}; then: --model NAME"
            ) from error
        for line in lines:
            notify(line)
    return load_bundle(folder)


def default_name(source: Path, card: str | None = None) -> str:
    """The name under which a source is installed: ENSEMBLE/MEMBER for a known file of an ensemble, else its own."""
    known = card_of_file(source.name)
    if known is not None and card in (None, known.name):
        return f"{known.name}/{source.stem}"
    return source.stem if source.is_file() else source.resolve().name


def plan(
    source: Path, name: str | None = None, out: Path | None = None, card: str | None = None
) -> list[tuple[Path, Path, str]]:
    """What an import makes of a path: (checkpoint or folder, the bundle's folder, what --model then takes) of each.

    Raises:
        NoInputError: no such path.
        UsageError: a training run, which makes its model itself; one name for several checkpoints, or a name that
            cannot be one.
    """
    if not source.exists():
        raise NoInputError(f"{source} does not exist")
    if why := why_no_model(source):
        raise UsageError(why)
    found = [source] if _is_one_model(card) else find(source) or [source]
    if len(found) > 1 and name is not None:
        raise UsageError(f"{source} holds {len(found)} checkpoints; --name names one, so import them one by one")
    if out is not None:
        folders = [out] if len(found) == 1 else [out / one.stem for one in found]
        return [(one, folder, str(folder)) for one, folder in zip(found, folders, strict=True)]
    names = [check_name(default_name(one, card) if name is None else name) for one in found]
    return [(one, models_folder() / called, called) for one, called in zip(found, names, strict=True)]


def _is_one_model(card: str | None) -> bool:
    """Whether the files of weights in a folder are parts of one model: of an image and a text tower, for example."""
    return card in card_names() and load_card(str(card)).import_facts.preprocess == "layout"


def convert(
    source: Path,
    out: Path,
    *,
    name: str | None = None,
    card: str | None = None,
    arch: str | None = None,
    tokenizer: Path | None = None,
    extras: Sequence[Path] = (),
    variants: Sequence[str] = (),
) -> tuple[str, ...]:
    """Make a bundle folder, whole or not at all.

    Args:
        out: the bundle's folder; must not exist. Its missing parents are made private.
        name, card, arch, tokenizer: see `cxrzero.convert.import_model`.
        variants: precisions beside fp32, see `cxrzero.convert.variants`.
        extras: files to put beside the bundle's own, for example pull.json.

    Returns:
        What was recognised, line by line, for the user.

    Raises:
        OutputExistsError: `out` is there already.
        OutputError: it cannot be written.
        ImportModelError, AmbiguousModelError, MissingExtraError: see `cxrzero.convert`.
    """
    _check_free(out)
    from cxrzero.convert import import_model  # needs torch, which a bundle that is here already does not

    def made(folder: Path) -> tuple[str, ...]:
        return import_model(source, folder, name=name or out.name, card=card, arch=arch, tokenizer=tokenizer).lines

    return _put(out, made, variants, extras)


def place(name: str | None, out: Path | None) -> tuple[Path, str]:
    """Where a model goes whose files do not say what it is called, and what --model then takes.

    Raises:
        UsageError: neither is given, or the name cannot be one.
    """
    if out is not None:
        return out, str(out)
    if name is None:
        raise UsageError("give your model a name: --name NAME")
    return models_folder() / check_name(name), name


def convert_own(
    asked: OwnEncoders, out: Path, *, name: str | None = None, variants: Sequence[str] = ()
) -> tuple[str, ...]:
    """The same of encoders of a user's own.

    Raises:
        OutputExistsError, OutputError: as `convert`.
        NoInputError, ConfigError, ImportModelError, MissingExtraError: see `cxrzero.convert.import_own`.
    """
    _check_free(out)
    from cxrzero.convert import import_own

    return _put(out, lambda folder: import_own(asked, folder, name or out.name), variants)


def _check_free(out: Path) -> None:
    if out.exists():
        raise OutputExistsError(f"{out} exists already; choose another --name or --out, or remove it first")


def _put(
    out: Path, made: Callable[[Path], tuple[str, ...]], variants: Sequence[str], extras: Sequence[Path] = ()
) -> tuple[str, ...]:
    """Have a bundle made in a folder of its own, and move it to its place; what is said of it."""
    with _workplace(out) as work:
        bundle = work / out.name
        lines = made(bundle)
        if variants:
            from cxrzero.convert.variants import add_variants

            lines += add_variants(bundle, variants)
        for extra in extras:
            shutil.copy2(extra, bundle)
        _move(bundle, out)
    return lines


@contextmanager
def _workplace(out: Path) -> Iterator[Path]:
    """A folder beside `out` for what is not whole yet; gone at the end, whatever happens."""
    parent = make_private(out.parent)
    try:
        with tempfile.TemporaryDirectory(prefix=".importing-", dir=parent, ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OSError as error:
        hint = f"; the conversion also writes to {tempfile.gettempdir()}" if error.errno == errno.ENOSPC else ""
        raise OutputError(f"{out} cannot be written: {error.strerror}{hint}. Nothing was left there") from error


def digest(source: Path) -> str:
    """What a source contains, as the name of a folder; a file with what an import may read beside it.

    Raises:
        RunError: something in it cannot be read.
    """
    names = (*VOCABULARIES, *((BOOK, *OF_BOOK) if (source.parent / BOOK).is_file() else ()))
    beside = [source.parent / name for name in names] if source.is_file() else []
    try:
        found = [sha256_of_tree(path) for path in (source, *beside) if path.exists()]
        return found[0] if len(found) == 1 else hashlib.sha256("\n".join(found).encode()).hexdigest()
    except OSError as error:
        raise RunError(f"{error.filename or source} cannot be read: {error.strerror}") from error


def _move(made: Path, out: Path) -> None:
    try:
        made.rename(out)
    except OSError:
        if not is_bundle(out):  # else another process was faster, with the same contents
            raise
