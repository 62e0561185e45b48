"""Which readable images are scored: `--skip FLAGS` and `--only frontal`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from cxrzero.choices import View
from cxrzero.display.oneline import arguments
from cxrzero.errors import ConfigError, SkippedImage
from cxrzero.images.flags import FLAGS

# A view that the header does not state is not known to be frontal.
NOT_FRONTAL = ("lateral", "view_unknown")


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user leaves out. Without it everything readable is scored, and flagged.

        >>> frontal = Screener(selection=Selection(only="frontal"))
        >>> [row] = frontal.predict("films/normal.png", ["edema"])  # a PNG does not say its view
        >>> row.status, row.error
        ('skipped', 'view_unknown: left out by --only frontal')

    Attributes:
        skip: flags whose images become rows with status "skipped".
        only: "frontal" leaves out what the header does not call a frontal view.

    Raises:
        ConfigError: a flag that is not in the vocabulary, or another view.
    """

    skip: frozenset[str] = frozenset()
    only: View | None = None

    def __post_init__(self) -> None:
        if unknown := sorted(self.skip - set(FLAGS)):
            raise ConfigError(f"--skip: unknown flag {', '.join(unknown)}; known: {', '.join(sorted(FLAGS))}")
        if self.only not in (None, *get_args(View)):
            raise ConfigError(f"--only: unknown view {self.only!r}; known: {', '.join(get_args(View))}")

    def __repr__(self) -> str:
        return arguments(type(self), (("skip", sorted(self.skip), []), ("only", self.only, None)))

    def reason(self, flags: frozenset[str]) -> SkippedImage | None:
        """Why an image is left out, its code the flag that decided; None lets it pass."""
        if self.skip and (named := flags & self.skip):
            return SkippedImage(min(named), "left out by --skip")
        if self.only == "frontal":
            for flag in NOT_FRONTAL:
                if flag in flags:
                    return SkippedImage(flag, "left out by --only frontal")
        return None


def parse_skip(names: Sequence[str]) -> frozenset[str]:
    """Check names of flags.

    Raises:
        ConfigError: a name that is not in the vocabulary.
    """
    return Selection(frozenset(name.strip() for name in names if name.strip())).skip
