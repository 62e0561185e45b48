"""An option of a command has one home: a field of the command's frozen options type.

    @dataclass(frozen=True, slots=True)
    class SearchOptions:
        words: tuple[str, ...] = argument("[TEXT] PATH...", "What to look for, then where.")
        top: int = option(20, "How many images to show.", metavar="N", minimum=1)

From the fields come the parameters and --help of the command line and the keys of --config (`cxrzero.cli.parameters`),
the `options` of a run's record, what `merge` compares, what a resumed training may not change, and the tables of the
docs. So a new option is named where it is declared and where it is used. Imports nothing of the package.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from typing import Any, Literal, TypeVar, get_type_hints

T = TypeVar("T")

# "scores": the numbers themselves, so a calibration is bound to it (that includes the result). "result": what comes out
# otherwise; shards must agree in it, and a resumed training may not change it. "nothing": how the work is carried out.
Decides = Literal["scores", "result", "nothing"]

ADVANCED = "Advanced"
# In place of a default, for an option that must be given.
REQUIRED: Any = MISSING


@dataclass(frozen=True, slots=True)
class Option:
    """What a field says of itself.

    Attributes:
        help: a sentence or two for --help and the docs.
        metavar: what stands for the value there; of an argument its name.
        flag: where it is not the field's name; "--no-cache" turns a field off that is on by default, and
            "--augment/--no-augment" does both.
        short: such as "-o".
        panel: of --help; None is the main one, which has near a dozen.
        minimum, maximum: of a number.
        check: raises a UsageError for a text that the option does not take; of a text that stays as it is. It is asked
            while the line is read, so that the message names a file of --config.
        parse: makes the value of the text typed; raises a UsageError. Without it the type says how a text is read, and
            a tuple is an option that may be given several times.
        decides: see `Decides`.
        recorded: whether the record of a run has it among its `options`; some have keys of their own there.
        is_argument: it stands on the command line without a flag.
        hidden: not on the command line; for callers in Python.
        name, type, default: the field's; filled by `options_of`.
    """

    help: str
    metavar: str | None = None
    flag: str | None = None
    short: str | None = None
    panel: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    check: Callable[[str], Any] | None = None
    parse: Callable[[str], Any] | None = None
    decides: Decides = "result"
    recorded: bool = True
    is_argument: bool = False
    hidden: bool = False
    name: str = ""
    type: Any = None
    default: Any = None

    @property
    def flags(self) -> str:
        """The option as it is typed: "--batch-size", "--augment/--no-augment"."""
        return self.flag or "--" + self.name.replace("_", "-")

    @property
    def turns_off(self) -> bool:
        """Whether the flag makes a field false that is true without it."""
        return self.type is bool and self.default is True and "/" not in self.flags


def option(default: T, help: str, **facts: Any) -> T:  # noqa: A002 (the field's name in Typer and argparse)
    """A field of an options type, by keyword what `Option` has; REQUIRED as default for one that must be given."""
    made: T = dataclasses.field(default=default, metadata={Option: Option(help, **facts)})
    return made


def argument(metavar: str, help: str, default: Any = REQUIRED, **facts: Any) -> Any:  # noqa: A002
    """A field that is given without a flag."""
    return option(default, help, metavar=metavar, is_argument=True, **facts)


def option_of(kind: Any, name: str) -> Any:
    """A field that means what the field of that name means in another options type."""
    of = kind.__dataclass_fields__[name]
    return dataclasses.field(default=of.default, metadata=of.metadata)


def table(kind: type, help: str, *, can_be_absent: bool = False) -> Any:  # noqa: A002
    """A field that is an options type itself: a table of a file. Absent it is None, or as it is by its defaults."""
    facts = {Option: Option(help)}
    if can_be_absent:
        return dataclasses.field(default=None, metadata=facts)
    return dataclasses.field(default_factory=kind, metadata=facts)


def options_of(kind: type) -> tuple[Option, ...]:
    """The options of an options type, in the order declared."""
    types = get_type_hints(kind)
    return tuple(
        dataclasses.replace(field.metadata[Option], name=field.name, type=types[field.name], default=field.default)
        for field in dataclasses.fields(kind)
    )


def carried_out(kind: type) -> frozenset[str]:
    """Names of the options that decide nothing of the result, only how the work is carried out."""
    return frozenset(each.name for each in options_of(kind) if each.decides == "nothing")


def record_of(options: Any, settled: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The options for the record of a run: as the program settled them, else as they were asked for."""
    return {
        each.name: (settled or {}).get(each.name, getattr(options, each.name))
        for each in options_of(type(options))
        if each.recorded
    }


def comma_list(text: str) -> tuple[str, ...]:
    """Read `a, b` as ("a", "b")."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
