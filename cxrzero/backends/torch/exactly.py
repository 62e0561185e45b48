"""Settings of the whole process by which torch computes on a GPU what it is told to compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

# Settings of CUDA by which parts of a sum would be added in the short format of its products.
SHORT_SUMS = ("allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction")


@contextmanager
def exactly(cudnn: bool = False) -> Iterator[None]:
    """fp32 means fp32, not TensorFloat-32, and algorithms that give the same sum every time.

    Args:
        cudnn: whether cuDNN computes convolutions. Training needs it: without it cxrzero-mini saw 14 images a second on
            an H200, with it 1,190.
    """
    before = torch.get_float32_matmul_precision()
    products = torch.backends.cuda.matmul
    with ExitStack() as stack:
        stack.callback(torch.set_float32_matmul_precision, before)
        torch.set_float32_matmul_precision("highest")
        for short in SHORT_SUMS:
            stack.callback(setattr, products, short, getattr(products, short))
            setattr(products, short, False)
        flags = torch.backends.cudnn.flags(enabled=cudnn, benchmark=False, deterministic=True, allow_tf32=False)
        stack.enter_context(flags)
        yield
