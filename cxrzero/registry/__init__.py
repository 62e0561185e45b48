"""Known models, the user's models, and what `--model` means. Torch-free; only `registry.pull` uses the network."""

from cxrzero.registry.resolve import resolve_model, resolve_models

__all__ = [
    "resolve_model",
    "resolve_models",
]
