"""Imports run on one thread, and are compared on films of every shape."""

from __future__ import annotations

import pytest
from PIL import Image

from cxrzero.phantom import draw


@pytest.fixture(autouse=True)
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Square, tall, wide, small, and not a multiple of anything."""
    folder = tmp_path_factory.mktemp("films")
    for seed, size in enumerate([(400, 400), (512, 384), (300, 477), (64, 64), (351, 349)]):
        Image.fromarray(draw(seed, size).to_uint8()).save(folder / f"{seed}.png")
    return folder
