"""The page: complete, self-contained, and safe against what tables may hold."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from cxrzero.evaluate.options import EvalOptions
from cxrzero.evaluate.run import Evaluation, evaluate
from cxrzero.report import render_evaluation
from cxrzero.report.svg import nice_ticks

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Checks nesting, collects text and every reference to something outside."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def evaluation(study: Any, validation: Any) -> Evaluation:
    return evaluate(
        EvalOptions(
            study.predictions,
            study.labels,
            validation=(validation.predictions, validation.labels),
            readers=study.readers,
            compare=(study.predictions,),
            by=("sex",),
            prevalence=0.05,
            n_resamples=100,
        )
    )


def test_the_page_is_complete_and_well_formed(evaluation: Evaluation) -> None:
    page = Page(render_evaluation(evaluation))
    assert page.open == []
    for words in (
        "Not a medical device",
        "Results per label",
        "Two ways to ask",
        "Model and readers",
        "Comparison with other predictions",
        "Subgroups",
        "Probabilities",
        "What was joined",
        "Provenance",
        "PPV at 0.05",
        "no run record (.run.json) lies beside the table",
    ):
        assert words in page.text, words
    assert page.tags.count("svg") == 3 + 3 * 4  # an interval and four plots for each label


def test_the_page_loads_nothing(evaluation: Evaluation) -> None:
    html = render_evaluation(evaluation)
    assert Page(html).references == []
    assert "http" not in html.replace("http-equiv", "")
    assert "url(" not in html
    assert "@import" not in html


def test_names_from_tables_are_text_not_markup(write: Any) -> None:
    evil = "<script>alert(1)</script>"
    ids = [f"{i}<b>.png" for i in range(30)]
    predictions = write("p.csv", ["image", evil], [[i, k / 30] for k, i in enumerate(ids)] + [["<img src=x>", 0.5]])
    labels = write("l.csv", ["image", evil], [[i, k % 2] for k, i in enumerate(ids)])
    html = render_evaluation(evaluate(EvalOptions(predictions, labels, in_sample=True, n_resamples=100)))
    page = Page(html)
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert evil in page.text


def test_ticks_are_round_and_inside() -> None:
    assert nice_ticks(0, 1, 5) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert nice_ticks(0.43, 0.62, 4) == [0.45, 0.5, 0.55, 0.6]
    assert nice_ticks(-20, 19, 4) == [-20, -10, 0, 10]
