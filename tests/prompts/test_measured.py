"""Findings at chance: what of them follows from results, and who reads the mark in model.json."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from benchmarks import mini_auroc
from benchmarks.mini import results
from cxrzero.cli import app
from cxrzero.model.bundle import load_bundle
from cxrzero.prompts.measured import findings_at_chance, list_at_chance
from cxrzero.registry.verify import Check, verify
from tests.support.bundle import write_bundle

Run = Callable[..., Result]


def result(label: str, low: float | None, positives: int | None = 30, value: float = 0.7, **more: Any) -> Any:
    high = None if low is None else low + 0.3
    stated = {"dataset": "a", "label": label, "metric": "auroc", "value": value, "low": low, "high": high}
    return stated | {"positives": positives} | more


def test_a_finding_is_at_chance_where_its_interval_does_not_lie_above_one_half() -> None:
    results = [result("edema", 0.501), result("mass", 0.5), result("nodule", 0.44), result("cyst", None, value=0.5)]
    assert findings_at_chance(results) == ["mass", "nodule", "cyst"]
    assert findings_at_chance([result("hernia", 0.1, metric="average precision"), "no result", {"label": 3}]) == []
    assert findings_at_chance(None) == []


def test_of_several_data_sets_the_one_with_most_positives_counts() -> None:
    small, large = result("pneumonia", 0.4, 5), result("pneumonia", 0.6, 390, dataset="b")
    assert findings_at_chance([small, large]) == findings_at_chance([large, small]) == []
    assert findings_at_chance([small | {"low": 0.6}, large | {"low": 0.4}]) == ["pneumonia"]
    unstated = [result("edema", low, None) for low in (0.4, 0.6)]
    assert findings_at_chance(unstated) == ["edema"]
    assert findings_at_chance(unstated[::-1]) == []
    assert findings_at_chance([result("Effusion", 0.4, 5), result("pleural effusion", 0.6, 6)]) == []


def test_an_average_over_findings_is_no_finding() -> None:
    averages = [result(name, 0.4) for name in ("macro", "macro, all", "macro, 20 positives or more")]
    assert findings_at_chance(averages) == []
    assert findings_at_chance([result("macrocyst", 0.4)]) == ["macrocyst"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, png: Callable[..., Path]) -> Run:
    monkeypatch.chdir(tmp_path)
    png("in/a.png")
    return lambda *arguments: CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "300"})


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """Its card marks one finding that was measured better than chance, and one that was not measured."""
    results = [result("edema", 0.6), result("mass", 0.6), result("nodule", 0.44)]
    return write_bundle(tmp_path / "marked", results=results, at_chance=["Mass", "hernia"])


def test_the_mark_adds_to_the_results(run: Run, marked: Path) -> None:
    done = run("predict", "in", "--model", marked, "--labels", "edema,mass,nodule,hernia,goiter", "--out", "a.csv")
    assert done.exit_code == 0, done.output
    remarks = json.loads(Path("a.run.json").read_text(encoding="utf-8"))["remarks"]
    assert [(each["code"], each["label"], each["message"]) for each in remarks] == [
        (
            "chance",
            "mass",
            "marked in the model.json of tiny as at chance (AUROC 0.70, interval 0.60 to 0.90, a)",
        ),
        ("chance", "nodule", "measured at chance with tiny (AUROC 0.70, interval 0.44 to 0.74, a)"),
        ("chance", "hernia", "marked in the model.json of tiny as at chance"),
        ("unmeasured", "goiter", "never measured with tiny, as far as its model.json says"),
    ]
    for each in remarks:
        assert f"Note: {each['label']}: {each['message']}" in done.output
    assert "At chance, so read nothing into it: mass, nodule and hernia" in done.output
    assert "Never measured with this model: goiter" in done.output
    for label, mark in (("mass", " (at chance)"), ("goiter", " (never measured)"), ("edema", "")):
        assert f"\n{label}{mark}\n" in done.output
    assert "At chance" not in run("predict", "in", "--model", marked, "--labels", "edema", "--out", "b.csv").output


def test_info_names_them_and_verify_compares_them(run: Run, marked: Path, tmp_path: Path) -> None:
    assert list_at_chance(load_bundle(marked)) == ["Mass", "hernia", "nodule"]
    assert "  at chance: Mass, hernia, nodule" in run("models", "info", marked).output.splitlines()

    def checked(folder: Path) -> list[Check]:
        return [check for check in verify(load_bundle(folder)) if check.name == "at chance"]

    (check,) = checked(marked)
    assert not check.ok
    assert check.detail == "model.json does not mark nodule, at chance by its own results"
    (check,) = checked(write_bundle(tmp_path / "whole", results=[result("nodule", 0.4)], at_chance=["Nodule"]))
    assert check.ok
    assert load_bundle(write_bundle(tmp_path / "none", at_chance=None)).at_chance == ()
    assert load_bundle(write_bundle(tmp_path / "empty", at_chance=[])).at_chance == ()
    assert checked(write_bundle(tmp_path / "silent", results=[result("nodule", 0.4)])) == []


def test_the_benchmark_marks_what_it_measured(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "made", at_chance=["edema"])
    lows = {"edema": 0.6, "mass": 0.4}
    made = [results.Result("a", label, 100, 30, [0.7, low, 0.9], {}, None) for label, low in lows.items()]
    mini_auroc.record(made, folder, "x")
    card = load_bundle(folder).card
    assert card["at_chance"] == ["mass"]
    assert [each["label"] for each in card["results"]] == ["edema", "mass"]


def test_of_the_models_own_labels_those_that_were_never_measured_are_named_after_the_run(
    run: Run, tmp_path: Path
) -> None:
    model = write_bundle(tmp_path / "own", results=[result("edema", 0.6)], labels=["edema", "mass", "No Finding"])
    done = run("predict", "in", "--model", model, "--out", "a.csv")
    assert done.exit_code == 0, done.output
    assert "never measured with tiny" not in done.output  # not before it, and not in the record
    assert json.loads(Path("a.run.json").read_text(encoding="utf-8"))["remarks"] == []
    assert "Never measured with this model: mass\n" in done.output
