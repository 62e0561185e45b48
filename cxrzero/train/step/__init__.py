"""One step: loss, gradients, optimiser."""
