"""The page in a real browser: keys, sorting, filtering, the picture, reviews out and in; nothing leaves the machine."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from cxrzero.cli import app
from cxrzero.worklist.run import Made
from tests.support.browser import DESKTOP, PHONE, Opened, opened, wait_until
from tests.support.films import film
from tests.support.patches import write_patch_bundle
from tests.support.pictures import picture
from tests.support.worklists import data_of

pytestmark = pytest.mark.slow

HOSTILE = "</script><b>&\"'.png".replace("/", "\N{FRACTION SLASH}")


@pytest.fixture
def table(predict: Callable[..., Path], png: Callable[..., Path]) -> Path:
    """12 films: 9 PNGs, one of them with a hostile name, and a study of three views."""
    for seed in range(8):
        png(f"in/{seed}.png", seed)
    png(f"in/{HOSTILE}", 20)
    for seed, view in ((1, "PA"), (2, "LL"), (3, "AP")):
        film(f"in/{seed}.dcm", seed, view, "2.25.55")
    return predict("in")


@pytest.fixture
def made(table: Path, worklist: Callable[..., Made]) -> Made:
    return worklist(table, label="pneumonia")


@pytest.fixture
def shown(made: Made) -> Iterator[Opened]:
    with opened(made.page) as page:
        ready(page)
        yield page
        page.check()


def ready(seen: Opened) -> None:
    seen.page.wait_for_selector("html[data-ready]", state="attached")


def title(seen: Opened) -> int:
    """Number of the film that is shown."""
    return int(seen.page.inner_text("#facts h2").split(".")[0])


def exported(seen: Opened) -> str:
    with seen.page.expect_download() as download:
        seen.page.click("#export")
    return Path(download.value.path()).read_text(encoding="utf-8")


def test_films_stand_in_order_with_pictures_that_load(made: Made, shown: Opened) -> None:
    page = shown.page
    wanted = [each["p"][0] for each in data_of(made)["films"]]
    assert wanted == sorted(wanted, reverse=True)
    scores = page.eval_on_selector_all(".row .score", "all => all.map(each => each.textContent)")
    assert [f"pneumonia {score:.3f}" for score in wanted[: len(scores)]] == scores
    assert page.title() == "Worklist: pneumonia"
    wait_until(page, "[...document.images].filter(each => each.src && !each.naturalWidth).length === 0")
    assert page.eval_on_selector("#film", "each => each.naturalWidth") > 0


def test_keys_go_through_films_and_judge_them(shown: Opened) -> None:
    keyboard = shown.page.keyboard
    assert title(shown) == 1
    keyboard.press("k")  # there is none before
    assert title(shown) == 1
    for key in "jjj":
        keyboard.press(key)
    keyboard.press("k")
    assert title(shown) == 3
    keyboard.press("p")
    keyboard.press("j")
    keyboard.press("n")
    shown.page.select_option("#active", label="edema")
    keyboard.press("Escape")
    keyboard.press("u")
    keyboard.press("j")
    keyboard.press("p")
    keyboard.press("p")  # takes it back
    keyboard.press("c")
    keyboard.type("jknpu, =1+1")
    keyboard.press("Escape")
    keyboard.press("k")
    assert title(shown) == 4
    rows = list(csv.DictReader(io.StringIO(exported(shown))))
    assert [(row["pneumonia"], row["edema"], row["comment"]) for row in rows] == [
        ("1", "", ""), ("0", "-1", ""), ("", "", "jknpu, =1+1")]  # fmt: skip
    assert shown.page.inner_text("#count") == "12 of 12 films, 3 reviewed"


def test_reviews_are_labels_for_eval_and_come_in_again(
    table: Path, made: Made, tmp_path: Path, worklist: Callable[..., Made]
) -> None:
    with opened(made.page) as seen:
        ready(seen)
        seen.page.fill("#reviewer", '=Dr, "A"')
        seen.page.keyboard.press("Escape")
        for key in "pjnjujpjnjpjnjpjnjpjnjp":
            seen.page.keyboard.press(key)
        seen.page.keyboard.press("c")
        seen.page.keyboard.type("@risk")
        text = exported(seen)
        seen.check()
    assert "'@risk" in text
    assert '"\'=Dr, ""A"""' in text
    path = tmp_path / "reviews.csv"
    path.write_text(text, encoding="utf-8", newline="")
    rows = list(csv.DictReader(io.StringIO(text)))
    films = data_of(made)["films"]
    assert [(row["path"], row["frame"], row["sop_instance_uid"]) for row in rows] == [
        (each["path"], str(each["frame"]), each["uids"][2]) for each in films
    ]
    done = CliRunner().invoke(app, ["eval", str(table), str(path), "--resamples", "0"])
    assert done.exit_code == 0, done.output
    assert "Joined 12 of 12 label rows to 12 predictions by path (whole path)" in done.output
    assert "6/5" in done.output  # p and n; of one film the reader is unsure
    again = worklist(table, label="pneumonia", reviews=path, out=Path("again"))
    with opened(again.page) as seen:
        ready(seen)
        assert seen.page.inner_text("#count") == "12 of 12 films, 12 reviewed"
        assert exported(seen) == text
        seen.check()
    with opened(worklist(table, label="edema", out=Path("empty")).page) as seen:
        ready(seen)
        seen.page.set_input_files("#import", path)
        wait_until(seen.page, "document.getElementById('message').textContent.startsWith('12 reviews')")
        back = {row["path"]: row for row in csv.DictReader(io.StringIO(exported(seen)))}
        assert back == {row["path"]: row for row in rows}
        seen.check()


def test_labels_that_spreadsheets_or_pages_would_run_go_out_and_come_in(
    predict: Callable[..., Path], worklist: Callable[..., Made], png: Callable[..., Path], tmp_path: Path
) -> None:
    for seed in range(4):
        png(f"in/{seed}.png", seed)
    labels = ("=mass", '</script>, "x"')
    table, path = predict("in", labels=labels), tmp_path / "reviews.csv"
    with opened(worklist(table, label="=mass").page) as seen:
        ready(seen)
        for key in "pjnjpjn":
            seen.page.keyboard.press(key)
        seen.page.select_option("#active", index=2)
        seen.page.keyboard.press("Escape")
        seen.page.keyboard.press("u")
        text = exported(seen)
        path.write_text(text, encoding="utf-8", newline="")
        seen.page.click("#forget")
        assert seen.page.inner_text("#count") == "4 of 4 films, 0 reviewed"
        seen.page.set_input_files("#import", path)
        wait_until(seen.page, "document.getElementById('message').textContent.startsWith('4 reviews')")
        assert exported(seen) == text
        seen.check()
    assert next(csv.reader(text.splitlines()))[5:7] == ["'=mass", labels[1]]
    done = CliRunner().invoke(app, ["eval", str(table), str(path), "--resamples", "0"])
    assert done.exit_code == 0, done.output
    assert "2/2" in done.output
    assert data_of(worklist(table, label="=mass", reviews=path, overwrite=True))["reviews"]["3"]["verdicts"] == {
        "0": 0, "1": -1}  # fmt: skip


def test_what_is_no_review_of_these_films_is_refused(shown: Opened, tmp_path: Path) -> None:
    page, path = shown.page, tmp_path / "other.csv"
    for text, says in (
        ("path,pneumonia,comment,reviewer\nx.png,1,,\n", "None of these 1 reviews is of a film in this list"),
        ("image,pneumonia\nx.png,1\n", "This is no table of reviews: it has no column path."),
        (
            "path,frame,pneumonia,comment,reviewer\nin/1.png,1,7,,\n",
            "row 1 says 7 of pneumonia, which is none of 1, 0, -1",
        ),
        ("", "This is no table of reviews"),
    ):
        path.write_text(text, encoding="utf-8")
        page.set_input_files("#import", path)
        wait_until(page, "text => document.getElementById('message').textContent.includes(text)", says)
        assert page.inner_text("#count") == "12 of 12 films, 0 reviewed"


def test_a_draft_survives_a_closed_page_until_it_is_forgotten(made: Made, shown: Opened) -> None:
    shown.page.keyboard.press("p")
    shown.page.on("dialog", lambda dialog: dialog.accept())
    shown.page.reload()
    ready(shown)
    assert shown.page.inner_text("#count") == "12 of 12 films, 1 reviewed"
    assert "1 reviews of an earlier sitting are here again" in shown.page.inner_text("#message")
    shown.page.click("#forget")
    assert shown.page.inner_text("#count") == "12 of 12 films, 0 reviewed"


def test_sorting_and_filtering(made: Made, shown: Opened) -> None:
    page, films = shown.page, data_of(made)["films"]

    def places() -> list[int]:
        rows = page.eval_on_selector_all(
            ".row", "all => all.map(each => [each.ariaPosInSet, each.querySelector('.place').textContent])"
        )
        return [int(place) for _, place in sorted((int(at), place) for at, place in rows)]

    page.select_option("#sort", "high1")
    by_edema = sorted(range(12), key=lambda place: -films[place]["p"][1])
    assert places() == [place + 1 for place in by_edema[: len(places())]]
    page.select_option("#sort", "low1")
    assert places()[0] == by_edema[-1] + 1
    page.select_option("#sort", "")
    least = films[3]["p"][0]
    page.fill("#least", repr(least))
    page.keyboard.press("Enter")
    assert places() == [1, 2, 3, 4]
    page.fill("#least", "")
    page.keyboard.press("Enter")
    page.select_option("#flag", "=lateral")
    assert [films[place - 1]["view"] for place in places()] == ["DX LL"]
    page.click("text=Show this study only")
    page.select_option("#flag", "")
    assert {films[place - 1]["view"] for place in places()} == {"DX PA", "DX LL", "DX AP"}
    assert "of one study" in page.inner_text("#count")
    page.click("#all-studies")
    page.click("#rows")
    page.keyboard.press("p")
    page.select_option("#state", "done")
    assert len(places()) == 1
    page.select_option("#state", "-1")
    assert page.is_visible("#nothing")


def test_window_level_inversion_and_zoom_are_what_the_screen_shows(
    predict: Callable[..., Path], worklist: Callable[..., Made], tmp_path: Path
) -> None:
    """A film of one grey value, 64: inverted it is 191, in a window of 128 around 64 it is 127.5."""
    Image.fromarray(picture(1, (300, 300)) // 255 + 64).save(tmp_path / "grey.png")
    with opened(worklist(predict("grey.png")).page) as seen:
        ready(seen)
        page = seen.page
        wait_until(page, "document.getElementById('film').naturalWidth > 0")

        def grey() -> int:
            shot = Image.open(io.BytesIO(page.locator("#stage").screenshot())).convert("L")
            value: Any = shot.getpixel((shot.width // 2, shot.height // 2))
            return int(value)

        assert abs(grey() - 64) <= 1
        page.keyboard.press("i")
        assert abs(grey() - (255 - 64)) <= 1
        page.keyboard.press("i")
        area = page.locator("#stage").bounding_box()
        x, y = area["x"] + area["width"] / 2, area["y"] + area["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x - 127, y - 127, steps=4)  # window 255 − 127 = 128, level 127.5 − 63.5 = 64
        page.mouse.up()
        assert page.inner_text("#window-text") == "window 128, level 64, 1.0×"
        assert abs(grey() - 127.5) <= 2
        page.mouse.wheel(0, -100)
        assert page.inner_text("#window-text").endswith("1.3×")
        page.keyboard.press("0")
        assert page.inner_text("#window-text") == "window 255, level 128, 1.0×"
        seen.check()


@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (DESKTOP, True), (PHONE, False)])
def test_nothing_serious_is_wrong_with_its_accessibility(made: Made, size: tuple[int, int], dark: bool) -> None:
    with opened(made.page, size, dark=dark) as seen:
        ready(seen)
        seen.page.keyboard.press("p")
        seen.page.click(".about summary")
        assert seen.faults() == []
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off"
        seen.check()


def test_what_is_injected_does_not_run(made: Made) -> None:
    """Names are texts; and if markup did get in, the policy would not let it run or load anything."""
    with opened(made.page) as seen:
        ready(seen)
        assert seen.page.evaluate("!document.querySelector('#rows b')")
        assert any(name.endswith(f"in/{HOSTILE}") for name in seen.page.eval_on_selector_all(
            ".row .name", "all => all.map(each => each.textContent)"))  # fmt: skip
        seen.check()
        seen.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">')")
        seen.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=\"https://example.org/x.png\">')")
        seen.page.wait_for_timeout(200)
        assert seen.page.evaluate("window.ran === undefined")
        refused = [text for text in seen.complaints if "Content Security Policy" in text]
        assert len(refused) == 2


def test_a_blind_page_shows_no_score_and_no_name(table: Path, worklist: Callable[..., Made]) -> None:
    made = worklist(table, blind=True, seed=3)
    with opened(made.page) as seen:
        ready(seen)
        text = seen.page.inner_text("main")
        assert "Film 1" in text
        assert "in/" not in text
        assert "0." not in text
        seen.page.keyboard.press("h")
        seen.page.keyboard.press("p")
        (row,) = csv.DictReader(io.StringIO(exported(seen)))
        assert row["path"] == data_of(made)["films"][0]["path"]
        assert seen.faults() == []
        seen.check()


def test_h_shows_where_the_model_sees_what_the_keys_judge(
    predict: Callable[..., Path], worklist: Callable[..., Made], png: Callable[..., Path], tmp_path: Path
) -> None:
    model = (str(write_patch_bundle(tmp_path / "patches")),)
    png("in/a.png", 1, (90, 60))
    made = worklist(predict("in", model=model), model=model, label="pneumonia")
    with opened(made.page) as seen:
        ready(seen)
        page = seen.page
        page.keyboard.press("h")
        wait_until(page, "document.getElementById('overlay').naturalWidth > 0")
        assert page.is_visible("#overlay")
        assert page.is_hidden("#film")
        assert page.get_attribute("#see", "aria-pressed") == "true"
        page.keyboard.press("h")
        assert page.is_hidden("#overlay")
        assert page.is_visible("#film")
        page.select_option("#active", label="edema")
        page.keyboard.press("Escape")
        page.keyboard.press("h")
        assert page.inner_text("#message") == "No overlay was drawn for edema on this film."
        seen.check()


def test_a_film_with_a_fault_says_it_in_the_place_of_its_picture(table: Path, worklist: Callable[..., Made]) -> None:
    for path in Path("in").glob("*.png"):
        path.unlink()
    made = worklist(table, label="pneumonia")
    with opened(made.page) as seen:
        ready(seen)
        place = next(n for n, each in enumerate(data_of(made)["films"]) if each["path"].endswith(".png"))
        for _ in range(place):
            seen.page.keyboard.press("j")
        assert seen.page.inner_text("#fault") == "there is no file at this path now"
        assert seen.page.is_hidden("#film")
        assert "9 films have no picture" in seen.page.inner_text(".warnings")
        seen.check()


def test_on_paper_is_the_list_as_it_is_filtered(shown: Opened) -> None:
    page = shown.page
    page.keyboard.press("p")
    page.select_option("#state", "done")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.inner_text("#printed caption") == "1 films"
    assert page.is_hidden(".split")
    assert "+ pneumonia" in page.inner_text("#printed")
