"""A disk that is full: nothing is lost, and the node goes on when there is room again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxrzero.errors import CxrzeroError
from cxrzero.node.outbox import REPORTED
from tests.support import needs
from tests.support.working import Node, config_of, film, take_in

DISK_BYTES = 4 * 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root of a Linux mounts a disk of its own")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        needs.missing("a tmpfs cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte on it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue
    return ballast


def test_work_on_a_full_disk(small_disk: Path, tiny_bundle: Path) -> None:
    node = Node(config_of(small_disk, tiny_bundle))
    node.receive(*(film(seed, f"2.25.{seed}") for seed in range(4)))
    ballast = fill(small_disk)
    for _ in range(7):  # more often than a film may crash its decoder: a disk is not the film's fault
        with pytest.raises(CxrzeroError):
            node.work.step()
    with pytest.raises((OSError, CxrzeroError)):  # nothing is acknowledged
        take_in(node.queue, node.config, film(9, "2.25.9"))
    ballast.unlink()
    node.turn()
    assert node.queue.outbox.counts() == {REPORTED: 4}
    assert node.queue.counts() == {"scored": 4}
    assert sorted(line["study"] for line in node.lines) == [f"2.25.{seed}" for seed in range(4)]
    node.close()
