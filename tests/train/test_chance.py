"""Chance and luck beside R@5, and what is said of a run that learned nothing."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

pytest.importorskip("torch")

from cxrzero.cli.train import _next
from cxrzero.cli.training import _measured
from cxrzero.train.measure.chance import Luck, chance_of, luck_of, z_of
from cxrzero.train.measure.retrieval import recall
from cxrzero.train.measure.statements import Statement, auroc_spread, mean_auroc
from cxrzero.train.measure.verdict import judge
from cxrzero.train.progress import Progress


def shared_truth():
    """Six images and four texts; the first text is true of three images, the last image has two true texts."""
    truth = np.zeros((6, 4), bool)
    truth[[0, 1, 2, 3, 4, 5, 5], [0, 0, 0, 1, 2, 3, 1]] = True
    return truth


def test_chance_of_single_truths_is_k_of_n():
    chance = chance_of(np.eye(40, dtype=bool))
    assert chance == pytest.approx({f"{d}_r{k}": k / 40 for d in ("image_to_text", "text_to_image") for k in (1, 5)})
    assert set(chance_of(np.eye(4, dtype=bool)).values()) == {0.25, 1.0}


def test_chance_is_the_mean_over_all_rankings():
    """By going through every order of the candidates."""
    truth = shared_truth()
    chance = chance_of(truth)
    for name, answers, depth in (("image_to_text_r1", truth, 1), ("text_to_image_r5", truth.T, 5)):
        orders = list(itertools.permutations(range(answers.shape[1])))
        hits = [any(row[place] for place in order[:depth]) for row in answers for order in orders]
        assert chance[name] == pytest.approx(np.mean(hits), abs=1e-12)


def test_luck_of_shuffled_images_is_the_mean_and_deviation_over_all_permutations():
    rng = np.random.default_rng(0)
    cosines, truth = rng.random((6, 4)), shared_truth()
    luck = luck_of(cosines, truth, depth=1)
    by_image = [recall(cosines, truth[list(p)])["image_to_text_r1"] for p in itertools.permutations(range(6))]
    by_text = [recall(cosines, truth[:, list(p)])["text_to_image_r1"] for p in itertools.permutations(range(4))]
    assert luck.shuffled == pytest.approx((np.mean(by_image) + np.mean(by_text)) / 2)
    assert luck.shuffled_spread == pytest.approx((np.std(by_image) + np.std(by_text)) / 2)


def test_a_model_that_never_looks_is_luck_though_it_beats_random_rankings():
    """A text that is true of most films, ranked first for all of them."""
    truth = np.zeros((100, 41), bool)
    truth[:60, 0] = True
    truth[np.arange(60, 100), np.arange(1, 41)] = True
    blind = np.tile(-np.arange(41.0), (100, 1))
    found, luck = recall(blind, truth), luck_of(blind, truth)
    value = (found["image_to_text_r5"] + found["text_to_image_r5"]) / 2
    assert found["image_to_text_r5"] > 0.6
    assert value > luck.chance + 3 * luck.spread
    assert value <= luck.limit(1)
    seeing = np.where(truth, 1.0, 0.0) + blind / 1000
    assert luck_of(seeing, truth).limit(1) < 1.0


def test_random_models_are_luck_and_rarely_more():
    """25 of 1,000 go beyond, where the limit is exact; it is the wider one of two, so fewer do."""
    rng = np.random.default_rng(0)
    truth = np.eye(60, dtype=bool)
    beyond = 0
    for _ in range(300):
        cosines = rng.random((60, 60))
        found = recall(cosines, truth)
        beyond += (found["image_to_text_r5"] + found["text_to_image_r5"]) / 2 > luck_of(cosines, truth).limit(1)
    assert beyond <= 15
    assert luck_of(truth.astype(float), truth).limit(20) < 0.3


def test_the_best_of_many_looks_has_to_go_further():
    assert z_of(1) == pytest.approx(1.959964, abs=1e-6)
    assert z_of(20) == pytest.approx(3.023341, abs=1e-6)  # the normal quantile of 1 - 0.025/20


def test_the_spread_of_a_statement_is_mann_whitney_s():
    truth = np.repeat([True, False], [6, 9])
    statement = Statement(0, 1, np.arange(15), truth)
    assert auroc_spread([statement]) == pytest.approx(math.sqrt(16 / (12 * 54)))
    rng = np.random.default_rng(0)
    drawn = [mean_auroc([statement], [rng.random(15)]) or 0.0 for _ in range(4000)]
    assert np.std(drawn) == pytest.approx(auroc_spread([statement]), rel=0.05)


def run(measured, losses=None, start=None):
    """Records of a run with these validations, one for each epoch."""
    losses = [3 - 0.1 * n for n in range(20)] if losses is None else losses
    records = [{"step": n, "epoch": 1, "loss": loss} for n, loss in enumerate(losses, 1)]
    if start is not None:
        records.insert(0, {"step": 0, "epoch": 0, "validation": start})
    return records + [{"step": 20 + n, "epoch": n, "validation": each} for n, each in enumerate(measured, 1)]


def retrieved(value, limit=0.3):
    luck = Luck(0.1, (limit - 0.1) / z_of(1), 0.1, 0.0).to_dict()
    return {"retrieval": {"image_to_text_r5": value, "text_to_image_r5": value, "image_to_text_r1": 0.9}, "luck": luck}


@pytest.mark.parametrize(
    ("measured", "learned"),
    [
        ([retrieved(0.31)], True),
        ([retrieved(0.29)], False),
        ([retrieved(0.29), retrieved(0.31)], False),  # the best of two
        ([retrieved(0.9, limit=1.0)], None),
        ([{"auroc": [0.6, 0.51, 0.69]}], True),
        ([{"auroc": [0.6, 0.49, 0.71]}], False),
        ([{"auroc": [0.6, math.nan, math.nan]}], None),
        ([{"auroc": [0.4, 0.3, 0.5]}], False),
        ([{"statement_auroc": 0.61, "statement_spread": 0.05}], True),
        ([{"statement_auroc": 0.59, "statement_spread": 0.05}], False),
        ([{"auroc": [0.5, 0.4, 0.6]} | retrieved(0.9)], True),
        ([{"retrieval": {"image_to_text_r5": 0.9}}], None),  # an earlier version's record
        ([], None),
    ],
)
def test_a_run_is_judged(measured, learned):
    verdict = judge(run(measured))
    assert verdict.learned is learned
    assert any(line.startswith("THIS MODEL DID NOT LEARN: ") for line in verdict.lines) == (learned is False)


def test_what_a_run_that_did_not_learn_says():
    (line,) = judge(run([retrieved(0.12)])).lines
    assert line.startswith(
        "THIS MODEL DID NOT LEARN: R@5 0.120 (chance 0.100; luck can reach 0.300). It is no better than guessing."
    )
    assert "--lr" in line


def test_the_weights_that_alike_changed_are_judged_and_not_what_they_were():
    records = run([retrieved(0.9)])
    assert judge([*records, {"step": 21, "alike": {"groups": 2}, "validation": retrieved(0.12)}]).learned is False


def test_training_that_was_better_than_its_start_is_not_blamed_for_what_was_done_to_the_projection():
    records = run([retrieved(0.9)], start=retrieved(0.8))
    assert judge([*records, {"step": 21, "alike": {"groups": 2}, "validation": retrieved(0.7)}]).lines == ()


def test_a_run_that_learned_has_nothing_to_be_told():
    assert judge(run([retrieved(0.9)], start=retrieved(0.1))).lines == ()


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (run([]), "Nothing was held out"),
        (run([retrieved(0.9, limit=1.2)]), "Too little is held out"),
        (run([{"auroc": [0.5, 0.4, 0.6]} | retrieved(0.9)]), "NO BETTER THAN CHANCE: AUROC of --val-labels 0.500"),
        (run([retrieved(0.9)], start=retrieved(0.95)), "No validation was better than the one before the first step"),
        (run([retrieved(0.9)], losses=[2.0] * 10 + [2.5] * 10), "The loss did not fall: 2.0000 at the start, 2.5000"),
        (run([retrieved(0.9)], losses=[2.0, None, 1.0]), "1 of 3 steps had no finite loss"),
        (run([], losses=[2.0]), "Only 1 step was taken"),
        (run([retrieved(0.1)], losses=[2.0, 1.9]), "Only 2 steps were taken"),
    ],
)
def test_what_else_is_said(records, said):
    assert any(line.startswith(said) for line in judge(records).lines)


def test_chance_stands_beside_the_results_of_an_epoch():
    shown = _measured(Progress("validate", auroc=(0.61, 0.55, 0.67), recall=0.4, recall_chance=0.125))
    assert shown == "AUROC 0.610 (0.550 to 0.670; chance 0.5), R@5 0.400 (chance 0.125)"
    assert _measured(Progress("validate", auroc=(0.61, math.nan, math.nan))) == "AUROC 0.610 (chance 0.5)"


@pytest.mark.parametrize(
    ("learned", "labels", "said"),
    [
        (True, ["edema"], ". Try: cxrzero predict FOLDER --model {}"),
        (None, [], ". Try: cxrzero predict FOLDER --model {} --labels FINDINGS"),
        (False, ["edema"], ". This model did not learn: its results say nothing of a film."),
    ],
)
def test_a_run_ends_with_what_to_do_next(tmp_path, learned, labels, said):
    (tmp_path / "model.json").write_text(json.dumps({"labels": labels, "provenance": {"beyond_chance": learned}}))
    assert _next(tmp_path) == said.format(tmp_path)
