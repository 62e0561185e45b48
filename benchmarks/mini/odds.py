"""The log odds that a model gives findings in pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxrzero import Screener


def scores(screener: Screener, paths: Sequence[Any], labels: Sequence[str]) -> dict[str, np.ndarray]:
    """Label → (N,) log odds of p, which rank as cos⁺ − cos⁻ does."""
    rows = screener.predict(list(paths), labels=list(labels))
    bad = [row.path for row in rows if row.status != "ok"]
    if bad:
        raise SystemExit(f"{len(bad)} pictures could not be scored, e.g. {bad[:3]}")
    p = {label: np.clip([row.scores[label] for row in rows], 1e-7, 1 - 1e-7) for label in labels}
    return {label: np.log(values / (1 - values)) for label, values in p.items()}
