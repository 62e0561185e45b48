"""Which readable images are scored: `--skip FLAGS` and `--only frontal`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cxrzero.choices import View
from cxrzero.errors import ConfigError, SkippedImage
from cxrzero.images.flags import FLAGS

# A view that the header does not state is not known to be frontal.
NOT_FRONTAL = ("lateral", "view_unknown")


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user leaves out. Without it everything readable is scored, and flagged.

    Attributes:
        skip: flags whose images become rows with status "skipped".
        only: "frontal" leaves out what the header does not call a frontal view.
    """

    skip: frozenset[str] = frozenset()
    only: View | None = None

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
    wanted = frozenset(name.strip() for name in names if name.strip())
    unknown = sorted(wanted - set(FLAGS))
    if unknown:
        raise ConfigError(f"--skip: unknown flag {', '.join(unknown)}; known: {', '.join(sorted(FLAGS))}")
    return wanted
