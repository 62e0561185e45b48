"""Labels as a user types them, and labels × templates → prompts."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrzero.errors import LabelError
from cxrzero.model.model_json import Templates
from cxrzero.prediction import FIXED_COLUMNS

# What people put between labels: a comma, the columns and lines of a spreadsheet, the bar of NIH's own lists, and the
# commas of East Asian and Arabic keyboards. A label that holds one is put in quotation marks.
SEPARATORS = ",;|\t\r\n，；、،؛"
_QUOTED = r"""[ ]*(?:"(?P<quoted>(?:[^"]|"")*)"|[“„](?P<curly>[^“”]*)[“”])[ ]*"""
_FIELD = re.compile(rf"{_QUOTED}(?=[{SEPARATORS}]|$)|(?P<plain>[^{SEPARATORS}]*)")


@dataclass(frozen=True, slots=True)
class LabelPrompts:
    """What is asked for one label: the images' closeness to `positive` against that to `negative`.

    Attributes:
        source: where the sentences come from, in words for the user.
        is_from_model: whether those are the model's own words: another model is asked in its own.
    """

    label: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    source: str = "the caller"
    is_from_model: bool = False

    def record(self) -> dict[str, Any]:
        """What is asked, as the run record has it."""
        return {"label": self.label, "positive": list(self.positive), "negative": list(self.negative)}


def parse_labels(text: str) -> tuple[str, ...]:
    """Read labels as a user types them.

    Args:
        text: a list (`pneumonia,edema`; SEPARATORS are all that may stand for the comma), in which a label that holds
            one of these is quoted (`"mass, left",edema`), or `@file` with one label a line.

    Raises:
        LabelError: the file cannot be read, or a label is not usable (see `check_labels`).
    """
    return check_labels(_read_lines(text[1:]) if text.startswith("@") else _split(as_typed(text)))


def listed(labels: Sequence[str]) -> str:
    """Labels as `parse_labels` reads them again."""
    return ",".join(
        '"' + label.replace('"', '""') + '"' if re.search(rf'["“„{SEPARATORS}]', label) else label for label in labels
    )


def _split(text: str) -> list[str]:
    """The labels of a list; blank lines in it are none."""
    text = text.strip("\r\n")
    labels, at = [], 0
    while True:
        field = _FIELD.match(text, at)
        assert field is not None, "the second branch matches everything"
        quoted, curly, plain = field.groups()
        if plain is not None and plain.lstrip().startswith('"'):
            raise LabelError(f"--labels: a quotation mark is not closed in {text!r}")
        ends_line = field.end() == len(text) or text[field.end()] in "\r\n"
        starts_line = at == 0 or text[at - 1] in "\r\n"
        if plain is None:
            labels.append(curly if quoted is None else quoted.replace('""', '"'))
        elif plain.strip() or not (starts_line and ends_line):
            labels.append(plain)
        at = field.end() + 1
        if at > len(text):
            return labels


def _read_lines(path: str) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise LabelError(f"the label file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"the label file {path} is not UTF-8 text") from error
    return [_unquoted(line.strip()) for line in lines if line.strip()]


def as_typed(text: str) -> str:
    """Words of a command line. Where the locale knows ASCII only, Python hands over other letters byte by byte; read as
    UTF-8 they are whole again.
    """
    if text.isprintable():
        return text
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        return text


def _unquoted(line: str) -> str:
    """A line of a label file; quotes around a whole line, as the comma list needs them, are taken off."""
    if line.startswith("#"):
        raise LabelError(f"the label file has a comment, {line[:40]!r}; it takes one label a line and nothing else")
    return line[1:-1].replace('""', '"') if len(line) > 1 and line[0] == line[-1] == '"' else line


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Trim labels and refuse those that could not be columns of one table.

    Raises:
        LabelError: no label, an empty one, two equal ones, a fixed column's name, or control characters.
    """
    trimmed = tuple(label.strip() for label in labels)
    if not trimmed:
        raise LabelError("no labels given; name findings, for example --labels pneumonia,edema")
    for label in trimmed:
        if not label:
            raise LabelError("a label is empty; look for two separators in a row or one at the end")
        if not label.isprintable():
            raise LabelError(f"the label {label!r} contains a control character")
        if label in FIXED_COLUMNS:
            raise LabelError(f"the label {label!r} has the name of a fixed column of the table; choose other words")
    repeated = sorted(label for label, count in Counter(trimmed).items() if count > 1)
    if repeated:
        raise LabelError(f"labels given more than once: {', '.join(repeated)}")
    return trimmed


def build_prompts(labels: Sequence[str], templates: Templates) -> tuple[LabelPrompts, ...]:
    """Put each label into every template, e.g. "{}" and "no {}" (the paper's pair)."""
    return tuple(
        LabelPrompts(
            label,
            tuple(template.replace("{}", label) for template in templates.positive),
            tuple(template.replace("{}", label) for template in templates.negative),
            "the model's templates",
            is_from_model=True,
        )
        for label in labels
    )
