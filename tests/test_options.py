"""An option has one home: what is declared there is on the command line, in --config, the record, `merge` and the docs.

`python -m tests.test_options` writes the tables of options in the docs again.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import typer
from typer.models import OptionInfo
from typer.testing import CliRunner, Result

from cxrzero.calibration.file import BOUND_KEYS, binding
from cxrzero.cli import app
from cxrzero.cli.parameters import command
from cxrzero.cli.predict import predict
from cxrzero.errors import UsageError, exit_code
from cxrzero.options import Option, options_of, record_of
from cxrzero.options import option as declared
from cxrzero.predict.options import PredictOptions
from cxrzero.predict.plan import prepare
from cxrzero.train.options import TrainOptions
from cxrzero.train.recipes import from_json, resumed_options, to_json
from tests.support import REPO
from tests.support.bundle import write_bundle

Run = Callable[..., Result]

# In which document, and whose last column says what an option decides.
TABLES: dict[str, tuple[str, type | None]] = {
    "predict": ("predict.md", PredictOptions),
    "search": ("predict.md", None),
    "embed": ("embed.md", None),
    "heatmap": ("heatmap.md", None),
    "worklist": ("worklist.md", None),
    "dicom-sr": ("dicom-sr.md", None),
    "export": ("export.md", None),
    "table": ("database.md", None),
    "listen": ("listen.md", None),
    "eval": ("eval.md", None),
    "compare": ("compare.md", None),
    "train": ("train.md", TrainOptions),
    "bench": ("bench.md", None),
}


@dataclass(frozen=True, slots=True)
class Made(PredictOptions):
    """Two options that nobody knew before."""

    crop: float = declared(0.0, "Cut so much off each side.", metavar="X", minimum=0)
    haste: bool = declared(False, "Make haste.", decides="nothing")


@pytest.fixture
def made() -> typer.Typer:
    """The command line with `predict` of the made-up options."""
    program = typer.Typer()
    program.command("predict")(command(predict, Made, config=True))
    program.command("other")(lambda: None)
    return program


@pytest.fixture
def run(made: typer.Typer, tiny_bundle: Path, png: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    for seed in range(6):
        png(f"in/{seed}.png", seed)
    model = ("--model", str(tiny_bundle))
    return lambda *arguments: CliRunner().invoke(made, ["predict", "in", *model, *arguments], env={"COLUMNS": "120"})


def test_a_made_up_option_is_in_the_help_and_in_the_table(made: typer.Typer) -> None:
    result = CliRunner().invoke(made, ["predict", "--help"], env={"COLUMNS": "120"})
    assert re.search(r"--crop +X .*Cut so much off each side\.", result.output)
    lines = table(callback_of(made, "predict"), Made)
    assert "| `--crop X` | Cut so much off each side. | 0.0 | result |" in lines
    assert "| `--haste` | Make haste. | | |" in lines


def test_a_made_up_option_is_read_recorded_and_checked(run: Run) -> None:
    Path("run.toml").write_text("crop = 0.25\n", encoding="utf-8")
    assert run("--config", "run.toml", "--out", "a.csv").exit_code == 0
    assert json.loads(Path("a.run.json").read_text(encoding="utf-8"))["options"]["crop"] == 0.25
    assert run("--config", "run.toml", "--crop", "0.5", "--haste", "--out", "b.csv").exit_code == 0
    options = json.loads(Path("b.run.json").read_text(encoding="utf-8"))["options"]
    assert (options["crop"], options["haste"]) == (0.5, True)
    assert run("--crop", "-1", "--out", "c.csv").exit_code == 2
    assert not Path("c.csv").exists()


def test_shards_must_agree_in_a_made_up_option_that_decides_the_result(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxrzero.predict.merge.PredictOptions", Made)
    for index, options in ((1, ("--crop", "0.1", "--haste")), (2, ("--crop", "0.2"))):
        assert run("--shard", f"{index}/2", "--out", f"{index}.csv", *options).exit_code == 0
    result = CliRunner().invoke(app, ["merge", "1.csv", "2.csv", "--out", "merged.csv"])
    assert "differ in options: crop\n" in result.output
    assert run("--shard", "2/2", "--out", "2.csv", "--crop", "0.1", "--overwrite").exit_code == 0
    assert CliRunner().invoke(app, ["merge", "1.csv", "2.csv", "--out", "merged.csv"]).exit_code == 0
    merged = json.loads(Path("merged.run.json").read_text(encoding="utf-8"))["options"]
    assert (merged["crop"], merged["haste"]) == (0.1, None)


def test_a_calibration_is_bound_to_what_decides_the_scores(tiny_bundle: Path, png: Any, tmp_path: Path) -> None:
    def bound(**options: Any) -> dict[str, Any] | None:
        asked = {"model": (str(tiny_bundle),), "out": str(tmp_path / "a.csv"), "device": "cpu", **options}
        plan = prepare(PredictOptions((str(film),), **asked))
        return binding(plan.screener.decisive(plan.prompts))

    film = png("a.png")
    (tmp_path / "prompts.yaml").write_text("templates:\n  positive: ['seen {}']\n  negative: ['no {}']\n")
    others: dict[str, Any] = {
        "labels": ("mass",),
        "prompts": str(tmp_path / "prompts.yaml"),
        "model": (str(write_bundle(tmp_path / "other", seed=1)),),
        "fast_decode": True,
    }
    # Of the tiny model there is one precision.
    decisive = {each.name for each in options_of(PredictOptions) if each.decides == "scores"}
    assert decisive == {*others, "precision"}
    assert "precision" in BOUND_KEYS
    plain = bound()
    for name, value in others.items():
        assert bound(**{name: value}) != plain, name
    assert bound(workers=3, batch_size=7, skip=("lateral",), scores=True, by="study") == plain


def test_the_record_says_what_was_settled() -> None:
    record = record_of(PredictOptions(("a",), workers=3), {"workers": 4, "skip": []})
    assert record["workers"] == 4
    assert record["decode_in"] == "auto"
    assert not {"paths", "labels", "out", "cache"} & set(record)


@pytest.mark.parametrize("name", ["predict", "eval", "train"])
def test_a_config_file_knows_the_options_as_they_are_typed(name: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("table-format = 1\n")
    result = CliRunner().invoke(app, [name, "a", "b", "--config", str(tmp_path / "run.toml")], env={"COLUMNS": "2000"})
    assert result.exit_code == 2
    (listed,) = re.findall(r"unknown key 'table-format'; known: ([\w, -]+)", result.output)
    params = commands(app)[name].params
    typed = {max(each.opts, key=len).removeprefix("--") for each in params if each.param_type_name == "option"}
    assert typed - {"config"} <= set(listed.strip().split(", "))
    arguments = {each.name for each in params if each.param_type_name == "argument"}
    assert set(listed.strip().split(", ")) <= typed | arguments


def test_options_that_are_not_called_like_their_fields(tmp_path: Path) -> None:
    """`cache` is turned off by --no-cache, `lineage` is --as, a calibrator can be none."""
    seen: list[Any] = []
    program = typer.Typer()
    program.command("predict")(command(seen.append, PredictOptions, config=True))
    program.command("train")(command(seen.append, TrainOptions, config=True, complete=False))
    (tmp_path / "run.toml").write_text('no-cache = true\nformat = "jsonl"\nskip = ["lateral", "duplicate"]\n')
    assert CliRunner().invoke(program, ["predict", "a", "--config", str(tmp_path / "run.toml")]).exit_code == 0
    options = seen.pop()
    assert (options.cache, options.format, options.skip) == (False, "jsonl", ("lateral", "duplicate"))
    assert CliRunner().invoke(program, ["predict", "a", "b", "-m", "x", "-m", "y"]).exit_code == 0
    assert seen.pop() == PredictOptions(("a", "b"), model=("x", "y"))
    assert CliRunner().invoke(program, ["train", "--as", "chexzero", "--no-augment"]).exit_code == 0
    assert seen.pop() == {"lineage": "chexzero", "augment": False}


def test_a_run_json_of_before_is_read_as_the_same_run() -> None:
    """As `train` wrote it in 0.1: a run that was started then can be resumed now."""
    kept = json.loads(
        '{"pairs": "/p", "out": "/o", "image_root": null, "layout": "auto", "text_rule": "sentences", '
        '"val_fraction": 0.0, "skip_unreadable": false, "store": null, "decode_workers": null, "recipe": "default", '
        '"arch": null, "init": null, "lineage": null, "epochs": 7, "batch_size": 128, "micro_batch": null, '
        '"optimiser": "adamw", "lr": null, "momentum": 0.9, "weight_decay": 0.05, "schedule": "cosine", '
        '"warmup": 0.05, "grad_clip": 1.0, "max_logit_scale": 100.0, "ema_decay": 0.998, "freeze": null, '
        '"image_lr_scale": 1.0, "text_lr_scale": 1.0, "loss": "soft", "augment": true, "mixup": 0.0, '
        '"preprocess": null, "seed": 0, "image_size": null, "first_size": null, "first_share": 0.5, '
        '"texts_per_image": 2, "precision": "fp32", "device": "auto", "threads": null, "val_labels": null, '
        '"val_every": null, "keep": 1, "ensemble": 0, "patience": null, "save_every": null, "save_minutes": 15.0, '
        '"tokenizer_texts": null, "card": "/c.json", "command": null, "overwrite": false}'
    )
    read = from_json(kept)
    assert read == TrainOptions(Path("/p"), Path("/o"), epochs=7, card=Path("/c.json"))
    assert [(name, value) for name, value in to_json(read).items() if name in kept] == list(kept.items())
    assert resumed_options(read, {"threads": 2, "store": Path("/s")}).threads == 2
    with pytest.raises(UsageError, match="epochs is 8 but the run"):
        resumed_options(read, {"epochs": 8})


@pytest.mark.parametrize(("done", "failed", "code"), [(1, 0, 0), (0, 0, 1), (0, 2, 1), (5, 1, 3)])
def test_one_rule_for_exit_codes(done: int, failed: int, code: int) -> None:
    assert exit_code(done, failed) == code


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_of_the_docs_are_those_of_the_program(name: str) -> None:
    document, kind = TABLES[name]
    text = (REPO / "docs" / document).read_text(encoding="utf-8")
    assert with_table(text, name, kind) == text, "run: python -m tests.test_options"


def callback_of(program: typer.Typer, name: str) -> Callable[..., Any]:
    return next(each.callback for each in program.registered_commands if each.name == name and each.callback)


def commands(program: typer.Typer) -> dict[str, Any]:
    return typer.main.get_command(program).commands  # type: ignore[attr-defined]


def table(callback: Callable[..., Any], kind: type | None) -> list[str]:
    """The options of a command as Markdown, the main panel of its help first."""
    decides = {each.name: each for each in options_of(kind)} if kind else {}
    rows: dict[str | None, list[list[str]]] = {None: []}
    for each in inspect.signature(callback).parameters.values():
        typed, *infos = get_args(each.annotation) or (None,)
        for info in infos:
            if isinstance(info, OptionInfo):
                cells = [f"`{_typed(each.name, typed, info)}`", _escaped(info.help or ""), _default(each, info)]
                cells += [_decides(decides.get(each.name))] if kind else []
                rows.setdefault(info.rich_help_panel, []).append(cells)
    heading = ["option", "", "default", *(["decides"] if kind else [])]
    lines = [heading, *(cells for panel in rows.values() for cells in panel)]
    made = ["|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|" for cells in lines]
    return [made[0], "|" + "---|" * len(heading), *made[1:]]


def _typed(name: str, kind: Any, info: OptionInfo) -> str:
    # In Annotated the first of the flags is where Typer keeps a default.
    flags = [each for each in (info.default, *(info.param_decls or ())) if isinstance(each, str)]
    flag = max(flags or ["--" + name.replace("_", "-")], key=len)
    words = [str(word) for part in (kind, *get_args(kind)) if get_origin(part) is Literal for word in get_args(part)]
    value = "" if kind is bool else info.metavar or "|".join(words) or "TEXT"
    return _escaped(f"{flag} {value}".strip())


def _default(parameter: inspect.Parameter, info: OptionInfo) -> str:
    if isinstance(info.show_default, str):
        return info.show_default
    default = parameter.default
    if default is None or default is False or default is inspect.Parameter.empty:
        return ""
    return "yes" if default is True else ", ".join(map(str, default if isinstance(default, list) else [default]))


def _decides(option: Option | None) -> str:
    return "" if option is None or option.decides == "nothing" else option.decides


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def with_table(text: str, name: str, kind: type | None) -> str:
    """A document with the table of one command between its marks."""
    lines = "\n".join(table(callback_of(app, name), kind))
    begin, end = f"<!-- options: {name} -->", "<!-- end of options -->"
    pattern = re.compile(f"(?<={re.escape(begin)}\n).*?(?={re.escape(end)})", re.DOTALL)
    assert pattern.search(text), f"no table of {name}"
    return pattern.sub(lambda _: f"\n{lines}\n\n", text, count=1)


def documents() -> Iterator[Path]:
    yield from dict.fromkeys(REPO / "docs" / document for document, _ in TABLES.values())


if __name__ == "__main__":
    for path in documents():
        content = path.read_text(encoding="utf-8")
        for each, (document, options) in TABLES.items():
            content = with_table(content, each, options) if document == path.name else content
        path.write_text(content, encoding="utf-8")
