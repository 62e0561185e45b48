"""The linter, through the library and the command."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cxrzero.cli import app
from cxrzero.model.model_json import Templates
from cxrzero.prompts import LabelPrompts, build_prompts
from cxrzero.prompts.lint import CODES, lint


def codes(*prompts: LabelPrompts) -> set[str]:
    return {finding.code for finding in lint(prompts)}


def test_the_reference_default_of_no_finding_is_caught() -> None:
    prompts = build_prompts(["No Finding", "Edema"], Templates(("{}",), ("no {}",)))
    (finding,) = lint(prompts)
    assert (finding.code, finding.label) == ("double_negative", "No Finding")


@pytest.mark.parametrize(
    ("negative", "code"),
    [
        ("no is enlarged", "grammar"),
        ("no are enlarged", "grammar"),
        ("no the heart", "grammar"),
        ("no multiple nodules", "grammar"),
        ("no enlarged", "grammar"),
        ("no absence of edema", "double_negative"),
        ("without no edema", "double_negative"),
        ("Edema", "same_on_both_sides"),
        ("…", "empty"),
    ],
)
def test_bad_wording(negative: str, code: str) -> None:
    assert codes(LabelPrompts("edema", ("edema",), (negative,))) == {code}
    assert code in CODES


@pytest.mark.parametrize("negative", ["no edema", "no effusion and no edema", "no effusion, no edema", "clear lungs"])
def test_sound_wording(negative: str) -> None:
    assert codes(LabelPrompts("edema", ("edema",), (negative,))) == set()


def test_duplicates_and_missing_sides() -> None:
    assert codes(LabelPrompts("a", ("x", " X "), ("y",))) == {"duplicate"}
    assert codes(LabelPrompts("a", ("x",), ("y",)), LabelPrompts("b", ("x",), ("y",))) == {"duplicate"}
    assert codes(LabelPrompts("a", ("x",), ())) == {"empty"}


def test_labels_whose_directions_nearly_agree() -> None:
    vectors = {"a": [1, 0, 0], "b": [1, 0.01, 0], "c": [0, 1, 0], "n": [0, 0, 1]}
    prompts = [LabelPrompts(name, (name,), ("n",)) for name in "abc"]
    findings = lint(prompts, embed=lambda texts: np.array([vectors[t] for t in texts], np.float32))
    assert [(f.code, f.label) for f in findings] == [("nearly_equal_labels", "b")]


def test_check_and_show_as_commands(tmp_path: Path, tiny_bundle: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text('labels:\n  No Finding: {positive: ["{}"], negative: ["no {}"]}\n  long: '
                    f'{{positive: [{"x" * 60}], negative: [short]}}\n')  # fmt: skip
    model = ["--model", str(tiny_bundle)]
    found = CliRunner().invoke(app, ["prompts", "check", "--prompts", str(file), *model])
    assert found.exit_code == 3
    assert "No Finding: double_negative" in found.output
    assert "long: too_long" in found.output
    clean = CliRunner().invoke(app, ["prompts", "check", "--labels", "edema,mass", *model])
    assert clean.exit_code == 0, clean.output
    shown = CliRunner().invoke(app, ["prompts", "show", "--labels", "edema", *model])
    assert "- no edema  [8 of 32 tokens]" in shown.output
