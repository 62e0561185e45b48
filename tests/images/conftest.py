"""Bytes are turned into decoded images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxrzero.errors import ImageError
from cxrzero.images import DecodeOptions, Radiograph, decode, decode_content
from tests.support.dicomfile import Decode


@pytest.fixture
def decoded(tmp_path: Path) -> Decode:
    """(content, options) → the frames of a file with this content, which are those of the content in memory."""

    def run(content: bytes, options: DecodeOptions | None = None) -> list[Radiograph]:
        path = tmp_path / "image"
        path.write_bytes(content)
        frames, error = outcome(lambda: decode(path, options))
        again, same_error = outcome(lambda: decode_content(content, options))
        assert list(map(told, again)) == list(map(told, frames))
        assert (type(same_error), str(same_error)) == (type(error), str(error))
        if error is None:
            return frames
        assert isinstance(same_error, ImageError)
        assert same_error.facts == error.facts
        raise error

    return run


def outcome(made: Callable[[], Iterator[Radiograph]]) -> tuple[list[Radiograph], ImageError | None]:
    """The frames, and what ended them."""
    frames: list[Radiograph] = []
    try:
        for frame in made():
            frames.append(frame)
    except ImageError as error:
        return frames, error
    return frames, None


def told(frame: Radiograph) -> Any:
    return frame.pixels.shape, frame.pixels.tobytes(), replace(frame, pixels=None)  # type: ignore[arg-type]
