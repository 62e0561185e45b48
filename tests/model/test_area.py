"""OpenCV's arithmetic without OpenCV: what cv2 4.11 gives of the same noise, as digests."""

import hashlib

import numpy as np
import pytest

from cxrzero.model.area import resize_area
from cxrzero.model.geometry import STEPS, AreaResize, stretched

# Of a picture, of what CARZero makes of it, and SHA-256 (16 digits) of
# cv2.resize(noise, (width, height), interpolation=cv2.INTER_AREA), opencv-python-headless 4.11.0.86 on x86-64: whole
# ratios, others, slivers, and pictures that grow.
RESIZED = [
    ((1024, 1024), (256, 256), "86e53e3e3cf7ce85"),
    ((512, 512), (256, 256), "56c9101614ed0f2a"),
    ((768, 512), (256, 170), "065405c66bf70b3a"),
    ((500, 400), (256, 204), "df70e576734ea93d"),
    ((431, 997), (110, 256), "b0356630f980ab8d"),
    ((256, 255), (256, 255), "22206add4e056dcf"),
    ((257, 300), (219, 256), "54c95126661d9388"),
    ((100, 80), (256, 204), "f081140b1a0af7d5"),
    ((37, 61), (155, 256), "cc580545bbc71456"),
    ((900, 1), (256, 1), "5a49d77f246bf12e"),
]
# Of cv2.normalize(levels, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U) for every darkest and brightest level, the same
# version on a processor with AVX2, where float32 is multiplied and added at once.
NORMALISED = "33e5b14a3dc733b7"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


@pytest.mark.parametrize(("seed", "row"), list(enumerate(RESIZED)))
def test_area(seed: int, row: tuple[tuple[int, int], tuple[int, int], str]) -> None:
    source, target, expected = row
    move = STEPS["resize_longest_area"](source, size=256)
    assert move == AreaResize(target)
    noise = np.random.default_rng(seed).integers(0, 256, source, np.uint8)
    assert digest(resize_area(noise, target).tobytes()) == expected


def test_a_sliver_keeps_one_pixel() -> None:
    assert STEPS["resize_longest_area"]((2000, 3), size=256) == AreaResize((256, 1))


def test_nearest() -> None:
    levels = b"".join(
        stretched(darkest, brightest, "nearest")[darkest : brightest + 1].tobytes()
        for darkest in range(256)
        for brightest in range(darkest, 256)
    )
    assert digest(levels) == NORMALISED
