"""How many threads NumPy's products of matrices may take."""

from __future__ import annotations

import os

VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def one_blas_thread() -> None:
    """Call before NumPy is imported; what the user has set stays.

    The threads wait by spinning, on cores that decoders and encoder need, and cosines with a few labels are far too
    small a product to be worth sharing.
    """
    for variable in VARIABLES:
        os.environ.setdefault(variable, "1")
