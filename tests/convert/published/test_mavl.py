"""MAVL: a tiny checkpoint, a text encoder and two books answer as its authors' code does; the comparison has teeth."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

from cxrzero import Screener  # noqa: E402
from cxrzero.cli import app  # noqa: E402
from cxrzero.convert import import_model, load_model  # noqa: E402
from cxrzero.convert.published.mavl import ASPECTS  # noqa: E402
from cxrzero.convert.published.sentences import BETWEEN, Sentences  # noqa: E402
from cxrzero.errors import ImportModelError, TokenizerError  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from tests.support.booked import bring_together  # noqa: E402
from tests.support.books import aspects, descriptions  # noqa: E402
from tests.support.published import (  # noqa: E402
    Published,
    agrees,
    answers,
    deviations,
    draw_films,
    drop,
    extra,
    notices,
    predicted,
    reshaped,
)

MAVL = Published("mavl")
FAULTS = ("activation", "companions", "crop", "norm", "order", "pooling", "scale", "token")


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mavl")
    bring_together(MAVL, folder / "weights")
    return import_model(folder / "weights", folder / "bundle"), draw_films(folder / "films")


@pytest.fixture(scope="module")
def ours(imported):
    report, films = imported
    return answers(report.bundle, films, MAVL.prompts)


def test_a_tiny_checkpoint_answers_as_the_authors_code_does(ours):
    assert agrees(deviations(ours, MAVL.expected))
    assert ours["scores"].std(axis=0).min() > 0.05, "the films must differ for the comparison to mean anything"


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_notices(ours, fault):
    assert set(MAVL.faults) == set(FAULTS)
    assert notices(ours, MAVL, fault)


def test_the_map_is_the_mean_over_layers_and_four_sentences(ours):
    assert np.abs(ours["attention"][:1, :4] - MAVL.expected["attention"]).max() < 1e-5


def test_a_label_is_asked_by_nine_sentences_of_the_book_or_of_the_users(imported, tmp_path):
    report, films = imported
    (tmp_path / "mine.yaml").write_text(
        f'labels:\n  card:\n    positive: ["{MAVL.prompts[-1]}"]\n    negative: ["no card"]\n', "utf-8"
    )
    screener = Screener(report.bundle, device="cpu", cache=False)
    rows = list(screener.predict(films, ["edema", "card"], prompts=str(tmp_path / "mine.yaml")))
    at = [MAVL.prompts.index("edema"), len(MAVL.prompts) - 1]
    expected = 1 / (1 + np.exp(-MAVL.expected["logits"][:, at]))
    assert np.abs(np.array([list(row.scores.values()) for row in rows]) - expected).max() < 1e-5
    book = load_bundle(report.bundle).book
    assert book["edema"] == BETWEEN.join([descriptions()["edema"], *aspects()["edema"]])
    with pytest.raises(TokenizerError, match="'card' has 1 sentence, and this model is asked for a finding by 9, with"):
        predicted(report.bundle, films, ("card",))


def test_prompts_check_counts_the_sentences_of_the_users_own_and_leaves_the_book_alone(imported):
    report, _ = imported
    found = CliRunner().invoke(app, ["prompts", "check", "--model", str(report.bundle), "--labels", "edema,card"])
    assert found.exit_code == 3
    assert "card: sentences: the prompt 'card' has 1 sentence, and this model is asked for" in found.output
    assert "edema:" not in found.output


def test_a_prompt_is_taken_apart_as_its_sentences_would_be_read_alone():
    """Against rows written by hand: [CLS] = 2, [SEP] = 3, padding 0, rows of five tokens."""
    prompts = torch.tensor([[2, 11, 12, 3, 13, 3, 14, 15, 16, 17, 3, 0], [2, 3, 11, 12, 13, 3, 21, 3, 0, 0, 0, 0]])
    rows = Sentences(3, 5, end=3, pad_id=0)(prompts)
    assert rows.tolist() == [
        [[2, 11, 12, 3, 0], [2, 13, 3, 0, 0], [2, 14, 15, 16, 3]],
        [[2, 3, 0, 0, 0], [2, 11, 12, 13, 3], [2, 21, 3, 0, 0]],
    ]
    assert Sentences(1, 5, end=3, pad_id=0)(prompts[:, :8])[1].tolist() == [[2, 3, 0, 0, 0]]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (drop("backbone.6."), r"do not belong together: the ResNet gives 16 numbers, and what follows it reads 32"),
        (drop("res_l1.1."), r"nothing below res_l1\.1\."),
        (extra("bottleneck.weight", 2, 2), r"MAVL has no such tensors: bottleneck\.weight"),
        (reshaped("classifier.weight", 2, 8 * 256), "the decoder gives 2304 numbers, and what follows it reads 2048"),
        (reshaped("res_l1.1.weight", 32), r"the activation of MAVL: weight has shape \(32,\), needed is \(1,\)"),
    ],
)
def test_what_is_missing_or_of_another_version_is_named(tmp_path, change, match):
    path = bring_together(MAVL, tmp_path, change)
    with pytest.raises(ImportModelError, match=match):
        load_model(path)


def test_a_missing_book_is_named_and_what_is_not_used(tmp_path):
    path = bring_together(MAVL, tmp_path / "text")
    own = tmp_path / "own" / path.name
    own.parent.mkdir()
    path.rename(own)
    stated = load_model(own, tokenizer=tmp_path / "text").stated
    assert {
        "not used: pool.* (no part of the scores by attention)",
        "ignored beside the weights: optimizer, epoch",
    } <= set(stated)
    (tmp_path / "text" / ASPECTS).unlink()
    with pytest.raises(ImportModelError, match=r'put the file "gpt4_mimic\.json" of its code beside the weights'):
        load_model(own, tokenizer=tmp_path / "text")
