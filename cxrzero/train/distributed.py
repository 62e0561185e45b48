"""The processes of a run. Started by torchrun there are several; otherwise there is one and nothing is sent."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

from cxrzero.choices import Device, gpu_number
from cxrzero.display.counts import counted
from cxrzero.errors import DeviceError, UsageError

# One process may decode images for hours while the others wait for it; torchrun ends them all if one dies.
PATIENCE = timedelta(days=2)
BUCKET = 32 * 2**20  # numbers summed in one message


@dataclass(frozen=True)
class World:
    """This process among all.

    Attributes:
        rank: 0 is the one that writes and speaks.
        size: number of processes.
        device: where this process computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        return self.rank == 0

    @property
    def gpu(self) -> str | None:
        """The card's name."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else None

    def part(self, count: int) -> slice:
        """This process's share of `count` things."""
        edges = self._edges(count)
        return slice(edges[self.rank], edges[self.rank + 1])

    def gather(self, local: Tensor, count: int) -> Tensor:
        """All shares of a (count, D) tensor in order; carries no gradient.

        Args:
            local: the rows `part(count)`.
        """
        if self.size == 1:
            return local
        edges = self._edges(count)
        sizes = [int(size) for size in np.diff(edges)]
        padded = local.new_zeros(max(sizes), *local.shape[1:])
        padded[: len(local)] = local
        shares = [torch.empty_like(padded) for _ in range(self.size)]
        distributed.all_gather(shares, padded)
        return torch.cat([share[:n] for share, n in zip(shares, sizes, strict=True)])

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over the processes; a missing one counts as zero."""
        if self.size == 1:
            return
        for bucket in _buckets(parameters):
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            distributed.all_reduce(flat)
            parts = torch.split(flat, [gradient.numel() for gradient in gradients])
            for parameter, part in zip(bucket, parts, strict=True):
                # In the weight's own memory layout: a fused optimiser takes both as flat arrays.
                parameter.grad = torch.empty_like(parameter, requires_grad=False).copy_(part.view_as(parameter))

    def spread_buffers(self, model: nn.Module) -> None:
        """Give every process the first one's buffers: running statistics differ, because each saw its own images."""
        if self.size > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, 0)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        flags = torch.tensor(int(flag), device=self.device)
        distributed.all_reduce(flags, distributed.ReduceOp.MAX)
        return bool(flags)

    def from_main(self, value: Any) -> Any:
        """What the first process holds, in every process."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, 0)
        return box[0]

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            distributed.barrier()

    def _edges(self, count: int) -> list[int]:
        return [count * rank // self.size for rank in range(self.size + 1)]


@contextmanager
def join(device: Device) -> Iterator[World]:
    """Meet the other processes, as torchrun's environment variables say.

    Raises:
        DeviceError: "cuda" or "cuda:N" was asked for and is not there.
        UsageError: a GPU was named by its number in a run of several processes, of which each takes its own.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if size > 1 and ":" in device:
        raise UsageError(f"under torchrun each process takes its own GPU: give --device cuda, not {device}")
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    world = World(rank, size, _device(device, local_rank if size > 1 else gpu_number(device)))
    if size == 1:
        yield world
        return
    if world.device.type == "cuda":
        torch.cuda.set_device(world.device)
    distributed.init_process_group("nccl" if world.device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield world
    finally:
        distributed.destroy_process_group()


def _device(wanted: Device, number: int) -> torch.device:
    available = torch.cuda.is_available()
    if wanted.startswith("cuda") and not available:
        raise DeviceError("this torch finds no CUDA device; use --device cpu, or install a torch built for CUDA")
    if wanted == "cpu" or not available:
        return torch.device("cpu")
    if ":" in wanted and number >= torch.cuda.device_count():
        raise DeviceError(f"there is no {wanted}: torch shows {counted(torch.cuda.device_count(), 'GPU')}")
    return torch.device("cuda", number)


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        bucket.append(parameter)
        if sum(p.numel() for p in bucket) >= BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket
