"""Rows of Hugging Face `datasets`, and whole datasets, as images; nothing is asked of the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxrzero import ImageInputError, ImagesEndedError, Screener
from tests.support.needs import optional

datasets = optional("datasets")

Draw = Callable[..., Path]


@pytest.fixture(scope="module")
def screener(tiny_bundle: Path) -> Screener:
    return Screener(tiny_bundle, device="cpu", cache=False)


@pytest.fixture
def paths(png: Draw, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return [str(png(f"{number}.png", number)) for number in range(3)]


def decoded(paths: list[str], column: str = "image") -> Any:
    """A dataset with a column of images."""
    plain = datasets.Dataset.from_dict({"label": [0, 1, 0], column: paths, "text": ["none"] * 3})
    return plain.cast_column(column, datasets.Image())


def forms(paths: list[str]) -> dict[str, Any]:
    data = decoded(paths)
    encoded = [{"image": {"bytes": Path(path).read_bytes(), "path": None}} for path in paths]
    return {
        "decoded": data,
        "not decoded": data.cast_column("image", datasets.Image(decode=False)),
        "bytes": datasets.Dataset.from_list(encoded).cast_column("image", datasets.Image()),
        "bytes, not decoded": datasets.Dataset.from_list(encoded),
        "a stream": data.to_iterable_dataset(),
        "arrays": data.with_format("numpy"),
        "rows": [data[place] for place in range(3)],
        "a column": data["image"],
        "a slice of a column": data[:3]["image"],
        "of another name": decoded(paths, "xray"),
    }


def test_datasets_in_every_form(screener: Screener, paths: list[str]) -> None:
    expected = [row.scores for row in screener.predict(paths, ["edema"])]
    assert expected[0] != expected[1]
    for name, given in forms(paths).items():
        rows = screener.predict(given, ["edema"])
        assert [row.scores for row in rows] == expected, name
        assert [row.path for row in rows] == ["image 1", "image 2", "image 3"], name
        assert rows.read_with is None  # no file may be called so


def test_one_row(screener: Screener, paths: list[str]) -> None:
    [expected] = screener.embed(paths[1]).numpy().tolist()
    [found] = screener.embed(decoded(paths)[1]).numpy().tolist()
    assert found == expected
    assert screener.search(decoded(paths), like=paths[1], top=1)[0].row.path == "image 2"


def test_two_columns_of_images(screener: Screener, paths: list[str]) -> None:
    data = decoded(paths).add_column("other", list(reversed(paths))).cast_column("other", datasets.Image())
    expected = [row.scores for row in screener.predict(paths, ["edema"])]
    assert [row.scores for row in screener.predict(data, ["edema"], column="other")] == expected[::-1]
    with pytest.raises(ImagesEndedError) as caught:
        screener.predict(data, ["edema"])
    assert "several images, in 'image', 'other'; name one with column=" in str(caught.value.__cause__)


def test_what_is_no_row(screener: Screener, paths: list[str]) -> None:
    with pytest.raises(ImageInputError, match="'image 1' has no image"):
        screener.predict(decoded(paths)[:2], ["edema"])  # the columns of two rows
    with pytest.raises(ImageInputError, match=r"it has 'train'|It has 'train'"):
        screener.predict(datasets.DatasetDict({"train": decoded(paths)}), ["edema"])


def test_a_broken_film_in_a_dataset(screener: Screener, paths: list[str]) -> None:
    Path(paths[1]).write_bytes(Path(paths[1]).read_bytes()[:200])
    rows = screener.predict(decoded(paths).cast_column("image", datasets.Image(decode=False)), ["edema"])
    assert [row.code for row in rows] == ["", "truncated", ""]
