"""The table of docs/published.md, from the logs of benchmarks/published_models.py.

python benchmarks/published_table.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "benchmarks" / "results" / "published"
PAGE = ROOT / "docs" / "published.md"
BEGIN, END = "<!-- published models -->", "<!-- end of published models -->"
COLUMNS = (
    *("model", "scores, of their SD", "embeddings", "pixel values", "import (s)", "bundle (MB)", "images/s"),
    *("second question (s)", "maps by"),
)
HEADER = f"\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"


def main() -> None:
    logs = sorted(LOGS.glob("*.json"))
    rows = "\n".join(row(json.loads(log.read_text("utf-8"))) for log in logs)
    names = " ".join(f"../benchmarks/results/published/{log.name}" for log in logs)
    figures = f"<!-- figures: {names} -->\n{HEADER}{rows}\n\n<!-- end of figures -->"
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, f"{PAGE} has no place for the table"
    PAGE.write_text(f"{before}{BEGIN}\n{figures}\n{END}{after}", "utf-8")


def row(log: dict[str, Any]) -> str:
    found = log["deviations"]
    cells = [
        f"`{log['model']}`",
        small(found["scores_over_sd"]),
        small(found["embeds"]) if "embeds" in found else "tokens",
        small(found["pixel_values"]),
        log["import_seconds"],
        log["bundle_mb"],
        log.get("images_per_second", "–"),
        log.get("second_question_seconds", "–"),
        log["heatmap"],
    ]
    return f"| {' | '.join(map(str, cells))} |"


def small(value: float) -> str:
    return f"{value:.1e}".replace("e-0", "e-") if value else "0"


if __name__ == "__main__":
    main()
