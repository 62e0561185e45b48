"""Decimals made thousands at a time are those that NumPy makes one by one."""

import numpy as np
import pytest

from cxrzero.tables.decimals import MAX_DECIMALS, MIN_USUAL, joined_decimals


def by_numpy(value: np.float32) -> str:
    return "" if np.isnan(value) else np.format_float_positional(value, unique=True, trim="0")


def samples(name: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    ones = np.float32(1).view(np.uint32)
    return {
        "probabilities": rng.random(20_000, dtype=np.float32),
        "cosines": rng.uniform(-1, 1, 20_000).astype(np.float32),
        "any bits below 1": rng.integers(ones, size=20_000, dtype=np.uint32).view(np.float32),
        "any bits from the smallest": rng.integers(
            np.float32(MIN_USUAL).view(np.uint32), ones, size=20_000, dtype=np.uint32
        ).view(np.float32),
        "short": (rng.integers(1, 10**4, 5_000) / 10 ** rng.integers(0, 8, 5_000)).astype(np.float32),
        # Where the distance to the neighbours changes.
        "powers of two": np.concatenate([np.nextafter(np.float32(2.0) ** np.arange(-30, 4), to) for to in (0, 9)]),
        "ends": np.array([0.0, -0.0, 1, np.nextafter(np.float32(1), np.float32(0)), MIN_USUAL, 1e-45, 7], np.float32),
    }[name]


@pytest.mark.parametrize("name", ["probabilities", "cosines", "any bits below 1", "any bits from the smallest"])
def test_random_numbers(name: str) -> None:
    check(samples(name))


@pytest.mark.parametrize("name", ["short", "powers of two", "ends"])
def test_special_numbers(name: str) -> None:
    check(samples(name))


def check(values: np.ndarray) -> None:
    values = values.astype(np.float32)
    assert joined_decimals(values[:, None].tolist()) == [by_numpy(value) for value in values]


def test_rows() -> None:
    assert joined_decimals([[0.5, None], [None, None], [-0.25, 1.0], [1e-9, 0.1]]) == [
        "0.5,",
        ",",
        "-0.25,1.0",
        "0.000000001,0.1",
    ]
    assert joined_decimals([[], []]) == ["", ""]
    assert joined_decimals([]) == []


def test_the_smallest_number_fits_its_digits() -> None:
    text = joined_decimals([[float(np.float32(MIN_USUAL))]])[0]
    assert len(text) <= len("0.") + MAX_DECIMALS
    assert np.float32(text) == np.float32(MIN_USUAL)
