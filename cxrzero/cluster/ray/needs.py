"""What a worker needs of a node, and how many of them that node has room for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cxrzero.choices import Device
from cxrzero.errors import UsageError

# As Ray names what a node has.
CPU, GPU = "CPU", "GPU"
Resources = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Needs:
    """Of a worker.

    Attributes:
        device: "cpu" or "cuda"; "auto" until the nodes are known.
        cpus: cores; None is one on a processor, and a GPU's share of the cores of its node.
    """

    device: Device
    cpus: int | None = None

    def settled(self, nodes: Iterable[Resources]) -> Needs:
        """With a device: all tasks of a run are done alike, on GPUs if any node has one."""
        if self.device != "auto":
            return self
        return Needs("cuda" if any(node.get(GPU, 0) >= 1 for node in nodes) else "cpu", self.cpus)

    def cpus_on(self, node: Resources) -> int:
        """Cores of a worker there."""
        if self.cpus is not None:
            return self.cpus
        return max(1, int(node.get(CPU, 0) // max(1, node.get(GPU, 0)))) if self.device == "cuda" else 1

    def places_on(self, node: Resources) -> int:
        """How many workers have room there."""
        places = int(node.get(CPU, 0) // self.cpus_on(node))
        return min(places, int(node.get(GPU, 0))) if self.device == "cuda" else places


def needs_of(device: Device, workers: int | None) -> Needs:
    """What `--device` and `--workers` ask for.

    Raises:
        UsageError: a certain GPU, where each task gets one that is free.
    """
    if ":" in device:
        raise UsageError(f"--device {device}: on a Ray cluster each task gets a GPU of its own; give --device cuda")
    return Needs(device, workers)
