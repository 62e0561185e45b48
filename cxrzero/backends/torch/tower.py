"""One encoder of a bundle on a GPU: its program for calls of one size, and the calls that run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cxrzero.backends.base import Tower, check_names
from cxrzero.backends.torch.calls import Calls
from cxrzero.backends.torch.cuda import Cuda
from cxrzero.backends.torch.fuse import cut_patches
from cxrzero.backends.torch.graph import TorchGraph
from cxrzero.backends.torch.half import halve
from cxrzero.backends.torch.program import Kind, Program, UnfixedError, clean, specialise
from cxrzero.model.values import ValueSteps

TORCH_DTYPES = {np.dtype(name): getattr(torch, name) for name in ("float32", "int64", "uint8")}


class GpuTower:
    """See the module.

    Args:
        dtype: in which it computes; float32 or a short format.

    Attributes:
        refusal: why operators are started one by one and not as a CUDA graph; None where they are not.
    """

    def __init__(self, cuda: Cuda, path: Path, tower: Tower, dtype: torch.dtype) -> None:
        self._cuda, self._path, self._tower, self._dtype = cuda, path, tower, dtype
        self._calls: Calls | None = None
        self._key: tuple[Any, ...] = ()
        self._encode: Callable[[Tensor], Tensor] | None = None
        self._kind: Kind | None = None
        self.refusal: str | None = None

    def calls(self, row: npt.NDArray[Any], steps: ValueSteps | None, size: int) -> Calls:
        """The calls for rows like this one, kept until others are asked for.

        Raises:
            BundleError: the file is not an ONNX model of the contract, or has an operator that is not known.
            Whatever a first run raises, such as that memory ran out.
        """
        key = (row.shape, row.dtype, steps, size)
        if self._calls is None or self._key != key:
            self._close_calls()
            kind = _kind(row, steps, size)
            if self._encode is None or self._kind != kind:
                self._encode = None  # gives its memory back before more is taken
                self._encode, self._kind = self._encoding(kind), kind
            kind_of_row = (row.shape, TORCH_DTYPES[row.dtype])
            graph = self.refusal is None
            self._calls = Calls(self._cuda, self._encode, size, kind_of_row, steps, graph=graph)
            self.refusal = self.refusal or self._calls.refusal
            self._key = key
        return self._calls

    def close(self) -> None:
        """Let go of all memory on the GPU, after the work that is under way."""
        self._close_calls()
        self._encode = None

    def _close_calls(self) -> None:
        if self._calls is not None:
            self._calls.close()
        self._calls = None

    def _encoding(self, kind: Kind) -> Callable[[Tensor], Tensor]:
        """The encoder for inputs of one kind; operator by operator where there is no program."""
        graph = TorchGraph(self._path, self._tower.output)
        check_names(self._path, self._tower, graph.inputs, {self._tower.output})
        try:
            return program(graph, self._tower.input, kind, self._dtype).ready(self._cuda.device)
        except UnfixedError as error:
            self.refusal = str(error)
        graph = TorchGraph(self._path, self._tower.output, self._cuda.device, self._dtype)

        def encode(values: Tensor) -> Tensor:
            is_short = self._dtype is not torch.float32
            with torch.autocast(self._cuda.device.type, self._dtype, enabled=is_short):
                return graph(self._tower.input, values).float()

        return encode


def program(graph: TorchGraph, name: str, kind: Kind, dtype: torch.dtype) -> Program:
    """What runs of a graph that is on the CPU, for inputs of one kind, in fp32 or a short format.

    `torch.compile(program(…).ready(device), fullgraph=True)` compiles it whole.

    Raises:
        UnfixedError: there is none.
    """
    found = specialise(graph, name, kind)
    if dtype is torch.float32:
        clean(found)
        cut_patches(found)
        return found
    return halve(found, dtype)


def _kind(row: npt.NDArray[Any], steps: ValueSteps | None, size: int) -> Kind:
    """Of what the encoder gets."""
    if steps is None:
        return Kind((size, *row.shape), TORCH_DTYPES[row.dtype])
    sides = row.shape if steps.side is None else (steps.side, steps.side)
    return Kind((size, 3, *sides), torch.float32)
