"""`--precision auto`: the number format in which this model trains fastest on this device."""

from __future__ import annotations

import copy
import time
from functools import partial

import torch
from torch import nn

from cxrzero.choices import Notify, TrainPrecision, silent
from cxrzero.train.data.batches import Batch
from cxrzero.train.distributed import World
from cxrzero.train.model.weights import train_mode
from cxrzero.train.options import TrainOptions
from cxrzero.train.step.backward import Encode, Encoders, backward
from cxrzero.train.step.optimise import make_optimiser
from cxrzero.train.step.repeatable import in_any_order

STEPS = 3  # timed for each format, after one that warms up
FASTER = 1.1  # bf16 rounds coarsely: so many times faster it must be to be taken


def choose_precision(
    model: nn.Module, batch: Batch, prepare: Encode, world: World, options: TrainOptions, notify: Notify = silent
) -> tuple[TrainPrecision, str]:
    """Take a few training steps in each format; the model and all random states stay as they are.

    Args:
        notify: see `in_any_order`.

    Returns:
        The format, by what the first process measured, the same in all; and a sentence for the user.
    """
    rates = world.from_main(measure(model, batch, prepare, world, options, notify))
    chosen: TrainPrecision = "bf16" if rates["bf16"] >= FASTER * rates["fp32"] else "fp32"
    told = ", ".join(f"{name} {rate:.3g} images/s" for name, rate in rates.items())
    return chosen, f"Training computes in {chosen}, by measurement on {world.device.type}: {told}"


def measure(
    model: nn.Module, batch: Batch, prepare: Encode, world: World, options: TrainOptions, notify: Notify = silent
) -> dict[TrainPrecision, float]:
    """Images per second of the fastest step in each format."""
    model = copy.deepcopy(model).to(world.device)
    train_mode(model, options.freeze)
    optimiser = make_optimiser(model, options)  # its rate is 0 until one is set
    encoders: dict[TrainPrecision, Encoders] = {
        "fp32": Encoders(model, prepare, world.device, bf16=False),
        "bf16": Encoders(model, prepare, world.device, bf16=True),
    }
    seconds: dict[TrainPrecision, list[float]] = {name: [] for name in encoders}
    with torch.random.fork_rng([world.device] if world.device.type == "cuda" else []):
        for _ in range(1 + STEPS):  # in turns, so that other work on the machine slows both
            for name, each in encoders.items():
                start = _now(world)
                optimiser.zero_grad(set_to_none=True)
                in_any_order(partial(backward, each, batch, world, options.micro_batch, options.loss), notify)
                optimiser.step()
                seconds[name].append(_now(world) - start)
    return {name: len(batch.images) / min(times[1:]) for name, times in seconds.items()}


def _now(world: World) -> float:
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)
    return time.perf_counter()
