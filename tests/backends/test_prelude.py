"""The graph of the value steps gives `ValueSteps`'s own bits; on the CPU, whose arithmetic is that of a GPU here."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from cxrzero.backends.ort_session import prelude_options
from cxrzero.backends.prelude import FITTED, PIXEL_VALUES, prelude
from cxrzero.clip.steps import chexzero_steps
from cxrzero.model.preprocess import Preprocess
from cxrzero.model.values import ValueSteps

RNG = np.random.default_rng(0)


def run(steps: ValueSteps, fitted: np.ndarray) -> np.ndarray:
    model = prelude(steps, fitted.shape)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    session = onnxruntime.InferenceSession(model, prelude_options(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run([PIXEL_VALUES], {FITTED: fitted[:, None]})[0])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [None, 7, 24])
def test_the_graph_gives_the_bits_of_the_steps(channels: int, side: int | None) -> None:
    steps = ValueSteps(RNG.normal(size=(channels, 256)).astype(np.float32), side)
    fitted = RNG.integers(0, 256, (5, 13, 11), dtype=np.uint8)
    given = run(steps, fitted)
    assert (given.dtype.name, given.shape) == ("float32", (5, 3, side or 13, side or 11))
    np.testing.assert_array_equal(given.view(np.uint32), steps(fitted).view(np.uint32))


def test_every_grey_level_is_looked_up() -> None:
    levels = np.arange(768, dtype=np.float32).reshape(3, 256)
    given = run(ValueSteps(levels), np.arange(256, dtype=np.uint8).reshape(1, 16, 16))
    np.testing.assert_array_equal(given.reshape(3, 256), levels)


def test_the_preprocessing_of_chexzero() -> None:
    preprocess = Preprocess(chexzero_steps(224), (224, 224))
    pictures = [RNG.integers(0, 256, size, dtype=np.uint8) for size in ((400, 300), (320, 320))]
    assert preprocess.value_steps is not None
    given = run(preprocess.value_steps, np.stack([preprocess.fit(pixels) for pixels in pictures]))
    expected = np.stack([preprocess(pixels) for pixels in pictures])
    np.testing.assert_array_equal(given.view(np.uint32), expected.view(np.uint32))
