"""Who takes a node's reports: what is asked of it and what it answers, whichever protocol it speaks."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cxrzero.errors import RunError


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a report is stored; `code` says with what warning, or why not."""

    is_stored: bool
    code: str = ""


class PeerDownError(RunError):
    """The peer does not answer, or not to anything: not the fault of one report."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the peer does not take reports: {code}")
        self.code = code


class Recipient(Protocol):
    """Where reports go."""

    def send(self, paths: Sequence[Path]) -> Generator[Answer, None, None]:
        """Send reports in their order, and give the answer to each as it comes.

        Raises:
            PeerDownError: none of those that are left can be sent now.
        """
