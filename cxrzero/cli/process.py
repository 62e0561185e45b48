"""Settings of the whole process, which only a command may make; a library leaves them to its host."""

from __future__ import annotations

import gc
import os

BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# Objects made between two looks for cycles; Python's own 700 cost a run over cached images a seventh of its time.
OBJECTS_PER_COLLECTION = 50_000


def one_blas_thread() -> None:
    """Call before NumPy is imported; what the user has set stays.

    The threads wait by spinning, on cores that decoders and encoder need, and cosines with a few labels are far too
    small a product to be worth sharing.
    """
    for variable in BLAS_VARIABLES:
        os.environ.setdefault(variable, "1")


def rare_collections() -> None:
    """Look for cycles of objects rarely: what a run makes by the million has none."""
    gc.set_threshold(OBJECTS_PER_COLLECTION)
