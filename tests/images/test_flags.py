"""Each flag appears where its sentence says, and nowhere else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrzero.images import decode
from cxrzero.images.flags import FLAGS, border_fraction, pixel_flags
from tests.support.dicomfile import SECONDARY_CAPTURE, Decode, dicom_bytes

FILM = (np.add.outer(np.arange(300), np.arange(256)) % 256).astype(np.uint8)


@pytest.mark.parametrize(
    ("attributes", "flags"),
    [({}, set()),
     ({"ViewPosition": "AP"}, set()), ({"ViewPosition": "LL"}, {"lateral"}), ({"ViewPosition": "RL"}, {"lateral"}),
     ({"ViewPosition": "LATERAL"}, {"lateral"}), ({"ViewPosition": "lat "}, {"lateral"}),
     ({"ViewPosition": ""}, {"view_unknown"}), ({"ViewPosition": None}, {"view_unknown"}),
     ({"ViewPosition": "OBL"}, {"view_unknown"}),
     ({"ViewPosition": None, "ViewCodeSequence": [{"CodeValue": "399067008"}]}, {"lateral"}),
     ({"ViewPosition": None, "ViewCodeSequence": [{"CodeValue": "R-10236"}]}, {"lateral"}),
     ({"ViewPosition": None, "ViewCodeSequence": [{"CodeValue": "399348003"}]}, set()),
     ({"ViewPosition": None, "ViewCodeSequence": [{"CodeValue": "272479007"}]}, set()),
     ({"BodyPartExamined": "HAND"}, {"body_part_not_chest"}), ({"BodyPartExamined": "THORAX"}, set()),
     ({"BodyPartExamined": ""}, set()), ({"BodyPartExamined": None}, set()),
     ({"BodyPartExamined": "PORTABLE CHEST"}, set()),
     ({"PresentationIntentType": "FOR PROCESSING"}, {"for_processing"}),
     ({"PresentationIntentType": "FOR PRESENTATION"}, set()),
     ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1", "Modality": "DX"}, {"for_processing"}),
     ({"SOPClassUID": SECONDARY_CAPTURE}, {"secondary_capture"}),
     ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2", "Modality": "OT"}, {"secondary_capture"}),
     ({"BurnedInAnnotation": "YES"}, {"burned_in_annotation"}), ({"BurnedInAnnotation": "NO"}, set())],
)  # fmt: skip
def test_from_the_header(decoded: Decode, attributes: dict[str, Any], flags: set[str]) -> None:
    (image,) = decoded(dicom_bytes(FILM, **attributes))
    assert image.flags <= set(FLAGS)
    # What a ramp looks like to the detectors of "maybe …" is not the question here.
    assert {flag for flag in image.flags if not flag.startswith("maybe_")} == flags


def framed(share: float) -> np.ndarray:
    """A picture of which this share is a black border."""
    picture = np.zeros((400, 400), np.uint8)
    side = round(400 * (1 - share) ** 0.5)
    picture[:side, :side] = FILM[0, 0] + np.arange(side, dtype=np.uint8)[:, None] + np.arange(side, dtype=np.uint8)
    return picture


@pytest.mark.parametrize(
    ("pixels", "flags"),
    [(FILM, set()), (FILM[:223], {"low_resolution"}), (FILM[:224], set()), (FILM // 16 + 100, {"low_contrast"}),
     (np.zeros((300, 300), np.uint8), {"low_contrast"}), (framed(0.30), set()),
     (framed(0.40), {"heavily_cropped_or_padded"}),
     (np.tile(FILM, (2, 1)), {"heavily_cropped_or_padded"}), (np.tile(FILM, (1, 2)), set())],
)  # fmt: skip
def test_from_the_pixels(pixels: np.ndarray, flags: set[str]) -> None:
    assert pixel_flags(pixels) == flags


def test_border() -> None:
    assert border_fraction(FILM) == 0
    assert border_fraction(np.full((9, 9), 5, np.uint8)) == 0
    assert border_fraction(np.pad(FILM, 50)) == pytest.approx(1 - FILM.size / (400 * 356))


def test_vocabulary_is_sorted_sentences() -> None:
    assert list(FLAGS) == sorted(FLAGS)
    assert all(text.endswith(".") and name.replace("_", "").islower() for name, text in FLAGS.items())


def test_many_threads_read_the_same(tmp_path: Path) -> None:
    contents = [dicom_bytes(np.roll(FILM, i, axis=1), name) for i, name in enumerate(("explicit", "rle", "jpegls") * 8)]
    paths = [tmp_path / f"{i}.dcm" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    alone = [next(decode(path)).pixels for path in paths]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda path: next(decode(path)).pixels, paths * 4))
    for i, pixels in enumerate(together):
        np.testing.assert_array_equal(pixels, alone[i % len(paths)])
