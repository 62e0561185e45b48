"""The simulation of a cluster, beside what arithmetic says of runs that are simple enough."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from benchmarks import cluster_simulation
from benchmarks.cluster_queue import Run, simulate
from tests.support import REPO

# 12 slices of 100 films, 10 s each: three rounds of four workers.
IDEAL = Run(films=1200, slice_films=100, workers=4, films_s=10.0)


def test_without_overheads_it_is_work_divided_by_workers() -> None:
    outcome = simulate(IDEAL)
    assert outcome.wall_s == pytest.approx(30)
    assert outcome.worker_s == pytest.approx(4 * 30)
    assert outcome.films_read == pytest.approx(1200)
    assert (outcome.tries, outcome.lost) == (12, 0)


def test_slices_that_do_not_go_into_the_workers_leave_some_without_work() -> None:
    assert simulate(replace(IDEAL, workers=5)).wall_s == pytest.approx(30)  # ⌈12 / 5⌉ rounds
    assert simulate(replace(IDEAL, films=1201)).wall_s == pytest.approx(30.1)  # a thirteenth slice of one film


def test_walk_start_and_merge_are_added() -> None:
    run = replace(IDEAL, plan_films_s=600, start_s=7, merge_films_s=400)
    assert simulate(run).wall_s == pytest.approx(2 + 7 + 30 + 3)
    assert simulate(run).worker_s == pytest.approx(4 * 37)


def test_a_store_that_gives_less_than_is_wanted_sets_the_pace() -> None:
    assert simulate(replace(IDEAL, store_films_s=8)).wall_s == pytest.approx(1200 / 8)
    assert simulate(replace(IDEAL, store_films_s=40)).wall_s == pytest.approx(30)


def test_a_driver_that_is_slower_than_the_workers_sets_the_pace() -> None:
    """A slice every 5 s, where four workers could take one every 2.5 s; the last one takes its 10 s."""
    assert simulate(replace(IDEAL, task_s=5)).wall_s == pytest.approx(12 * 5 + 10)


def test_a_slow_worker_is_not_waited_for_longer_than_the_driver_does() -> None:
    """All slow: as slow as that. One of two is slow: its slice is done again by the other, after three times 10 s."""
    assert simulate(replace(IDEAL, slow_share=1, slow_times=3)).wall_s == pytest.approx(90)
    two = Run(films=200, slice_films=100, workers=2, films_s=10, slow_share=0.5, slow_times=10, straggler_s=0)
    outcomes = {simulate(two, seed).wall_s: simulate(two, seed) for seed in range(20)}
    assert sorted(outcomes) == pytest.approx([10, 30 + 10, 100])  # none is slow, one, both
    assert outcomes[40].tries == 3
    assert outcomes[40].films_read == pytest.approx(100 + 100 + 40)
    patient = {simulate(replace(two, straggler_s=60), seed).wall_s for seed in range(20)}
    assert sorted(patient) == pytest.approx([10, 60 + 10, 100])


def test_lost_workers_cost_what_theory_says() -> None:
    """One slice of T seconds, losses at the rate λ, s seconds for the next worker: (e^λT − 1)(1/λ + s) at the mean."""
    run = Run(films=100, slice_films=100, workers=1, films_s=10, losses_an_hour=360, start_s=2)
    rate, slice_s, runs = 0.1, 10.0, 4000
    outcomes = [simulate(run, seed) for seed in range(runs)]
    expected = 2 + math.expm1(rate * slice_s) * (1 / rate + 2)
    assert sum(outcome.wall_s for outcome in outcomes) / runs == pytest.approx(expected, rel=0.05)
    assert sum(outcome.lost for outcome in outcomes) / runs == pytest.approx(math.expm1(rate * slice_s), rel=0.05)


def test_a_seed_is_a_run() -> None:
    run = replace(IDEAL, losses_an_hour=60, slow_share=0.3, slow_times=2, start_s=1)
    assert simulate(run, 1) == simulate(run, 1)
    assert simulate(run, 1) != simulate(run, 2)


def test_the_page_has_the_tables_of_the_log() -> None:
    log = json.loads((REPO / "benchmarks" / "results" / "cluster_simulation.json").read_text(encoding="utf-8"))
    page = (REPO / "docs" / "cluster.md").read_text(encoding="utf-8")
    assert cluster_simulation.rates(log) in page
    assert cluster_simulation.table(log) in page
