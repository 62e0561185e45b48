"""Which film comes first: by a label, by the highest of all, by chance, and a place for those that wait."""

from __future__ import annotations

import numpy as np
import pytest

from cxrzero.worklist.order import by_chance, descending, highest, ranks, with_oldest

NAN = float("nan")


def test_ranks_are_shares_below_with_ties_half() -> None:
    values = np.array([[0.1, 0.9], [0.1, 0.2], [0.3, 0.2], [NAN, 0.2]], np.float32)
    found = ranks(values, np.array([True, True, True, True]))
    # of 3 known values 0.1 stands twice: (0 + 2) / 6; of 4, 0.2 stands thrice: (0 + 3) / 8
    np.testing.assert_allclose(found[:, 0], [1 / 3, 1 / 3, 5 / 6, NAN])
    np.testing.assert_allclose(found[:, 1], [7 / 8, 3 / 8, 3 / 8, 3 / 8])


def test_rows_that_are_not_scored_have_no_rank_and_no_place() -> None:
    scored = np.array([True, False, True])
    found = ranks(np.array([[0.1], [0.9], [0.3]], np.float32), scored)[:, 0]
    np.testing.assert_allclose(found, [0.25, NAN, 0.75])
    assert descending(found, scored).tolist() == [2, 0]


def test_the_highest_of_several_labels_and_which_it_is() -> None:
    top, column = highest(np.array([[0.2, 0.7], [0.9, NAN], [NAN, NAN]], np.float32))
    np.testing.assert_allclose(top, [0.7, 0.9, NAN], rtol=1e-6)
    assert column.tolist()[:2] == [1, 0]


def test_equal_keys_keep_the_order_of_the_table() -> None:
    keys = np.array([0.5, 0.9, 0.5, 0.9, 0.5], np.float32)
    assert descending(keys, np.ones(5, np.bool_)).tolist() == [1, 3, 0, 2, 4]


def test_chance_is_repeatable_and_takes_each_film_once() -> None:
    scored = np.array([True, True, False, True] * 25)
    one, again, other = by_chance(scored, 1), by_chance(scored, 1), by_chance(scored, 2)
    assert one.tolist() == again.tolist() != other.tolist()
    assert sorted(one.tolist()) == np.flatnonzero(scored).tolist() != one.tolist()


def test_every_third_place_goes_to_the_film_that_came_first() -> None:
    order = np.array([5, 3, 1, 0, 4, 2])  # the most urgent first
    received = np.array([10, 50, 20, 40, NAN, 30], np.float64)
    rows, waited = with_oldest(order, received, every=3, top=5)
    # 5, 3, then row 0 that came at 10; 1, 4, then row 2 that came at 20, which `top` cuts off
    assert (rows, waited) == ([5, 3, 0, 1, 4], {0})
    rows, waited = with_oldest(order, received, every=3, top=100)
    assert (rows, waited) == ([5, 3, 0, 1, 4, 2], {0, 2})


@pytest.mark.parametrize("every", [2, 4])
def test_in_a_queue_positives_wait_less_than_in_turn_and_nobody_waits_for_ever(every: int) -> None:
    """A day of 40 rounds: 12 films come in each, a reader reads 8 of the list; then the backlog is read.

    By score alone the lowest film waits until the very end. With a place for the oldest, whoever came first is read
    within `every` films of the head of the queue.
    """
    by_score, mixed, in_turn = (queue(rule) for rule in (None, every, 1))
    assert mixed["positives"] < 0.75 * in_turn["positives"]
    assert mixed["longest"] < by_score["longest"]
    # A place in `every` is for waiting films: 8 / every a round, so the queue's head of n films takes n × every / 8.
    assert mixed["longest"] <= in_turn["longest"] * every
    assert by_score["positives"] < mixed["positives"]


def queue(every: int | None) -> dict[str, float]:
    """Mean wait of positives and longest wait of all, in rounds; `every` 1 reads in turn, None by score alone."""
    rng = np.random.default_rng(0)
    waiting: list[tuple[float, bool, int]] = []  # score, is positive, round of arrival
    waits: dict[bool, list[int]] = {True: [], False: []}
    round_ = 0
    while round_ < 40 or waiting:
        for _ in range(12 if round_ < 40 else 0):
            is_positive = bool(rng.random() < 0.1)
            waiting.append((rng.normal(1.5 if is_positive else 0.0), is_positive, round_))
        keys = np.array([score for score, _, _ in waiting], np.float32)
        received = np.array([arrival for _, _, arrival in waiting], np.float64)
        order = descending(keys, np.ones(len(keys), np.bool_))
        if every is None:
            read = order[:8].tolist()
        elif every == 1:
            read = list(range(min(8, len(waiting))))
        else:
            read, _ = with_oldest(order, received, every, 8)
        for row in read:
            waits[waiting[row][1]].append(round_ - waiting[row][2])
        waiting = [each for row, each in enumerate(waiting) if row not in set(read)]
        round_ += 1
    return {"positives": float(np.mean(waits[True])), "longest": float(max(waits[True] + waits[False]))}
