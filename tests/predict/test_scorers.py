"""Every command with a model that scores by attention: what it writes, what it says, what it refuses."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from cxrzero.cli import app
from cxrzero.model.bundle import load_bundle
from cxrzero.registry.verify import verify
from tests.support.bundle import write_bundle
from tests.support.scorers import quarters, rehashed, write_scorer_bundle
from tests.support.tables import table

FILMS = 24
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Films in `in`, their truth in labels.csv, a bundle that asks labels alone, and one that asks them together."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CXRZERO_CACHE_DIR", str(tmp_path / "cache"))
    Path("in").mkdir()
    truth = []
    for number in range(FILMS):
        is_there = number % 3 == 0
        greys = (40 + 9 * number if number % 5 else 200, 30 + 150 * is_there + number, 7 * number, 100)
        Image.fromarray(quarters(*greys)).save(f"in/{number:02}.png")
        truth.append((f"{number:02}.png", int(is_there), number % 2))
    with Path("labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("image", "base", "apex"), *truth])
    write_scorer_bundle(tmp_path / "alone")
    write_scorer_bundle(tmp_path / "together", together=True)

    def invoke(*arguments: str, model: str = "alone") -> Result:
        named = ["--model", model] if arguments[0] in ("predict", "search", "heatmap") else []
        return CliRunner().invoke(app, [*arguments, *named], env={"COLUMNS": "200"})

    return invoke


def test_a_dry_run_says_what_would_be_asked_and_kept(run: Run) -> None:
    result = run("predict", "in", "--labels", "apex,base", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "             apex\n             base\n" in result.output
    assert "Would keep   48 bytes of each film in the cache, so that a new question opens no film" in result.output
    assert "Would keep" not in run("predict", "in", "--no-cache", "--dry-run").output


def test_a_table_has_no_cosines_and_eval_takes_it(run: Run) -> None:
    result = run("predict", "in", "--labels", "apex,base", "--scores", "--out", "a.csv")
    assert result.exit_code == 0, result.output
    assert "24 computed; 48 bytes of each film in the cache are kept" in result.output
    rows = table("a.csv")
    assert {
        row[f"{label}_{side}"] for row in rows for label in ("apex", "base") for side in ("cos_pos", "cos_neg")
    } == {""}
    record = json.loads(Path("a.run.json").read_text(encoding="utf-8"))
    assert record["scoring"] == {"rule": "scorer", "scale": 4.0, "bias": 0.0, "pairs": False, "labels": "independent"}
    assert record["prompts"][0] == {"label": "apex", "positive": ["apex"], "negative": []}
    assert "scorer.onnx" in record["models"][0]["files"]
    result = run("eval", "a.csv", "labels.csv", "--in-sample", "--resamples", "0", "--out", "cal")
    assert result.exit_code == 0, result.output
    again = run("predict", "in", "--labels", "base", "--calibration", "cal/calibration.json", "--out", "b.csv")
    assert again.exit_code == 0, again.output
    assert "24 taken from the cache, 0 computed" in again.output
    assert [row["base"] for row in table("b.csv")] == [row["base"] for row in rows]
    assert {row["base_decision"] for row in table("b.csv")} == {"0", "1"}


def test_a_calibration_of_labels_asked_together_is_for_all_of_them(run: Run) -> None:
    asked = ("predict", "in", "--labels", "apex,base", "--out")
    assert run(*asked, "a.csv", model="together").exit_code == 0
    fit = ("eval", "a.csv", "labels.csv", "--in-sample", "--resamples", "0", "--out", "cal")
    assert run(*fit).exit_code == 0
    calibration = ("--calibration", "cal/calibration.json")
    assert run(*asked, "b.csv", *calibration, model="together").exit_code == 0
    result = run("predict", "in", "--labels", "base", *calibration, "--out", "c.csv", model="together")
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert "fitted for the label 'base' asked beside other labels" in said
    assert "Note: quarters is asked all labels of a question together" in run(*asked, "d.csv", model="together").output


def test_a_database_keeps_numbers_of_labels_asked_together_apart(run: Run) -> None:
    for labels in ("apex,base", "base", "base"):
        result = run("predict", "in", "--labels", labels, "--out", "r.sqlite", model="together")
        assert result.exit_code == 0, result.output
    assert "24 of 24 rows new" not in result.output
    assert run("table", "r.sqlite", "--run", "1", "--out", "one.csv").exit_code == 0
    assert run("table", "r.sqlite", "--run", "2", "--out", "two.csv").exit_code == 0
    one, two = ([row["base"] for row in table(name)] for name in ("one.csv", "two.csv"))
    assert all(a != b for a, b in zip(one, two, strict=True))
    assert set(two) == {"0.5"}  # beside itself alone its logit is the mean


def test_shards_and_resumed_runs_are_one_run(run: Run) -> None:
    whole = ("predict", "in", "--labels", "apex,base", "--no-cache", "--out")
    assert run(*whole, "whole.csv").exit_code == 0
    for index in (1, 2):
        assert run(*whole, f"p{index}.csv", "--shard", f"{index}/2", "--batch-size", str(index)).exit_code == 0
    assert run("merge", "p1.csv", "p2.csv", "--out", "merged.csv").exit_code == 0
    assert Path("merged.csv").read_bytes() == Path("whole.csv").read_bytes()
    assert run("predict", "in/00.png", "in/07.png", "--labels", "base", "--out", "some.csv").exit_code == 0
    result = run("predict", "in", "--labels", "apex,base", "--out", "on.csv")
    assert "2 taken from the cache, 22 computed" in result.output
    assert Path("on.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_what_has_no_answer_is_refused(run: Run) -> None:
    said = (
        "quarters scores by attention and has no embeddings that could be compared; this takes a model of two encoders"
    )
    for arguments in (("search", "apex", "in"), ("search", "--like", "in/00.png", "in")):
        result = run(*arguments)
        assert (result.exit_code, said in " ".join(result.output.split())) == (2, True)
    result = run("predict", "in", "--cache-large", "--no-cache", "--out", "x.csv")
    assert result.exit_code == 2
    assert "--cache-large says what is kept, and --no-cache keeps nothing" in result.output
    assert not Path("x.csv").exists()


def test_prompts_are_checked_without_what_is_not_asked(run: Run) -> None:
    bank = "labels:\n  apex:\n    positive: [apex]\n    negative: [apex]\n"
    Path("p.yaml").write_text(bank, encoding="utf-8")
    asked = ("prompts", "check", "--prompts", "p.yaml", "--model")
    assert "asked for and against" not in run(*asked, "alone").output
    write_bundle(Path("dual"))
    assert "asked for and against" in run(*asked, "dual").output


def test_a_map_shows_what_the_scorer_looks_at(run: Run) -> None:
    result = run("heatmap", "in/00.png", "--labels", "base", "--format", "npz", "--out", "maps", model="together")
    assert result.exit_code == 0, result.output
    output = " ".join(result.output.split())
    assert "maps by attention: neither method was measured with quarters, and its attention costs nothing" in output
    assert "1 pass of the model" in output
    assert "asked all labels of a question together" in output
    assert table("maps/heatmaps.csv")[0]["method"] == "attention"


def test_info_and_verify_know_it(run: Run) -> None:
    result = run("models", "info", "alone")
    assert result.exit_code == 0, result.output
    shown = " ".join(result.output.split())
    assert re.search(r"scoring:? rule scorer, scale 4.0, bias 0.0, pairs no, labels independent", shown)
    assert "image (4, 3), text (1, 4), dtype float32" in shown
    checks = {check.name: check for check in verify(load_bundle(Path("alone")))}
    assert all(check.ok for check in checks.values()), checks
    assert "4 films × 3 sentences" in checks["scorer"].detail
    assert checks["attention"].detail == "2 × 2 places"


@pytest.mark.parametrize(
    ("off", "ok", "said"),
    [(1e-4, True, "as the import noted them"), (0.5, False, "logits are not those of the import")],
)
def test_verify_asks_what_the_import_noted(run: Run, off: float, ok: bool, said: str) -> None:
    from cxrzero.backends.onnxruntime import OnnxRuntimeEncoder
    from cxrzero.convert.example import noted

    path = Path("alone")
    bundle = load_bundle(path)
    entry = noted(bundle, OnnxRuntimeEncoder(bundle, "cpu"))
    entry["logits"][2][1] += off
    card = json.loads((path / "model.json").read_text()) | {"provenance": {"example": entry}}
    (path / "model.json").write_text(json.dumps(card))
    check = next(check for check in verify(load_bundle(rehashed(path))) if check.name == "scorer")
    assert (check.ok, said in check.detail) == (ok, True)
