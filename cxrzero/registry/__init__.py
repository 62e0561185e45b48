"""Known models, the user's models, and what `--model` means. Torch-free; only `registry.pull` uses the network."""

from cxrzero.registry.resolve import DEFAULT_MODEL, Notify, resolve_model, resolve_models, silent

__all__ = ["DEFAULT_MODEL", "Notify", "resolve_model", "resolve_models", "silent"]
