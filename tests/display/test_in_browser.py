"""The pages in a real browser: nothing leaves the machine, nothing complains, all can use them, and they print."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cxrzero.cli import app
from tests.support.browser import PHONE, Opened, opened
from tests.support.maps import film_maps, write_folder
from tests.support.pictures import picture

pytestmark = pytest.mark.slow

N = 24
HOSTILE = "<script>alert(1)<script>&\"'.png"


def invoke(*arguments: object) -> None:
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def films(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder: in/ with N films that the tiny model has scored for two labels, and labels.csv."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "in").mkdir()
    names = [HOSTILE, *(f"{n}.png" for n in range(1, N))]
    for n, name in enumerate(names):
        Image.fromarray(picture(n, (60, 40))).save(folder / "in" / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        invoke("predict", "in", "--labels", "mass,edema", "--model", tiny_bundle, "--device", "cpu")
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [[name, "MF"[n % 2], n % 3 % 2, n // 2 % 2] for n, name in enumerate(names)]
        csv.writer(file).writerows([["image", "sex", "mass", "edema"], *rows])
    return folder


def evaluation(films: Path, model: Path) -> Path:
    asked = [
        "eval",
        films / "predictions.csv",
        films / "labels.csv",
        "--in-sample",
        "--by",
        "sex",
        "--resamples",
        "100",
    ]
    invoke(*asked, "--images", films, "--model", model, "--out", films / "results", "--overwrite")
    return films / "results/report.html"


def contact_sheet(films: Path, model: Path) -> Path:
    like = ["search", "--like", films / "in" / HOSTILE, films / "in", "--top", "6"]
    invoke(*like, "--html", films / "sheet.html", "--model", model)
    return films / "sheet.html"


def training_check(films: Path, model: Path) -> Path:
    from cxrzero.train.checkpage import Seen, write_page

    seen = [Seen(HOSTILE, picture(n, (30, 30)), ["No effusion.", "<b>Mass</b>"]) for n in range(5)]
    write_page(films / "check.html", "pairs.csv", seen, seen[:2])
    return films / "check.html"


def curves(films: Path, model: Path) -> Path:
    from cxrzero.train.measure.curves import write_curves

    step = '{"step": %d, "loss": %.3f, "lr": 0.001, "logit_scale": 14.3}\n'
    (films / "metrics.jsonl").write_text("".join(step % (n, 3 / n) for n in range(1, 40)), encoding="utf-8")
    return write_curves(films, ["A remark."])


def maps_against_boxes(films: Path, model: Path) -> Path:
    names = [HOSTILE, *(f"{n}.png" for n in range(1, N))]
    with (films / "boxes.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [[name, "mass<b>", 5, 5, 30, 20] for name in names]
        csv.writer(file).writerows([["image", "finding", "x", "y", "width", "height"], *rows])
    maps = [film_maps(name, {"mass<b>": (0.2 + n / 20, 0.4)}, (60, 40)) for n, name in enumerate(names)]
    asked = ["--boxes", films / "boxes.csv", "--unseen", "--resamples", "100", "--out", films / "location"]
    invoke("eval", write_folder(films / "maps", maps), *asked)
    return films / "location/location.html"


def comparison(films: Path, model: Path) -> Path:
    """The table beside one of other scores, in which no film keeps its place."""
    with (films / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with (films / "other.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "mass": n / N, "edema": n * 7 % N / N} for n, row in enumerate(rows))
    asked = ["compare", films / "predictions.csv", films / "other.csv", "--images", films, "--threshold", "0.5"]
    invoke(*asked, "--labels", films / "labels.csv", "--resamples", "100", "--out", films / "comparison")
    return films / "comparison/compare.html"


PAGES = (evaluation, contact_sheet, training_check, curves, maps_against_boxes, comparison)


@pytest.mark.parametrize("make", PAGES)
def test_nothing_leaves_and_everybody_can_use_it(
    films: Path, tiny_bundle: Path, make: Callable[[Path, Path], Path]
) -> None:
    with opened(make(films, tiny_bundle)) as seen:
        for scheme in ("light", "dark"):
            seen.page.emulate_media(color_scheme=scheme)
            assert seen.faults() == []
        seen.page.set_viewport_size(dict(zip(("width", "height"), PHONE, strict=True)))
        assert seen.faults() == []
        assert seen.page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
        broken = "[...document.images].filter((each) => !each.naturalWidth).length"
        assert seen.page.evaluate(broken) == 0
        seen.check()


@pytest.fixture(scope="module")
def report(films: Path, tiny_bundle: Path) -> Path:
    return evaluation(films, tiny_bundle)


def column(seen: Opened, head: str) -> list[float]:
    """Numbers of a column of the first table that has it."""
    return [
        float(cell)
        for cell in seen.page.evaluate(
            """(head) => {
              const heads = [...document.querySelectorAll("table.sortable thead th")];
              const th = heads.find((each) => each.innerText.includes(head));
              return [...th.closest("table").tBodies[0].rows].map((row) => row.cells[th.cellIndex].dataset.sort);
            }""",
            head,
        )
    ]


def test_a_table_is_sorted_by_keys(report: Path) -> None:
    with opened(report) as seen:
        button = seen.page.locator("thead button", has_text="AUROC").first
        button.focus()
        seen.page.keyboard.press("Enter")
        down = column(seen, "AUROC")
        assert down == sorted(down, reverse=True)
        assert len(set(down)) == 2
        seen.page.keyboard.press("Enter")
        assert column(seen, "AUROC") == down[::-1]
        assert seen.page.locator("th[aria-sort=ascending]").count() == 1
        seen.check()


def test_a_picture_is_enlarged_and_put_away_by_keys(report: Path) -> None:
    with opened(report) as seen:
        button = seen.page.locator("button.enlarge").first
        button.focus()
        seen.page.keyboard.press("Enter")
        shown = seen.page.locator("dialog[open] img")
        assert shown.get_attribute("src") == button.locator("img").get_attribute("src")
        assert shown.bounding_box()["height"] > 2 * button.bounding_box()["height"]
        assert seen.faults() == []
        seen.page.keyboard.press("Escape")
        assert seen.page.locator("dialog[open]").count() == 0
        assert seen.page.evaluate("document.activeElement.className") == "enlarge"
        seen.check()


def test_a_page_is_printed_light_with_heads_that_are_repeated(report: Path) -> None:
    """Chromium paints no button in a repeated head, so that its words must be text."""
    with opened(report, dark=True) as seen:
        assert _brightness(seen) < 60
        seen.page.emulate_media(media="print")
        assert _brightness(seen) > 200
        heads = seen.page.evaluate(
            """[...document.querySelectorAll("table.sortable thead th")].map((th) =>
              [getComputedStyle(th, "::before").content, getComputedStyle(th.firstChild).display, th.innerText])"""
        )
        assert heads
        for shown, button, _ in heads:
            assert (shown.strip('"') != "none", button) == (True, "none")
        assert '"AUROC"' in [shown for shown, _, _ in heads]
        seen.check()


def _brightness(seen: Opened) -> float:
    parts: Any = seen.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    return float(np.mean(parts[:3]))
