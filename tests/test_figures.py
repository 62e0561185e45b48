"""Figures that a document takes from a log are those of the log.

    <!-- figures: ../benchmarks/results/mini_eval.json -->
    | … | 0.709 | …
    <!-- end of figures -->

Every number between the two lines stands in the log, rounded as it is written; a percentage also as a share. A log that
is made anew, or a figure that is typed, therefore shows in the document.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import REPO

RESULTS = REPO / "benchmarks" / "results"
BLOCK = re.compile(r"<!-- figures: ([^>]+) -->\n(.*?)<!-- end of figures -->", re.DOTALL)
# Not what is part of a word or a path: fp32, ViT-B/32, `--kills 20`.
WRITTEN = re.compile(r"(?<![\w.,/])(\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?)(e-?\d+)?(%?)(?![\w/]|[.,]\d)")
LOGGED = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?", re.IGNORECASE)


def blocks() -> Iterator[tuple[Path, list[Path], str]]:
    """(document, logs, the lines between)."""
    for pattern in ("*.md", "docs/*.md", "*/README.md", "*/*/README.md"):
        for document in sorted(REPO.glob(pattern)):
            for logs, lines in BLOCK.findall(document.read_text(encoding="utf-8")):
                yield document, [(document.parent / log).resolve() for log in logs.split()], lines


BLOCKS = list(blocks())


def unfounded(lines: str, log: str) -> list[str]:
    """The numbers of a block that no number of the log, rounded alike, is equal to."""
    logged = [abs(float(each)) for each in LOGGED.findall(log)]
    found = []
    for number, power, percent in WRITTEN.findall(re.sub(r"`[^`]*`", "", lines)):
        digits = len(number.partition(".")[2])
        value, half = float(number.replace(",", "") + power), 0.5 * float(f"1{power}") * 10.0**-digits
        candidates = [*logged, *(100 * each for each in logged)] if percent else logged
        if not any(abs(each - value) <= half * (1 + 1e-9) for each in candidates):
            found.append(number + power + percent)
    return found


@pytest.mark.parametrize(("logs", "lines"), [block[1:] for block in BLOCKS], ids=[block[0].name for block in BLOCKS])
def test_figures_are_those_of_their_logs(logs: list[Path], lines: str) -> None:
    assert unfounded(lines, "\n".join(log.read_text(encoding="utf-8") for log in logs)) == []


def test_every_log_is_shown_somewhere() -> None:
    """But for one of which the documents state what follows from it, below."""
    logs = {path for path in RESULTS.iterdir() if path.suffix in (".json", ".jsonl", ".csv", ".txt")}
    assert logs - {log for _, logs, _ in BLOCKS for log in logs} == {
        RESULTS / "kill_resume.csv",
    }


def test_kills_are_counted_as_the_cache_page_says() -> None:
    with (RESULTS / "kill_resume.csv").open(encoding="utf-8", newline="") as file:
        kills = list(csv.DictReader(file))
    page = " ".join((REPO / "docs" / "cache.md").read_text(encoding="utf-8").split())
    assert all(kill["identical"] == "1" for kill in kills)
    assert f"All {len(kills)} tables were byte-identical" in page
    before, after = sum(kill["kept"] == "0" for kill in kills), sum(kill["table_was_complete"] == "1" for kill in kills)
    assert f"{before} kills came before the first batch, {after} after the table was complete" in page


def test_a_stale_figure_is_found() -> None:
    log = json.dumps({"auroc": [0.70949, 0.64852], "films": 1661, "share": 0.938, "error": 6.61e-05})
    assert unfounded("| 0.709 (0.649 to 0.7) | 1,661 | 94% | 7e-5 | ViT-B/32 fp16 | `--kills 20` |", log) == []
    stale = ["0.696", "0.64", "1,662", "93%", "6e-5"]
    assert unfounded("| 0.696 (0.64 to 0.71) | 1,662 | 93% | 6e-5", log) == stale


def test_the_evaluation_shown_is_made_of_its_log() -> None:
    path = REPO / "benchmarks" / "mini_eval.py"
    spec = importlib.util.spec_from_file_location("mini_eval", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    log = json.loads((RESULTS / "mini_eval.json").read_text(encoding="utf-8"))
    assert module.table(log) in (REPO / "docs" / "eval.md").read_text(encoding="utf-8")
