"""Tables as the standard library reads them."""

from __future__ import annotations

import csv
from pathlib import Path


def table(path: Path | str = "predictions.csv") -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
