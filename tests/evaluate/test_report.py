"""The page: complete, self-contained, and safe against what tables may hold."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from cxrzero.evaluate.options import EvalOptions
from cxrzero.evaluate.probabilities import bins_of
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
        "At the threshold",
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


def test_counts_at_the_threshold_are_those_of_the_decisions(evaluation: Evaluation, study: Any) -> None:
    page = render_evaluation(evaluation)
    section = page[page.index("<h2>At the threshold</h2>") : page.index("<h2>Curves</h2>")]
    for place, label in enumerate(study.LABELS):
        calls = study.scores[study.scored, place] >= evaluation.points[label].threshold.value
        truth = study.truth[study.scored, place] == 1
        counts = [(calls & truth).sum(), (calls & ~truth).sum(), (~calls & truth).sum(), (~calls & ~truth).sum()]
        row = section[section.index(f'<th scope="row">{label}') :]
        assert [
            int(cell) for cell in re.findall(r'<td class="number" data-sort="[\d.]+">(\d+)</td>', row)[:4]
        ] == counts


def test_titles_of_plots_say_what_they_come_to(evaluation: Evaluation) -> None:
    page = Page(render_evaluation(evaluation))
    for found in evaluation.scores:
        auroc = found.ranks.auroc
        words = f"{auroc.value:.3f} ({auroc.low:.3f} to {auroc.high:.3f})"
        assert f"{found.label}: AUROC {words}" in page.text
        assert f"ROC: AUROC {words}" in page.text


def test_reliability_has_counts_and_wilsons_intervals(evaluation: Evaluation) -> None:
    """One row of each patient, so that rows are independent: Wilson's interval of k of n (JASA 1927; 22:209–212)."""
    values = np.array([0.31, 0.32, 0.33, 0.3, 0.9, 0.95])
    truth = np.array([True, False, False, False, True, True])
    first, second, *_ = bins_of(np.append(values, 0.5), np.append(truth, False), np.arange(7), 0.95)
    z, n, k = 1.959963984540054, 4, 1
    centre = (k / n + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (k / n * (1 - k / n) / n + z**2 / (4 * n**2)) ** 0.5
    assert (first.n, first.observed) == (4, 0.25)
    assert (first.observed_low, first.observed_high) == pytest.approx((centre - half, centre + half))
    assert second.n == 1
    page = Page(render_evaluation(evaluation))
    for quality in evaluation.quality:
        assert sum(each.n for each in quality.bins) == sum(each.n for each in quality.bins_after)
        for each in quality.bins_after:
            assert 0 <= each.observed_low <= each.observed <= each.observed_high <= 1
        assert f"Reliability of {quality.label}: {len(quality.bins) + len(quality.bins_after)} bins" in page.text


def test_two_films_of_a_patient_say_less_than_two_patients(evaluation: Evaluation) -> None:
    values, truth = np.full(40, 0.5), np.arange(40) % 4 < 2
    (alone,) = bins_of(values, truth, np.arange(40), 0.95)
    (pairs,) = bins_of(values, truth, np.arange(40) // 2, 0.95)
    assert (alone.n, alone.observed) == (pairs.n, pairs.observed) == (40, 0.5)
    assert pairs.observed_high - pairs.observed_low > alone.observed_high - alone.observed_low


def test_groups_that_cannot_be_judged_are_folded(study: Any) -> None:
    found = evaluate(EvalOptions(study.predictions, study.labels, by=("age",), n_resamples=100))
    page = render_evaluation(found)
    section = page[page.index("<h2>Subgroups</h2>") :].partition("</section>")[0]
    shown, _, hidden = section.partition("<details>")
    few = sum(not label.enough for group in found.subgroups[0].groups for label in group.scores)
    assert few > 0
    assert f"<summary>{few} more rows: fewer than 10 positives or negatives" in section
    assert hidden.count('<th scope="row">') == few
    assert 'class="mark"' not in shown


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
