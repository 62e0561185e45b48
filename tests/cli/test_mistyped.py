"""What is typed wrong is answered in one sentence of the program's own, whichever version of Typer found it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxrzero.cli import app

Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refused:
    """The sentence in which a command line is refused, on one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")

    def refusal(*typed: str) -> str:
        result = CliRunner().invoke(app, typed, prog_name="cxrzero")
        assert result.exit_code == 2
        *_, box = result.output.partition("Error")
        return " ".join(word for word in box.split() if not set(word) <= set("─│╭╮╰╯"))

    return refusal


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        # choices
        ("predict a --only lateral", "--only takes frontal, not 'lateral'."),
        ("predict a --device tpu", "--device takes auto, cpu, cuda or cuda:N, not 'tpu'."),
        ("predict a --by patient", "--by takes image or study, not 'patient'."),
        ("eval a b --calibrator none2", "--calibrator takes platt, temperature, isotonic or none, not 'none2'."),
        ("inspect a --invert 3", "--invert takes auto, yes or no, not '3'."),
        # whole numbers, with and without a range
        ("predict a --workers x", "--workers takes a whole number from 1 to 256, not 'x'."),
        ("predict a --workers 0", "--workers takes a whole number from 1 to 256, not '0'."),
        ("predict a --workers 257", "--workers takes a whole number from 1 to 256, not '257'."),
        ("predict a --batch-size 1.5", "--batch-size takes a whole number from 1 to 4,096, not '1.5'."),
        ("search a b --top 0", "--top takes a whole number from 1 to 100,000, not '0'."),
        ("prompts search a b --seed x", "--seed takes a whole number, not 'x'."),
        # numbers
        ("eval a b --confidence 95%", "--confidence takes a number, not '95%'."),
        ("train a --lr fast", "--lr takes a number, not 'fast'."),
        # what is missing
        ("merge a.csv", "--out is missing. Write the joined table to this file, or send it to an object store."),
        ("models verify --debug", "MODEL is missing. Name a model as --model does:"),
        ("predict a --labels", "--labels needs a value: --labels LIST."),
        ("eval a b --validation c", "--validation needs 2 values: --validation PREDICTIONS LABELS."),
        # what is too much
        ("predict a --overwrite=yes", "--overwrite takes no value: give it or leave it out."),
        ("eval a b c", "cxrzero eval takes no more than PREDICTIONS and LABELS.csv: leave out 'c'."),
        ("cache info all", "cxrzero cache info takes no arguments: leave out 'all'."),
        # what is not known
        ("predict a --labls x", "cxrzero predict has no option --labls. Did you mean --labels?"),
        ("predict a -z", "cxrzero predict has no option -z."),
        ("--nosuch", "cxrzero has no option --nosuch."),
        ("predct a", "cxrzero has no command 'predct'. Did you mean predict or inspect?"),
        (
            "models nosuch",
            "cxrzero models has no command 'nosuch'. Its commands are list, info, import, pull, verify, calibrate, "
            "location.",
        ),
        # paths
        ("predict a --config nosuch.toml", "--config: nosuch.toml cannot be read: No such file or directory"),
    ],
)
def test_a_command_line_is_refused_in_plain_words(refused: Refused, typed: str, said: str) -> None:
    assert refused(*typed.split()).startswith(said)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("workers = 0.5", "run.toml: --workers takes a whole number from 1 to 256, not 0.5."),
        ('overwrite = "maybe"', "run.toml: --overwrite takes true or false, not 'maybe'."),
        ("only = 3", "run.toml: --only takes frontal, not 3."),
    ],
)
def test_a_value_of_a_file_names_the_file(refused: Refused, line: str, said: str) -> None:
    Path("run.toml").write_text(line, encoding="utf-8")
    assert refused("predict", "a", "--config", "run.toml") == said


def test_what_a_terminal_would_act_on_is_written_out(refused: Refused) -> None:
    assert refused("predict", "a", "--only", "\x1b[2J") == r"--only takes frontal, not '\x1b[2J'."
    assert refused("predict", "a", "--\x1b[2J").startswith(r"cxrzero predict has no option --\x1b[2J.")
    assert refused("\x1b[2J").startswith(r"cxrzero has no command '\x1b[2J'.")
