"""A run can be audited: what its record says is made again here by other means."""

import csv
import hashlib
import hmac
import json
import shlex
import stat
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest
import xxhash
from typer.testing import CliRunner, Result

from cxrzero import DecodeOptions
from cxrzero.cli import app
from cxrzero.images import decode
from cxrzero.predict.commandline import HIDDEN, blank_secrets, command_line
from cxrzero.predict.inputs import inputs_digest
from cxrzero.predict.options import PredictOptions
from cxrzero.predict.shard import Shard
from cxrzero.tables.pseudonym import Pseudonymiser
from tests.support.films import film
from tests.support.needs import optional
from tests.support.tables import table

pyarrow = optional("pyarrow")

Draw = Callable[..., Path]
Predict = Callable[..., Result]
KEY = b"k" * 32


@pytest.fixture
def predict(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Predict:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    Path("key").write_bytes(KEY)
    return lambda *arguments: CliRunner().invoke(
        app, ["predict", *map(str, arguments), "--model", str(tiny_bundle)], env={"COLUMNS": "400"}
    )


def archive(png: Draw) -> None:
    """Pictures, a file of three frames, one that is broken, a CT."""
    png("in/MUELLER_ANNA.png", 1)
    png("in/sub/b.png", 2)
    film("in/c.dcm", 3, study="1.2.840.999.313373133731")
    film("in/frames.dcm", 4)
    dataset = pydicom.dcmread("in/frames.dcm")
    dataset.NumberOfFrames, dataset.PixelData = 3, dataset.PixelData + bytes(64 * 48) + dataset.PixelData
    dataset.save_as("in/frames.dcm")
    film("in/skipped.dcm", 5)
    dataset = pydicom.dcmread("in/skipped.dcm")
    dataset.Modality = "CT"
    dataset.save_as("in/skipped.dcm")
    Path("in/z_broken.png").write_bytes(b"")


def record(stem: str = "predictions") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"{stem}.run.json").read_text(encoding="utf-8"))
    return found


def sha256(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def lines_of(paths: list[str], line: Callable[[bytes], str] = bytes.hex) -> str:
    """The digest of the inputs, by the recipe of docs/predict.md."""
    lines = []
    for path in paths:
        try:
            for radiograph in decode(path):
                height, width = radiograph.pixels.shape
                digest = xxhash.xxh3_64(radiograph.pixels.tobytes(), seed=height << 32 | width).digest()
                lines.append(line(digest))
        except Exception:
            lines.append("")
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


WALK = ["in/MUELLER_ANNA.png", "in/c.dcm", "in/frames.dcm", "in/skipped.dcm", "in/sub/b.png", "in/z_broken.png"]


def test_the_record_says_when_what_was_asked_and_what_came_out(predict: Predict, png: Draw, tiny_bundle: Path) -> None:
    archive(png)
    before = datetime.now(UTC)
    assert predict("in", "--labels", 'edema,"mass, left"', "--by", "study", "--workers", 2).exit_code == 3
    after = datetime.now(UTC)
    found = record()
    started, ended = (datetime.fromisoformat(found[key]) for key in ("started", "ended"))
    assert started.utcoffset() == ended.utcoffset() == timedelta(0)
    assert before - timedelta(milliseconds=1) <= started <= ended <= after
    typed = ["in", "--labels", 'edema,"mass, left"', "--model", str(tiny_bundle), "--workers", "2", "--by", "study"]
    assert shlex.split(found["command"]) == ["cxrzero", "predict", *typed]
    assert found["table_sha256"] == sha256("predictions.csv")
    assert found["studies_sha256"] == sha256("predictions.studies.csv")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", pytest.param("parquet", marks=pytest.mark.skipif(
    not pyarrow, reason="needs pyarrow"))])  # fmt: skip
def test_the_tables_digest_is_that_of_the_file(predict: Predict, png: Draw, suffix: str) -> None:
    png("in/a.png")
    assert predict("in", "--out", f"t.{suffix}").exit_code == 0
    assert record("t")["table_sha256"] == sha256(f"t.{suffix}")
    assert record("t")["studies_sha256"] is None


def test_of_a_table_that_is_streamed_the_summary_says_it(predict: Predict, png: Draw) -> None:
    png("in/a.png")
    result = predict("in", "--out", "-")
    assert f"SHA-256 of the table: {hashlib.sha256(result.stdout_bytes).hexdigest()}" in result.stderr


def test_the_inputs_are_those_of_the_recipe_however_the_work_is_done(predict: Predict, png: Draw) -> None:
    archive(png)
    expected = {"rows": 8, "pictures": 6, "sha256": lines_of(WALK)}
    for number, way in enumerate(((), (), ("--no-cache", "--decode-in", "processes"), ("--skip", "multi_frame"))):
        assert predict("in", "--out", f"{number}.csv", *way).exit_code == 3
        assert record(str(number))["inputs"] == expected, way
    assert record("1")["cache"] == {"used": True, "cached": 6, "embedded": 0, "hashed": 0, "notices": []}
    assert inputs_digest(["in"]) == expected
    assert inputs_digest(WALK) == expected
    assert inputs_digest(["in"], DecodeOptions(invert="yes")) != expected
    png("in/sub/b.png", 3)
    assert inputs_digest(["in"])["sha256"] == lines_of(WALK) != expected["sha256"]


def test_under_pseudonymise_nobody_without_the_key_can_make_the_digest(predict: Predict, png: Draw) -> None:
    archive(png)
    assert predict("in", "--pseudonymise", "--pseudonym-key", "key").exit_code == 3

    def keyed(digest: bytes) -> str:
        return hmac.new(KEY, b"content\0" + digest, "sha256").digest()[:16].hex()

    assert record()["inputs"] == {"rows": 8, "pictures": 6, "sha256": lines_of(WALK, keyed)}
    assert record()["inputs"] == inputs_digest(["in"], key_file=Path("key")) != inputs_digest(["in"])


@pytest.mark.parametrize("options", [(), ("--pseudonymise", "--pseudonym-key", "key")])
def test_shards_and_their_merging_carry_it_through(predict: Predict, png: Draw, options: tuple[str, ...]) -> None:
    archive(png)
    assert predict("in", "--out", "whole.csv", *options).exit_code == 3
    for index in (1, 2):
        assert predict("in", "--shard", f"{index}/2", "--out", f"{index}.csv", *options).exit_code in (0, 1, 3)
    assert CliRunner().invoke(app, ["merge", "2.csv", "1.csv", "--out", "merged.csv"]).exit_code == 3
    whole, merged, parts = record("whole"), record("merged"), [record("1"), record("2")]
    assert merged["inputs"] == whole["inputs"]
    assert merged["table_sha256"] == whole["table_sha256"] == sha256("merged.csv")
    assert merged["command"] == "cxrzero merge 1.csv 2.csv --out merged.csv"
    assert (merged["started"], merged["ended"]) == (parts[0]["started"], parts[1]["ended"])
    assert sum(part["inputs"]["rows"] for part in parts) == 8
    for part, kept in zip(parts, merged["merged_from"], strict=True):
        for key in ("command", "started", "ended", "inputs", "table_sha256"):
            assert kept[key] == part[key]
    Path("1.csv").write_text(Path("1.csv").read_text(encoding="utf-8").replace("0.", "1.", 1), encoding="utf-8")
    changed = CliRunner().invoke(app, ["merge", "2.csv", "1.csv", "--out", "again.csv"])
    assert changed.exit_code == 2
    assert "1.csv is not the table that its .run.json was written for" in changed.output


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:secret@host/a.png", "https://***@host/a.png"),
        ("https://ghp_token@host/a", "https://***@host/a"),
        ("postgresql+psycopg://u:p@ss/w@rd@db:5432/x", "postgresql+psycopg://***@db:5432/x"),
        ("https://h/a?token=abc&x=1", "https://h/a?***"),
        (
            "https://acc.blob.core.windows.net/c/a?sv=2024&se=2026&sig=aBc%3D",
            "https://acc.blob.core.windows.net/c/a?***",
        ),
        ("https://b.s3.amazonaws.com/k?X-Amz-Credential=AK&X-Amz-Signature=ff", "https://b.s3.amazonaws.com/k?***"),
        ("simplecache::s3://key:secret@bucket/x", "simplecache::s3://***@bucket/x"),
        ("https://h/a#access_token=abc", "https://h/a?***"),
        ("host=db password=abc user=me", "host=db password=*** user=me"),
        ("AccountName=a;AccountKey=abc==;Suffix=x", "AccountName=a;AccountKey=***;Suffix=x"),
        ("films/a?token=abc", "films/a?token=***"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("Authorization: Basic c2VjcmV0", "Authorization: ***"),
        ("Bearer abc.secret", "Bearer ***"),
        ('{"token": "secret"}', '{"token": ***}'),
        ("https://h/a;jsessionid=abc/b", "https://h/a;jsessionid=***"),
        ("https:/u:secret@h/a", "https:/***@h/a"),
        ("https%3A%2F%2Fu:secret@h/a", "***@h/a"),
        ("user:secret@host:/films", "***@host:/films"),
        ("films/hf_secretsecret/a", "films/***/a"),
        ("ghp_secretsecret", "***"),
        ("eyJhbGciOiJIUzI1NiJ9.secret.sig", "***"),
        ("private_key=abc", "private_key=***"),
        ("path/to/sasquatch=1/a.png", "path/to/sasquatch=1/a.png"),
        ("C:\\films\\a@b.dcm", "C:\\films\\a@b.dcm"),
        ('api_key="a b c"', "api_key=***"),
        ("s3://bucket/films/a@b.dcm", "s3://bucket/films/a@b.dcm"),
        ("https://host:8080/films", "https://host:8080/films"),
        ("films/2024/a b.dcm", "films/2024/a b.dcm"),
        ("mass, left: signature of a sign", "mass, left: signature of a sign"),
    ],
)
def test_secrets_are_blanked(text: str, shown: str) -> None:
    assert blank_secrets(text) == shown
    options = PredictOptions((text,), labels=("edema",), out=text + ".csv" if "?" not in text else None)
    words = shlex.split(command_line(options))
    assert words[2] == shown
    assert not any(secret in " ".join(words) for secret in ("secret", "ghp_", "abc", "aBc", "=ff", "w@rd", "a b c"))


def test_the_command_line_is_what_was_asked() -> None:
    options = PredictOptions(
        ("films/", "@list.txt"), labels=("a,b", "c"), cache=False, model=("x", "y"), skip=("lateral", "duplicate"),
        shard=Shard(2, 4), batch_size=8, fail_fast=True, invert="yes", only="frontal", prompts="default",
    )  # fmt: skip
    assert shlex.split(command_line(options)) == [
        "cxrzero", "predict", "films/", "@list.txt", "--labels", '"a,b",c', "--prompts", "default", "--model", "x",
        "--model", "y", "--batch-size", "8", "--no-cache", "--invert", "yes", "--fail-fast", "--skip",
        "lateral,duplicate", "--only", "frontal", "--shard", "2/4",
    ]  # fmt: skip


def test_under_pseudonymise_the_command_line_has_the_tables_pseudonyms(predict: Predict, png: Draw) -> None:
    archive(png)
    Path("list_of_MUELLER.txt").write_text("in/sub\n", encoding="utf-8")
    Path("ward").mkdir()
    Path("MUELLER.yaml").write_text("templates: {positive: ['sign of {}'], negative: ['no {}']}\n", encoding="utf-8")
    result = predict(
        "in", "in/MUELLER_ANNA.png", "@list_of_MUELLER.txt", "--pseudonymise", "--pseudonym-key", "key", "--out",
        "ward/MUELLER.csv", "--key-map", "MUELLER.keys.csv", "--prompts", "MUELLER.yaml",
    )  # fmt: skip
    assert result.exit_code == 3, result.output
    words = shlex.split(record("ward/MUELLER")["command"])
    folder, name = table("ward/MUELLER.csv")[0]["path"].split("/")
    assert words[2:5] == [f"{folder}/", f"{folder}/{name}", "@" + Pseudonymiser(KEY).path("list_of_MUELLER.txt")]
    assert record("ward/MUELLER")["prompt_sources"]["edema"] == "the templates of the prompts file ***"
    hidden = ("--prompts", "--model", "--out", "--pseudonym-key", "--key-map")
    assert [words[words.index(flag) + 1] for flag in hidden] == [HIDDEN] * 5
    written = Path("ward/MUELLER.run.json").read_text(encoding="utf-8") + Path("ward/MUELLER.csv").read_text(
        encoding="utf-8"
    )
    for secret in ("MUELLER", "313373133731", str(Path.cwd()), "keys.csv", "list_of", '"in"', " in "):
        assert secret not in written, secret
    known = PredictOptions(
        ("a",), model=("cxrzero-mini", "/x/MUELLER"), prompts="default", out="-", only="frontal", pseudonymise=True
    )
    shown = shlex.split(command_line(known, Pseudonymiser(KEY)))
    assert shown[3:] == [
        "--prompts", "default", "--out", "-", "--model", "cxrzero-mini", "--model", HIDDEN, "--only", "frontal",
        "--pseudonymise",
    ]  # fmt: skip


def test_the_key_map_leads_back_to_the_film(predict: Predict, png: Draw) -> None:
    archive(png)
    Path("safe").mkdir()
    Path("leaves").mkdir()
    way = ("in", "--pseudonymise", "--out", "leaves/t.csv", "--key-map", "safe/map.csv")
    assert predict(*way).exit_code == 3
    with Path("safe/map.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [str(Path(path).absolute()) for path in WALK]  # a file of frames once
    back = {row["path_pseudonym"]: row for row in rows}
    shown = {row["path"]: row for row in table("leaves/t.csv")}
    assert back.keys() == shown.keys()
    for path, row in shown.items():
        for uid in ("study_instance_uid", "series_instance_uid", "sop_instance_uid"):
            assert back[path][f"{uid}_pseudonym"] == row[uid]
    assert rows[1]["study_instance_uid"] == "1.2.840.999.313373133731"
    if sys.platform != "win32":
        assert stat.S_IMODE(Path("safe/map.csv").stat().st_mode) == 0o600
    assert not list(Path("leaves").glob("*map*"))
    assert "map" not in json.dumps({**record("leaves/t"), "command": ""})
    assert predict(*way).exit_code == 2  # both are there already
    again = predict(*way, "--overwrite")
    assert again.exit_code == 3
    assert "it names the films, so keep it in the hospital" in again.output


def test_a_key_map_of_a_run_that_ends_early_is_kept_and_private(predict: Predict, png: Draw) -> None:
    archive(png)
    Path("out").mkdir()
    assert predict("in", "--pseudonymise", "--out", "out/t.csv", "--key-map", "m.csv", "--fail-fast").exit_code == 1
    assert "MUELLER_ANNA" in Path("m.csv.partial").read_text(encoding="utf-8")
    if sys.platform != "win32":
        assert stat.S_IMODE(Path("m.csv.partial").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--key-map", "map.csv"), "give both"),
        (("--pseudonymise", "--key-map", "map.csv"), "beside the table that it makes readable"),
        (("--pseudonymise", "--key-map", "in/map.csv"), "beside the table that it makes readable"),
        (("--pseudonymise", "--out", "in/t.csv", "--key-map", "in/map.csv"), "beside the table"),
        (("--pseudonymise", "--out", "in/t.csv", "--key-map", "nowhere/map.csv"), "does not exist"),
        (("--pseudonymise", "--out", "in/t.csv", "--key-map", "link/map.csv"), "beside the table"),
        (("--pseudonymise", "--out", "in/t.csv", "--key-map", "-"), "--key-map - is written as a CSV file"),
        (
            ("--pseudonymise", "--out", "-", "--key-map", "/dev/stdout"),
            "--key-map /dev/stdout is written as a CSV file",
        ),
        (("--pseudonymise", "--out", "in/t.csv", "--key-map", "map.csv.jsonl"), "a name that ends in .csv"),
    ],
)
def test_a_key_map_does_not_go_where_the_table_goes(
    predict: Predict, png: Draw, options: tuple[str, ...], complaint: str
) -> None:
    png("in/a.png")
    Path("link").symlink_to("in", target_is_directory=True)
    result = predict("in", *options)
    assert result.exit_code in (1, 2), result.output
    assert complaint in result.output
    assert not list(Path().rglob("map.csv*"))


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("@MUELLER.txt", "PATH number 2 cannot be read: No such file or directory"),
        ("@MUELLER.dcm", "the list PATH number 2, line 1: no text"),
        ("MUELLER.png", "PATH number 2 does not exist"),
    ],
)
def test_under_pseudonymise_what_cannot_be_found_is_named_by_its_place(
    predict: Predict, png: Draw, path: str, told: str
) -> None:
    png("in/a.png")
    Path("MUELLER.dcm").write_bytes(b"DICM\0")
    result = predict("in", path, "--pseudonymise", "--pseudonym-key", "key")
    assert result.exit_code == 2
    assert told in result.output
    assert "MUELLER" not in result.output
    assert path.removeprefix("@") in predict("in", path).output


def test_messages_under_pseudonymise_name_no_film(predict: Predict, png: Draw) -> None:
    archive(png)
    Path("in/MUELLER_BROKEN.png").write_bytes(b"")
    Path("MUELLER_EMPTY").mkdir()
    keyed = ("--pseudonymise", "--pseudonym-key", "key", "--overwrite")
    runs = {
        "whole": predict("in", *keyed),
        "fail fast": predict("in", *keyed, "--fail-fast"),
        "dry": predict("in", *keyed, "--dry-run"),
        "missing": predict("in", "MUELLER_MISSING.dcm", *keyed),
        "nothing": predict("MUELLER_EMPTY", *keyed),
        "no key yet": predict("in", "--pseudonymise", "--dry-run", "--overwrite"),
    }
    for name, result in runs.items():
        assert "MUELLER" not in result.output, name
    broken = Pseudonymiser(KEY).path("in/MUELLER_BROKEN.png")
    assert f"First failure: {broken}: empty_file" in runs["whole"].output
    assert f"stopped at {broken}: empty_file" in runs["fail fast"].output
    assert broken in runs["dry"].output
    assert "PATH number 2 does not exist" in runs["missing"].output
    assert f"no image or DICOM file in {Pseudonymiser(KEY).argument('MUELLER_EMPTY')}" in runs["nothing"].output
    assert "Would read   7 files" in runs["no key yet"].output
    assert not Path("config").exists()
