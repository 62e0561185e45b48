"""Looks at the validation splits are written down: whoever chooses by them must not have had many.

A look is one model; asking it again is none. The log has a line for each run: date, program, the model's fingerprint,
the macro AUROC that was seen.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

LOG = Path(__file__).parents[1] / "results" / "mini_looks.jsonl"
MOST = 3


def write_down(program: str, fingerprint: str, macro: float, log: Path = LOG) -> int:
    """Append a line; how many models have been looked at."""
    line = {"date": datetime.now(UTC).date().isoformat(), "program": program, "model": fingerprint, "macro": macro}
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    lines = log.read_text(encoding="utf-8").splitlines()
    return len({json.loads(each)["model"] for each in lines})


def told(count: int) -> str:
    return f"The validation splits have been looked at with {count} of at most {MOST} models."


def table(log: Path = LOG) -> str:
    """Markdown of the log, for the card."""
    lines = ["| date | program | model | macro AUROC |", "|---|---|---|---|"]
    for each in map(json.loads, log.read_text(encoding="utf-8").splitlines()):
        lines.append(f"| {each['date']} | {each['program']} | `{each['model'][:12]}` | {each['macro']:.3f} |")
    return "\n".join(lines)
