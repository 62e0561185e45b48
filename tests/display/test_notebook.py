"""What a notebook shows of rows, embeddings and maps, and the line that stands for each object."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrzero import (
    Archives,
    DecodeOptions,
    Embeddings,
    Facts,
    Hit,
    Objects,
    Prediction,
    Predictions,
    Region,
    Screener,
    Selection,
)
from cxrzero.images.flags import FLAGS
from tests.support.maps import film_maps
from tests.support.needs import optional
from tests.support.pictures import picture

pandas = optional("pandas")

Draw = Callable[..., Path]
LINE = 130


@pytest.fixture(scope="module")
def screener(tiny_bundle: Path) -> Screener:
    return Screener(tiny_bundle, device="cpu", cache=False)


def pictures(markup: str) -> list[Image.Image]:
    found = re.findall(r'<img alt="[^"]*" src="data:image/jpeg;base64,([^"]+)">', markup)
    assert len(found) == markup.count("<img") == markup.count("src=")  # nothing is loaded from elsewhere
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found]


def row(path: str, **more: object) -> Prediction:
    return Prediction(path, ["edema"], "ok", 1, scores={"edema": 0.25}, **more)  # type: ignore[arg-type]


LONG = "/".join(["a folder with a long name"] * 20)
REPRS = {
    "a row": (row("a.png"), "<Prediction 'a.png' frame 1: ok, edema 0.250>"),
    "a failed row": (
        Prediction("a.png", ["edema"], "failed", error="truncated: it ends early"),
        "<Prediction 'a.png': failed, truncated: it ends early>",
    ),
    "rows": (
        Predictions([row("a.png"), Prediction("b.png", ["edema"], "failed")]),
        "<Predictions: 2 images, 1 label, 1 failed>",
    ),
    "no rows": (Predictions(), "<Predictions: 0 images>"),
    "facts": (Facts("DX", sop_instance_uid="1.2.3"), "<Facts: modality='DX', 1 UID>"),
    "no facts": (Facts(), "<Facts: nothing is stated>"),
    "a hit": (Hit(2, 0.5, row("a.png")), "<Hit 2: cosine 0.500, 'a.png' frame 1>"),
    "a region": (Region(1, 2, 3, 4), "Region(left=1, upper=2, right=3, lower=4)"),
    "options": (DecodeOptions(invert="yes"), "DecodeOptions(invert='yes')"),
    "usual options": (DecodeOptions(), "DecodeOptions()"),
    "a selection": (Selection(frozenset({"lateral"})), "Selection(skip=['lateral'])"),
    "archives": (Archives("PatientName=SECRET"), "<Archives: 0 archives named>"),
    "objects": (Objects(), "<Objects: 0 stores named>"),
}


@pytest.mark.parametrize(("value", "shown"), REPRS.values(), ids=REPRS.keys())
def test_objects_in_a_line(value: object, shown: str) -> None:
    assert repr(value) == shown


def test_objects_of_a_screener_in_a_line(screener: Screener, png: Draw) -> None:
    assert re.fullmatch(r"<Screener: tiny in fp32 on cpu by onnxruntime \S+>", repr(screener))
    kept = screener.embed([picture(1), b"no film"])
    assert repr(kept) == "<Embeddings of 1 film (1 left out): 8 numbers each, by tiny>"
    assert repr(kept.origin) == "<Origin: tiny in fp32, 8 numbers a film>"
    maps = screener.heatmap(png("a.png"), ["edema"], method="occlusion")
    assert repr(maps).endswith("a.png' frame 1: 1 label by occlusion, on 32 × 40 pixels>")


def test_long_things_fit_a_line() -> None:
    labels = [f"label {number}" for number in range(500)]
    scores = dict.fromkeys(labels, 0.5)
    for value in (
        Prediction(LONG, labels, "ok", 1, scores=scores),
        Hit(1, 0.5, row(LONG)),
        Selection(frozenset(FLAGS)),
        Facts(*["x" * 500] * 6),
        film_maps(LONG, {"edema": (0.5, 0.5)}),
    ):
        assert len(repr(value)) <= LINE
        assert repr(value)[-1] in ">…"
    assert LONG[-30:] in repr(row(LONG))  # the end of a path tells it from others


def test_what_a_terminal_would_act_on_is_visible() -> None:
    assert repr(row("a\x1b[2J\u202eb.png")).startswith(r"<Prediction 'a\x1b[2J\u202eb.png' frame 1")


def test_rows_in_a_notebook(screener: Screener, png: Draw, tmp_path: Path) -> None:
    png("in/<b>&\x1b\u202e.png", 1, (60, 40))
    png("in/broken.png", 2).write_bytes(b"no film")
    rows = screener.predict(tmp_path / "in", ["<script>"])
    markup = rows._repr_html_()
    assert "<caption>2 images, 1 label, 1 failed</caption>" in markup
    assert r"&lt;b&gt;&amp;\x1b\u202e.png" in markup
    assert "<th>&lt;script&gt;</th>" in markup
    assert "<script>" not in markup
    assert f"<td>{rows[0].scores['<script>']:.3f}</td>" in markup
    [shown] = pictures(markup)
    small = Image.fromarray(picture(1, (60, 40)))
    assert shown.size == small.size
    assert np.abs(np.asarray(shown, float) - np.asarray(small, float)).mean() < 8


def test_pictures_show_what_was_scored(tiny_bundle: Path, png: Draw) -> None:
    dark = Screener(tiny_bundle, device="cpu", cache=False, decode_options=DecodeOptions(invert="yes"))
    [shown] = pictures(dark.predict(png("a.png", 1), ["edema"])._repr_html_())
    assert np.abs(np.asarray(shown, float) - (255.0 - picture(1))).mean() < 8


def test_a_row_that_no_file_has_shows_no_picture(screener: Screener, png: Draw, tmp_path: Path) -> None:
    path = png("a.png", 1)
    named_like_a_file = screener.predict([("x", path), (str(path), picture(2))], ["edema"])
    assert pictures(named_like_a_file._repr_html_()) == []  # it would be of another film
    assert pictures(screener.predict(iter([picture(1)]), ["edema"])._repr_html_()) == []
    rows = screener.predict(iter([path]), ["edema"])
    assert len(pictures(rows._repr_html_())) == 1
    kept = screener.embed(path)
    assert len(pictures(kept._repr_html_())) == len(pictures(screener.score(kept, ["edema"])._repr_html_())) == 1
    kept.save(tmp_path / "kept.npz")
    loaded = Embeddings.load(tmp_path / "kept.npz")
    assert pictures(loaded._repr_html_()) == []  # who knows whether it is the same file here
    path.unlink()
    assert pictures(rows._repr_html_()) == []


def test_many_rows_in_a_notebook(screener: Screener, png: Draw, tmp_path: Path) -> None:
    for number in range(25):
        png(f"in/{number:02}.png", number)
    rows = screener.predict(tmp_path / "in", [f"label {number}" for number in range(11)])
    markup = rows._repr_html_()
    assert len(pictures(markup)) == markup.count("<tr>") - 1 == 20
    assert "25 images, 11 labels, of which the first 20 are here, and 3 labels more" in markup
    part = rows[20:]
    assert isinstance(part, Predictions)
    assert len(pictures(part._repr_html_())) == 5


def test_maps_in_a_notebook(screener: Screener, png: Draw) -> None:
    maps = screener.heatmap(png("a.png", 1, (80, 100)), ["<edema>"], method="occlusion")
    assert "location not validated" in maps.notes[0]
    markup = maps._repr_html_()
    [shown] = pictures(markup)
    assert max(shown.size) == 480
    assert f"&lt;edema&gt;: p = {maps.probabilities[0]:.3f}" in markup
    assert "no picture of the film" not in markup
    kept = film_maps("a.png", dict.fromkeys("abcdefghij", (0.5, 0.5)))
    assert len(pictures(kept._repr_html_())) == 8
    assert "10 labels by" in kept._repr_html_()
    assert "of which the first 8 are here; no picture of the film is kept here" in kept._repr_html_()


def test_rows_as_a_table_of_pandas(screener: Screener) -> None:
    rows = screener.predict([picture(1), b"no film"], ["edema", "pneumonia"])
    table = rows.to_pandas()
    assert table.equals(pandas.DataFrame(rows))
    assert table["edema"].iloc[0] == rows[0].scores["edema"]
    assert list(Predictions().to_pandas().columns)[:2] == ["path", "frame"]
