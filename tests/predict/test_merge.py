"""`predict --shard` and `merge`: the joined table is the one that a single run writes, or there is none."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cxrzero.cli import app
from cxrzero.errors import ConfigError
from cxrzero.predict.shard import Shard, parse_shard
from tests.support.films import mixed_archive

Run = Callable[..., Result]
Shards = Callable[..., list[Path]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture
def shards(run: Run, tiny_bundle: Path) -> Shards:
    """Run every shard of `in`; returns the parts' tables."""

    def run_all(count: int, *options: str) -> list[Path]:
        parts = [Path(f"part-{index}.csv") for index in range(1, count + 1)]
        for index, part in enumerate(parts, start=1):
            result = run(
                "predict", "in", "--model", tiny_bundle, "--shard", f"{index}/{count}", "--out", part, *options
            )
            assert result.exit_code in (0, 1, 3), result.output
            assert "Error" not in result.output
        return parts

    return run_all


@pytest.mark.parametrize("options", [(), ("--pseudonymise", "--pseudonym-key", "key")])
@pytest.mark.parametrize("count", [1, 3, pytest.param(40, marks=pytest.mark.slow)])
def test_the_merged_table_is_the_table_of_one_run(
    run: Run, shards: Shards, tiny_bundle: Path, tmp_path: Path, count: int, options: tuple[str, ...]
) -> None:
    mixed_archive(tmp_path / "in")
    assert run("predict", "in", "--model", tiny_bundle, "--out", "whole.csv", *options).exit_code == 3
    parts = shards(count, *options)
    result = run("merge", *reversed(parts), "--out", "merged.csv")
    assert result.exit_code == 3, result.output
    assert Path("merged.csv").read_bytes() == Path("whole.csv").read_bytes()
    assert Path("whole.csv").read_text(encoding="utf-8").count("duplicate") == 5 + 1 + 1 + 4
    whole, merged = (json.loads(Path(f"{name}.run.json").read_text(encoding="utf-8")) for name in ("whole", "merged"))
    assert merged["counts"] == whole["counts"]
    assert merged["shard"] is whole["shard"] is None
    assert [part["index"] for part in merged["merged_from"]] == list(range(1, count + 1))
    assert sum(part["files"] for part in merged["merged_from"]) == 16
    assert merged["models"] == whole["models"]
    assert not list(tmp_path.glob("*.partial"))


def test_how_the_work_is_carried_out_may_differ_between_shards(run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    mixed_archive(tmp_path / "in")
    assert run("predict", "in", "--model", tiny_bundle, "--out", "whole.csv").exit_code == 3
    ways = (("--workers", "2"), ("--workers", "1", "--decode-in", "processes", "--batch-size", "3"))
    for index, way in enumerate(ways, start=1):
        shard = ("--shard", f"{index}/2", "--out", f"part-{index}.csv")
        assert run("predict", "in", "--model", tiny_bundle, *shard, *way).exit_code in (0, 3)
    result = run("merge", "part-1.csv", "part-2.csv", "--out", "merged.csv")
    assert result.exit_code == 3, result.output
    assert Path("merged.csv").read_bytes() == Path("whole.csv").read_bytes()
    options = json.loads(Path("merged.run.json").read_text(encoding="utf-8"))["options"]
    assert [options[name] for name in ("workers", "decode_in", "batch_size")] == [None, None, None]
    assert options["invert"] == "auto"


@pytest.mark.parametrize(
    ("cards", "merged"),
    [(("cuda:0 (NVIDIA L4)", "cuda:1 (NVIDIA L4)"), None), (("cuda:0 (NVIDIA L4)",) * 2, "cuda:0 (NVIDIA L4)")],
)
def test_shards_of_several_gpus_are_one_run(
    run: Run, shards: Shards, tmp_path: Path, cards: tuple[str, str], merged: str | None
) -> None:
    mixed_archive(tmp_path / "in")
    parts = shards(2)
    for part, card in zip(parts, cards, strict=True):
        path = Path(part).with_suffix(".run.json")
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"gpu": card}), encoding="utf-8")
    assert run("merge", *parts, "--out", "merged.csv").exit_code == 3
    record = json.loads(Path("merged.run.json").read_text(encoding="utf-8"))
    assert record["gpu"] == merged
    assert [part["gpu"] for part in record["merged_from"]] == list(cards)


def test_an_empty_shard_is_a_success_and_says_so(run: Run, tiny_bundle: Path, png: Callable[..., Path]) -> None:
    png("in/a.png")
    index = next(index for index in (1, 2) if os.path.join("in", "a.png") not in Shard(index, 2))
    result = run("predict", "in", "--model", tiny_bundle, "--shard", f"{index}/2", "--out", "part.csv")
    assert result.exit_code == 0, result.output
    assert "has no file" in result.output
    assert len(Path("part.csv").read_text(encoding="utf-8").splitlines()) == 1
    assert json.loads(Path("part.run.json").read_text(encoding="utf-8"))["shard"]["files_found"] == 1


def test_a_folder_without_images_is_no_empty_shard(run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert run("predict", "in", "--model", tiny_bundle, "--shard", "1/2", "--out", "part.csv").exit_code == 2
    assert os.listdir() == ["in"]


def test_shards_are_disjoint_complete_and_never_change() -> None:
    paths = [f"archive/{number}.dcm" for number in range(1000)]
    sizes = [sum(path in Shard(index, 4) for path in paths) for index in range(1, 5)]
    assert sum(sizes) == 1000
    assert min(sizes) > 200
    # Jobs of different versions must agree, so these are written down.
    names = ("a.png", "b.png", os.fsdecode("é.dcm".encode()))
    assert [next(k for k in range(1, 17) if path in Shard(k, 16)) for path in names] == [15, 2, 7]


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "a/b", "-1/4", "1/0", "1/401", "1/4/2", "٣/٤", ""])
def test_a_wrong_shard_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--shard"):
        parse_shard(text)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--by", "study"), "--by study"),
        (("--skip", "duplicate"), "--skip duplicate"),
        (("--out", "-"), "a table of its own"),
        (("--out", "predictions.csv"), "a table of its own"),
        (("--shard", "9/4"), "K goes from 1"),
    ],
)
def test_what_a_shard_cannot_do_is_wrong_usage(
    run: Run, tiny_bundle: Path, png: Callable[..., Path], options: tuple[str, ...], complaint: str
) -> None:
    png("in/a.png")
    result = run("predict", "in", "--model", tiny_bundle, "--shard", "1/4", "--out", "part.csv", *options)
    assert result.exit_code == 2
    assert complaint in result.output
    assert os.listdir() == ["in"]


def refusal(run: Run, *parts: Path) -> str:
    """What merge says; it must have written nothing."""
    result = run("merge", *parts, "--out", "merged.csv")
    assert result.exit_code in (1, 2), result.output
    assert not Path("merged.csv").exists()
    assert "unexpected" not in result.output
    return result.output


def test_parts_that_are_not_one_run_are_refused(run: Run, shards: Shards, tmp_path: Path) -> None:
    mixed_archive(tmp_path / "in")
    one, two, three = shards(3)
    assert "1 of 3 shards is missing: 2/3" in refusal(run, one, three)
    assert "shard 2/3 is there twice" in refusal(run, one, two, three, two)
    assert "is not the table of a shard" in refusal_of_record(run, (one, two, three), shard=None)
    assert "one of 3 shards" in refusal_of_record(run, (one, two, three), shard={"count": 4})
    assert "did not find the same files" in refusal_of_record(run, (one, two, three), shard={"files_found": 9})
    assert "did not find the same files" in refusal_of_record(run, (one, two, three), shard={"walk": "0"})
    assert "differ in options: invert" in refusal_of_record(run, (one, two, three), options={"invert": "yes"})
    for key in ("models", "prompts", "preprocess"):
        assert f"differ in {key}" in refusal_of_record(run, (one, two, three), **{key: []})
    assert "is not the record of a run" in refusal_of_record(run, (one, two, three), schema_version=99)


def refusal_of_record(run: Run, parts: tuple[Path, ...], **changes: object) -> str:
    """What merge says when the last part's record is another."""
    path = parts[-1].with_suffix(".run.json")
    content = path.read_text()
    record = json.loads(content)
    for key, value in changes.items():
        record[key] = {**record[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(record))
    try:
        return refusal(run, *parts)
    finally:
        path.write_text(content)


def test_damaged_parts_are_refused(run: Run, shards: Shards, tmp_path: Path) -> None:
    mixed_archive(tmp_path / "in")
    parts = shards(3)
    largest = max(parts, key=lambda part: part.stat().st_size)
    for path in (largest, largest.with_suffix(".shard")):
        content = path.read_bytes()
        for damaged in (
            content[: content[:-1].rfind(b"\n") + 1],
            content + content.splitlines(True)[-1],
            b"\xff\xfe\n",
        ):
            path.write_bytes(damaged)
            assert f"{largest.stem}." in refusal(run, *parts)
        path.unlink()
        assert path.name in refusal(run, *parts)
        path.write_bytes(content)
    largest.with_suffix(".run.json").write_text("{")
    assert "not valid JSON" in refusal(run, *parts)
    largest.with_suffix(".run.json").unlink()
    assert "cut short" in refusal(run, *parts)


def test_to_standard_output_goes_the_table_alone(run: Run, shards: Shards, png: Callable[..., Path]) -> None:
    png("in/a.png")
    parts = shards(2)
    assert run("merge", *parts, "--out", "whole.csv").exit_code == 0
    result = run("merge", *parts, "--out", "-")
    assert result.stdout == Path("whole.csv").read_text(encoding="utf-8")
    assert result.stderr == "Merged 2 shards: 1 ok, 0 failed, 0 skipped.\n"
    assert not Path("-.run.json").exists()


def test_a_table_that_exists_is_replaced_only_on_request(run: Run, shards: Shards, png: Callable[..., Path]) -> None:
    png("in/a.png")
    parts = shards(2)
    Path("old.csv").write_text("precious", encoding="utf-8")
    assert run("merge", *parts, "--out", "old.csv").exit_code == 2
    assert Path("old.csv").read_text(encoding="utf-8") == "precious"
    assert run("merge", *parts, "--out", "old.csv", "--overwrite").exit_code == 0
    assert run("merge", *parts, "--out", parts[0], "--overwrite").exit_code == 2
