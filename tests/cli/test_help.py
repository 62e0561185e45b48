"""Every help text has one shape: a verb first, a full phrase, a stop; and --help shows no type that says nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cxrzero.bench.options import BenchOptions
from cxrzero.cli import app
from cxrzero.compare.options import CompareOptions
from cxrzero.dicom_out.options import DicomSrOptions
from cxrzero.evaluate.options import EvalOptions
from cxrzero.export.options import ExportOptions
from cxrzero.heatmap.options import HeatmapOptions
from cxrzero.node.options import ListenOptions
from cxrzero.options import options_of
from cxrzero.predict.options import PredictOptions
from cxrzero.predict.table_options import TableOptions
from cxrzero.search.options import SearchOptions
from cxrzero.train.options import TrainOptions
from cxrzero.worklist.options import WorklistOptions

OPTIONS_TYPES = (
    PredictOptions, EvalOptions, TrainOptions, SearchOptions, BenchOptions, HeatmapOptions, WorklistOptions,
    DicomSrOptions, CompareOptions,
    TableOptions,
    ListenOptions,
    ExportOptions,
)  # fmt: skip

# With what a help text may begin. A new word belongs here if it is a verb that tells the program what to do.
VERB = re.compile(
    "Accept|Add|Apply|Ask|Blend|Build|Calibrate|Call|Change|Check|Choose|Compare|Compute|Contrast|Decide|Decode|Delete|Do|"
    "Draw|Encode|Evaluate|Fetch|Find|Fit|Give|Go|Export|Invert|Join|Keep|Learn|Leave|Let|Limit|List|Look|Measure|Multiply|"
    "Name|Neither|Prepare|Print|Rank|Read|Record|Remove|Replace|Run|Save|Say|Score|Seed|Set|Show|Spend|Start|State|Stop|Take|"
    "Train|Turn|Validate|Vary|Write"
)


def commands(command: Any = None, name: str = "cxrzero") -> Iterator[tuple[str, Any]]:
    """Every command with its name as typed, groups among them."""
    command = command or typer.main.get_command(app)
    yield name, command
    for child, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{name} {child}")


def texts() -> Iterator[tuple[str, str]]:
    """(of what, its help) for each command, argument and option, hidden ones too."""
    for name, command in commands():
        if name != "cxrzero":  # a title, not an order
            yield name, first_line(command.help)
        yield from ((f"{name} {each.name}", each.help) for each in command.params)
    for kind in OPTIONS_TYPES:
        yield from ((f"{kind.__name__} {each.name}", each.help) for each in options_of(kind))


def first_line(text: str) -> str:
    """A command's help up to its first empty line."""
    return text.partition("\n\n")[0].replace("\n", " ").strip()


def test_a_help_text_begins_with_a_verb_and_ends_with_a_stop() -> None:
    every = sorted(set(texts()))
    assert len(every) > 200
    for of, text in every:
        word, *more = text.split()
        assert VERB.fullmatch(word.rstrip(",")), f"{of}: {text}"
        assert more, f"{of}: {text}"
        assert re.search(r"[\w)]\.$", text), f"{of}: {text}"


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_help_shows_only_types_that_say_something(name: str) -> None:
    """No <bool> beside a switch, no <list[str]> beside a name (but <path|content>), no default in its own brackets."""
    result = CliRunner().invoke(app, [*name.split()[1:], "--help"], env={"COLUMNS": "100"})
    assert result.exit_code == 0
    assert not re.search(r"<(bool|str|path|Path|list)\b(?!\|)|\[default: \(", result.output)
    assert "......" not in result.output.replace(" ", "")
    usage = result.output.split("\n\n")[0]
    assert "{" not in usage
