"""Inert stand-ins for the configurations that training loops pickle beside the weights.

torch's unpickler makes objects of listed classes only. Under the names below it finds `StandIn`, which keeps what it is
given and does nothing: the class of that name is not imported, and nothing of it is called. Any other name is refused,
as it is without the list.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

MAX_DEPTH = 20  # of a configuration; deeper ones, and those that hold themselves, are cut off
SCALARS = (str, int, float, bool, type(None))


class StandIn:
    """An object of another class, by name only; `state` is what the pickle has for it."""

    state: Any = None

    def __init__(self, *args: Any) -> None:
        """What the class would be made from is left out."""

    def __setstate__(self, state: Any) -> None:
        self.state = state


class DictStandIn:
    """A dict of another class: the unpickler puts items into three classes only, and attributes into one of them."""

    def __new__(cls, *args: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


OBJECTS = (
    *("argparse.Namespace", "configs.Config"),
    *(f"builtins.{name}" for name in ("dict", "list", "tuple", "str", "int", "float", "bool", "bytes")),
    *(f"typing.{name}" for name in ("Any", "Dict", "List", "Union", "Optional")),
    *(f"pathlib{at}.{of}Path" for at in ("", "._local") for of in ("", "Posix", "Windows", "PurePosix", "PureWindows")),
    *(f"numpy{core}.multiarray.{name}" for core in (".core", "._core") for name in ("scalar", "_reconstruct")),
    *(f"numpy.{name}" for name in ("dtype", "ndarray", "float64", "float32", "int64", "bool_")),
    *(f"numpy.dtypes.{kind}DType" for kind in ("Float64", "Float32", "Int64", "Int32", "Bool")),
    *(f"omegaconf.{name}" for name in ("dictconfig.DictConfig", "listconfig.ListConfig", "base.SCMode")),
    *(f"omegaconf.base.{name}" for name in ("ContainerMetadata", "Metadata")),
    *(f"omegaconf.nodes.{kind}Node" for kind in ("Any", "String", "Integer", "Float", "Boolean", "Path", "Enum")),
    *(
        f"{lightning}.callbacks.{name}"
        for lightning in ("pytorch_lightning", "lightning.pytorch")
        for name in (
            "model_checkpoint.ModelCheckpoint",
            "early_stopping.EarlyStopping",
            "lr_monitor.LearningRateMonitor",
        )
    ),
)
DICTS = (
    *("collections.defaultdict", "easydict.EasyDict", "yacs.config.CfgNode"),
    *(f"{lightning}.utilities.parsing.AttributeDict" for lightning in ("pytorch_lightning", "lightning.pytorch")),
    *(f"{fabric}.utilities.data.AttributeDict" for fabric in ("lightning_fabric", "lightning.fabric")),
)


@contextmanager
def stand_ins() -> Iterator[None]:
    """In this block torch.load(weights_only=True) finds stand-ins under the names above."""
    known = [*((StandIn, name) for name in OBJECTS), *((DictStandIn, name) for name in DICTS)]
    with torch.serialization.safe_globals(known):
        yield


def plain(value: Any, depth: int = 0, done: dict[int, Any] | None = None) -> Any:
    """A configuration as dicts, lists and scalars; None stands for what is none of them.

    Args:
        done: what became of objects that were met before, since a file may hold one in many places, and in itself.
    """
    done = {} if done is None else done
    if type(value) in SCALARS:
        return value
    if depth == MAX_DEPTH or id(value) in done:
        return done.get(id(value))
    done[id(value)] = None
    made: Any = None
    if isinstance(value, StandIn):
        made = plain(_content(value), depth + 1, done)
    elif isinstance(value, dict):
        made = {str(key): plain(each, depth + 1, done) for key, each in dict.items(value)}
    elif isinstance(value, list | tuple | set):
        made = [plain(each, depth + 1, done) for each in value]
    done[id(value)] = made
    return made


def _content(value: StandIn) -> Any:
    """What OmegaConf keeps in a container or a value; a namespace is its own state."""
    state = value.state
    for key in ("_content", "_val"):
        if isinstance(state, dict) and key in state:
            return state[key]
    return state
