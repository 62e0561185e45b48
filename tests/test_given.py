"""What a Python program may give for images, and what becomes of it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image

from cxrzero import ImageInputError, ImagesEndedError, NoInputError, Screener, UsageError
from cxrzero.sources.given import Given
from tests.support.films import DX, write_dicom
from tests.support.needs import optional
from tests.support.pictures import picture

torch = optional("torch")

Draw = Callable[..., Path]


@pytest.fixture(scope="module")
def screener(tiny_bundle: Path) -> Screener:
    return Screener(tiny_bundle, device="cpu", cache=False)


@contextmanager
def forms(path: Path) -> Iterator[dict[str, Any]]:
    """One grey picture of 8 bits in every form."""
    samples, content = picture(1), path.read_bytes()
    with path.open("rb") as file, Image.open(path) as one, Image.open(path) as other:
        yield _forms(path, samples, content, file, one, other)


def _forms(
    path: Path, samples: np.ndarray, content: bytes, file: Any, one: Image.Image, other: Image.Image
) -> dict[str, Any]:
    return {
        "path": path,
        "str": str(path),
        "bytes": content,
        "bytearray": bytearray(content),
        "memoryview": memoryview(content),
        "BytesIO": io.BytesIO(content),
        "file": file,
        "array": samples,
        "view": np.asfortranarray(samples),
        "pair": ("x", samples),
        "pillow": one,
        "row": {"image": other, "label": 1, "text": "none"},
        "row of an array": {"pixels": samples, "age": 40},
        "undecoded row": {"image": {"bytes": content, "path": None}},
        "undecoded row of a path": {"image": {"bytes": None, "path": str(path)}},
    }


def test_the_same_film_in_every_form(screener: Screener, png: Draw) -> None:
    path = png("a.png", 1)
    expected = screener.predict(path, ["edema"])[0]
    with forms(path) as images:
        for name, image in images.items():
            [row] = screener.predict(image, ["edema"])
            assert row.scores == expected.scores, name
            assert (row.flags, row.facts, row.frame) == (expected.flags, expected.facts, expected.frame), name
    [row] = screener.predict(picture(1) / 255, ["edema"], value_range=(0, 1))
    assert row.scores == expected.scores


def test_tensors(screener: Screener, png: Draw) -> None:
    [expected] = screener.predict(png("a.png", 1), ["edema"])
    tensor = torch.from_numpy(picture(1))
    assert screener.predict(tensor, ["edema"])[0].scores == expected.scores
    scaled = (tensor / 255).requires_grad_()
    assert screener.predict(scaled, ["edema"], value_range=(0, 1))[0].scores == expected.scores
    whole = tensor.to(torch.bfloat16)  # holds every whole number up to 256
    assert screener.predict(whole, ["edema"], value_range=(0, 255))[0].scores == expected.scores
    with pytest.raises(ImageInputError, match=r"image\[0\]"):
        screener.predict(tensor[None], ["edema"])


def test_datasets(screener: Screener, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", DX, "DX")
    [expected] = screener.predict(path, ["edema"])
    [row] = screener.predict(pydicom.dcmread(path), ["edema"])
    assert (row.scores, row.facts) == (expected.scores, expected.facts)
    [empty] = screener.predict(pydicom.dcmread(path, stop_before_pixels=True), ["edema"])
    assert (empty.status, empty.code) == ("failed", "no_pixel_data")
    assert "SECRET" not in empty.error


def test_names_and_order(screener: Screener, png: Draw, tmp_path: Path) -> None:
    path = png("in/a.png", 1)
    png("in/b.png", 2)
    given: list[Any] = [picture(3), str(path), tmp_path / "in", ("mine", picture(4)), ("other", path), picture(5)]
    rows = screener.predict(given, ["edema"])
    in_folder = [str(tmp_path / "in" / name) for name in ("a.png", "b.png")]
    assert [row.path for row in rows] == ["image 1", str(path), *in_folder, "mine", "other", "image 6"]
    assert all(row.status == "ok" for row in rows)
    assert rows[5].scores == rows[1].scores
    assert [row.path for row in screener.predict(iter(given), ["edema"])] == [row.path for row in rows]


NO_IMAGES = {
    "channels first": (np.zeros((3, 4, 4), np.uint8), "colours come last"),
    "four channels": (np.zeros((4, 4, 4), np.uint8), "fourth channel"),
    "one more axis": (np.zeros((1, 4, 4), np.uint8), r"image\[0\]"),
    "a volume": (np.zeros((7, 4, 5), np.uint8), "as a list"),
    "a line": (np.zeros(4, np.uint8), "as a list"),
    "floats": (np.zeros((4, 4)), "value_range"),
    "coloured floats": (np.zeros((4, 4, 3)), "value_range"),
    "signed": (np.zeros((4, 4), np.int32), "int32"),
    "truths": (np.zeros((4, 4), bool), "bool"),
    "a number": (5, "type int"),
    "numbers": ([5], "type int"),
    "nothing in a list": ([np.zeros((4, 4), np.uint8), None], "'image 2' is of type NoneType"),
    "no image in a row": ({"a": 1}, "has no image"),
    "two images in a row": ({"a": picture(1), "b": picture(2)}, "column="),
    "an object": (object(), "type object"),
}


@pytest.mark.parametrize(("image", "says"), NO_IMAGES.values(), ids=NO_IMAGES.keys())
def test_no_images(image: Any, says: str, screener: Screener) -> None:
    with pytest.raises(ImageInputError, match=says):
        screener.iter(image, ["edema"])  # before anything runs, and before the first row is asked for


@pytest.mark.parametrize("value_range", [(1, 0), (0, float("nan")), (0,), "ab", 5])
def test_no_value_range(value_range: Any, screener: Screener) -> None:
    with pytest.raises(ImageInputError, match="value_range must be two numbers"):
        screener.predict(picture(1), value_range=value_range)


def test_nothing_given(screener: Screener, tmp_path: Path) -> None:
    nothings: list[Any] = [None, [], ()]
    for nothing in nothings:
        with pytest.raises(NoInputError, match="no input"):
            screener.predict(nothing)
    with pytest.raises(NoInputError, match="what was given"):
        screener.predict(iter(()))
    with pytest.raises(NoInputError, match="does not exist"):
        screener.predict([picture(1), tmp_path / "nowhere.png"])


def test_rows_of_a_table(screener: Screener) -> None:
    row = {"before": picture(1), "now": picture(2)}
    [now] = screener.predict(row, ["edema"], column="now")
    assert now.scores == screener.predict(picture(2), ["edema"])[0].scores
    with pytest.raises(ImageInputError, match="no column 'then'"):
        screener.predict(row, ["edema"], column="then")
    with pytest.raises(ImageInputError, match="column 'now'"):
        screener.predict({"now": 5}, ["edema"], column="now")


def test_pictures_that_turn_out_bad(screener: Screener, png: Draw) -> None:
    closed, broken = png("a.png").open("rb"), Image.open(png("b.png"))
    closed.close()
    broken.close()
    cut = png("c.png").read_bytes()[:200]
    bad: list[Any] = [closed, broken, cut, b"", io.StringIO("text"), np.full((4, 4), np.nan), np.full((4, 4), 7.0)]
    rows = screener.predict([*bad, picture(1)], ["edema"], value_range=(0, 1))
    codes = [
        "unreadable",
        "corrupt_image",
        "truncated",
        "empty_file",
        "unreadable",
        "corrupt_image",
        "out_of_range",
        "",
    ]
    assert [row.code for row in rows] == codes
    assert [row.status for row in rows] == ["failed"] * 7 + ["ok"]


def raising(error: Exception) -> Iterator[Any]:
    yield picture(1)
    yield picture(2)
    raise error


def test_an_iterable_that_raises(screener: Screener) -> None:
    with pytest.raises(ImagesEndedError, match="KeyError") as caught:
        screener.predict(raising(KeyError("x")), ["edema"])
    assert [row.path for row in caught.value.rows] == ["image 1", "image 2"]
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(ImagesEndedError) as ended:
        screener.embed(raising(OSError("disk")))
    assert len(ended.value.embeddings) == 2
    rows: list[Any] = []
    taken: list[Any] = [picture(1), 5]
    with pytest.raises(ImagesEndedError, match="ImageInputError"):
        rows.extend(screener.iter(iter(taken), ["edema"]))
    assert len(rows) == 1


def test_a_stream_is_taken_as_it_is_worked_off(tiny_bundle: Path) -> None:
    taken = 0

    def films() -> Iterator[Any]:
        nonlocal taken
        while True:
            taken += 1
            yield picture(taken % 5)

    screener = Screener(tiny_bundle, device="cpu", cache=False, batch_size=4, workers=2)
    rows = screener.iter(films(), ["edema"])
    for number in range(1, 200):
        assert next(rows).path == f"image {number}"
        assert taken <= number + 300  # a block, a batch and those that are being decoded
    rows.close()


def test_pictures_in_memory_are_cached_by_content(tiny_bundle: Path, png: Draw, tmp_path: Path) -> None:
    path = png("a.png", 1)
    images: list[Any] = [path.read_bytes(), picture(2), Image.fromarray(picture(3)), picture(4) / 255]
    by_path = Screener(tiny_bundle, device="cpu", cache=tmp_path / "cache")
    by_content = Screener(tiny_bundle, device="cpu", cache=tmp_path / "cache", cache_by="content")
    answers = []
    for screener in (by_path, by_path, by_content, by_content):
        given = Given(images, value_range=(0, 1), by_content=screener.cache_by == "content")
        made: list[Any] = []
        asked = screener.prompts(["edema"])
        rows = screener.stream(given.films(), screener.classifier(asked), asked, None, made.append, in_memory=True)
        answers.append([row.scores for row in rows])
        assert [item.is_known for item in made] == [screener is by_content and len(answers) == 4] * 4
    assert all(answer == answers[0] for answer in answers)
    renamed = by_content.predict(path.rename(tmp_path / "b.png"), ["edema"])  # a file of the bytes that are known
    assert renamed[0].scores == answers[0][0]


def test_other_pixels_are_other_content() -> None:
    grey = Image.fromarray(picture(1))
    turned = grey.copy()
    turned.getexif()[274] = 6
    given: list[Any] = [picture(1), picture(1).astype(np.uint16), picture(2), grey, turned, grey.convert("RGB"), b"x"]
    contents = [film.content for film in Given(given, by_content=True).films()]
    assert None not in contents
    assert len(set(contents)) == len(given)


def test_the_old_name_of_images(screener: Screener) -> None:
    with pytest.warns(DeprecationWarning, match="images="):
        [row] = screener.predict(paths=picture(1), labels=["edema"])
    assert row.status == "ok"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_is_told(screener: Screener) -> None:
    screener.predict(picture(1), ["edema"])
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            screener.predict(picture(1), ["edema"])
        except UsageError as error:
            os.write(write, str(error).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert "make a new one in each process" in pipe.read()
    os.waitpid(child, 0)
