"""Which films a model was trained on, as far as the user says: no model card lists its films."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cxrzero.errors import ConfigError, NoInputError
from cxrzero.evaluate.boxes.table import BoxTable
from cxrzero.evaluate.keys import stem
from cxrzero.maths import Bools
from cxrzero.tables.names import PATH_NAMES, find_column, fold, some_of
from cxrzero.tables.read import open_table, read_table

# Of a film, or of all that a result was measured on.
Training = Literal["not seen", "seen", "unknown"]

LISTS = frozenset({".txt", ".lst"})  # files of one film a line; others are tables
YES, NO = frozenset({"1", "true", "yes", "seen", "train"}), frozenset({"0", "false", "no", "unseen", "val", "test"})


def seen_column(given: str | None) -> str | None:
    """The column of the box table that --seen names: what is no file."""
    return given if given is not None and not Path(given).is_file() else None


def seen_films(given: str | None, table: BoxTable, rows: Sequence[int], paths: Sequence[str]) -> Bools | None:
    """(n,) whether the model was trained on each film; None where the user does not say.

    Args:
        given: of --seen: a file that lists films, or a column of the box table.
        rows, paths: of each film a row in the box table, and its path.

    Raises:
        NoInputError: there is neither such a file nor such a column.
        ConfigError: the file or column cannot be used.
    """
    if given is None:
        return None
    column = seen_column(given)
    if column is not None:
        cells = table.columns[column]
        return np.array([_is_yes(cells[row], table.path, column) for row in rows], bool)
    listed = {stem(name) for name in _listed(Path(given))} - {""}
    return np.array([stem(path) in listed for path in paths], bool)


def check_seen(given: str | None, columns: Sequence[str]) -> None:
    """Raises NoInputError if --seen names neither a file nor a column."""
    column = seen_column(given)
    if column is not None and column not in columns:
        raise NoInputError(
            f"--seen {given}: there is no such file, and the box table has no such column; its columns: "
            f"{some_of(columns)}"
        )


def stated_training(card: Any) -> str:
    """What a model.json says of its training data, as names; "" where it says nothing."""
    stated = card.get("training_data") if card is not None else None
    entries = stated if isinstance(stated, list) else [stated] if isinstance(stated, str) else []
    names = [each.get("name") if isinstance(each, dict) else each for each in entries]
    return "; ".join(name for name in names if isinstance(name, str) and name)


def _listed(path: Path) -> list[str]:
    """Films of a file of lines, or of a table such as one that a model was trained with."""
    if path.suffix.lower() in LISTS:
        try:
            return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except UnicodeDecodeError:
            raise ConfigError(f"--seen {path}: this is not UTF-8 text") from None
    source = open_table(path)
    column = find_column(source.columns, PATH_NAMES)
    if column is None:
        raise ConfigError(
            f"--seen {path}: the table has no column that names films (such as 'image' or 'path'); its columns: "
            f"{some_of(source.columns)}. A list with a film in each line ends in .txt"
        )
    return read_table(source, text=[column]).text[column]


def _is_yes(cell: str, path: Path, column: str) -> bool:
    word = fold(cell)
    if word not in YES | NO:
        raise ConfigError(
            f"{path}: column {column!r} has {cell[:40]!r}; --seen takes 1 and 0, true and false, or yes and no"
        )
    return word in YES
