"""What is asked of an archive, whatever it speaks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, Protocol


class Series(NamedTuple):
    """One series as an archive describes it.

    Attributes:
        modality: empty where it is not stated.
        instances: how many; None where it is not stated.
    """

    uid: str
    modality: str
    instances: int | None


class Instance(NamedTuple):
    """One instance as an archive describes it.

    Attributes:
        sop_class: UID; empty where it is not stated.
    """

    uid: str
    sop_class: str


class Service(Protocol):
    """An archive that is open.

    Each method may raise ImageError, which is about what was asked for, and ArchiveError, which ends the run. UIDs come
    in any order, each once; one that is none is left as it is.
    """

    def studies(self, keys: Mapping[str, str]) -> Collection[str]:
        """UIDs of the studies that have these values."""

    def series(self, study: str, keys: Mapping[str, str]) -> list[Series]:
        """The series of a study that have these values."""

    def instances(self, study: str, series: str, keys: Mapping[str, str]) -> Iterator[Instance]:
        """The instances of a series that have these values."""

    def fetch(self, study: str, series: str, instance: str) -> bytes:
        """The file of an instance (PS3.10), as the archive stores it."""

    def close(self) -> None:
        """End all connections."""
