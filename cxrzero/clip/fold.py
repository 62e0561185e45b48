"""Batch norms folded into the convolutions before them: the same function with fewer steps, which trains faster."""

from __future__ import annotations

from typing import Any

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cxrzero.errors import UsageError


def fold_batch_norms(module: nn.Module) -> None:
    """Replace, in place, every batch norm by the bias and scale that it gives to the convolution before it.

    What the norm does beside normalising (timm's BatchNormAct2d activates, too) stays in its place. The module computes
    what it did in evaluation mode, up to rounding. Parameters of a convolution that learns go on learning.

    Raises:
        UsageError: a batch norm follows no convolution directly, or the module's layers cannot be followed.
    """
    # All are found before one is replaced: a module that is refused stays as it was.
    for convolution, norm in _pairs(module):
        _replace(module, convolution, norm)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, nn.Conv2d | nn.BatchNorm2d) or super().is_leaf_module(module, name)


def _pairs(module: nn.Module) -> list[tuple[str, str]]:
    """The name of every batch norm, after that of the convolution whose output it alone reads."""
    layers = dict(module.named_modules())
    norms = {name for name, layer in layers.items() if isinstance(layer, nn.modules.batchnorm._BatchNorm)}
    if not norms:
        return []
    calls = [node for node in _trace(module).nodes if node.op == "call_module"]
    pairs = []
    for node in calls:
        if node.target not in norms:
            continue
        source: Any = node.args[0] if node.args else None
        alone = isinstance(source, fx.Node) and source.op == "call_module" and len(source.users) == 1
        if (
            not alone
            or not isinstance(layers[source.target], nn.Conv2d)
            or not isinstance(layers[node.target], nn.BatchNorm2d)
            or layers[node.target].running_mean is None
        ):
            raise UsageError(
                f"the batch norm {node.target} follows no convolution directly, so it cannot be folded; leave "
                "fold_batch_norms out of the architecture"
            )
        pairs.append((str(source.target), str(node.target)))
    used = [name for pair in pairs for name in pair]
    shared = next((name for name in used if sum(call.target == name for call in calls) > 1), None)
    unseen = min(norms - set(used), default=None)
    if shared or unseen:
        problem = f"{shared} is used more than once" if shared else f"the batch norm {unseen} is never used"
        raise UsageError(f"{problem}: batch norms cannot be folded")
    return pairs


def _trace(module: nn.Module) -> fx.Graph:
    try:
        return _Tracer().trace(module)
    except (fx.proxy.TraceError, TypeError, RuntimeError, NameError) as error:
        raise UsageError(f"batch norms cannot be folded: the model's layers cannot be followed ({error})") from error


def _replace(module: nn.Module, convolution: str, norm: str) -> None:
    before, after = module.get_submodule(convolution), module.get_submodule(norm)
    training, learns = before.training, before.weight.requires_grad
    # The fused copy has its weights under the same names, in the class of the convolution (timm pads in its own).
    fused: Any = fuse_conv_bn_eval(before.eval(), after.eval())
    fused.requires_grad_(learns)  # torch leaves a new bias without gradient
    module.set_submodule(convolution, fused.train(training))
    kept = [getattr(after, name) for name in ("drop", "act") if hasattr(after, name)]
    kept = [layer.train(training) for layer in kept if not isinstance(layer, nn.Identity)]
    module.set_submodule(norm, nn.Sequential(*kept) if len(kept) > 1 else kept[0] if kept else nn.Identity())
