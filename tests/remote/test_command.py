"""`cxrzero predict` and its sisters on an address: the same table, what is fetched again, what is said and kept."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from cxrzero.errors import RemoteError
from tests.remote.conftest import Run, on_files
from tests.support.stores import Bucket, Call, flaky, refusing
from tests.support.tables import table

NAMES = ["a/one.dcm", "a/two.dcm", "b/broken.png", "b/deep/three", "b/four.png", "b/ä ö%20.dcm", "z.dcm"]


def local(cxrzero: Run, films: Path) -> list[dict[str, str]]:
    assert cxrzero("predict", films, "--out", "local.csv", "--no-cache").exit_code == 3
    return table("local.csv")


@pytest.mark.parametrize("options", [(), ("--decode-in", "processes", "--workers", "2")])
def test_the_table_of_a_store_is_the_one_of_files(
    cxrzero: Run, s3: Bucket, films: Path, options: tuple[str, ...]
) -> None:
    s3.put_folder(films, "x/y")
    result = cxrzero("predict", "s3://films/x/y", "--no-cache", *options)
    assert result.exit_code == 3, result.output
    rows = table()
    assert [row["path"] for row in rows] == [f"s3://films/x/y/{name}" for name in NAMES]
    assert on_files(rows, "s3://films/x/y", films) == local(cxrzero, films)
    assert "3 other files ignored" in result.output


def test_all_rows_are_right_whatever_a_tenth_of_the_answers_is(cxrzero: Run, s3: Bucket, films: Path) -> None:
    for number in range(60):
        s3.put(f"many/{number:03}.dcm", (films / "a/one.dcm").read_bytes() + b"\0" * number)
    s3.put_folder(films, "x")
    s3.behave = flaky(0.1)
    assert cxrzero("predict", "s3://films/x/", "s3://films/many/", "--no-cache").exit_code == 3
    s3.behave = None
    rows = table()
    assert on_files(rows[:7], "s3://films/x", films) == local(cxrzero, films)
    assert {row["status"] for row in rows[7:]} == {"ok"}
    assert len({row["edema"] for row in rows[7:]}) == 1
    assert len(s3.asked) > 70  # some were asked for again


def test_what_the_cache_knows_is_not_fetched_again_and_another_content_is(
    cxrzero: Run, s3: Bucket, films: Path
) -> None:
    s3.put_folder(films / "a", "x")
    assert cxrzero("predict", "s3://films/x").exit_code == 0
    assert s3.fetched() == ["x/._one.dcm", "x/one.dcm", "x/two.dcm"]  # of a fork its first bytes
    s3.asked.clear()
    s3.put("x/two.dcm", (films / "z.dcm").read_bytes())
    result = cxrzero("predict", "s3://films/x", "--overwrite")
    assert "1 taken from the cache, 1 computed" in result.output
    assert s3.fetched() == ["x/._one.dcm", "x/two.dcm"]


def test_an_expired_login_ends_the_run_and_says_what_to_do(cxrzero: Run, s3: Bucket, films: Path) -> None:
    for number in range(20):
        s3.put(f"x/{number:02}.dcm", (films / "a/one.dcm").read_bytes())
    s3.behave = refusing("ExpiredToken", "400 Bad Request", after=8)
    result = cxrzero("predict", "s3://films/x/", "--batch-size", "1", "--workers", "1", "--out", "t.csv")
    assert result.exit_code == 1
    assert "login has expired" in result.output
    assert "AWS_PROFILE" in result.output
    assert "same command again" in result.output
    assert "CANARY" not in result.output
    kept = Path("t.csv.partial").read_text(encoding="utf-8").splitlines()[1:]
    assert kept == [line for line in kept if line.startswith("s3://films/x/0") and ",ok," in line]
    assert not Path("t.csv").exists()


def test_who_may_not_list_is_told_so(cxrzero: Run, s3: Bucket) -> None:
    s3.behave = refusing("AccessDenied")
    result = cxrzero("predict", "s3://films/x/")
    assert result.exit_code == 1
    assert "may not be listed" in result.output


def test_a_run_that_stops_leaves_what_waits(cxrzero: Run, s3: Bucket, films: Path) -> None:
    """A store that does not answer any more holds up no run that is over."""
    s3.put("x/0.png", (films / "b/broken.png").read_bytes())
    for number in range(1, 40):
        s3.put(f"x/{number:02}.dcm", (films / "a/one.dcm").read_bytes())
    over = threading.Event()

    def behave(call: Call) -> Iterable[bytes]:
        if call.key > "x/20":
            over.wait(2)
        return call.pass_on()

    s3.behave = behave
    result = cxrzero("predict", "s3://films/x/", "--fail-fast", "--batch-size", "1")
    over.set()
    assert result.exit_code == 1
    assert "--fail-fast" in result.output
    assert len(s3.fetched()) < 40


def test_an_object_that_went_away_or_was_replaced_is_a_failed_row(cxrzero: Run, s3: Bucket, films: Path) -> None:
    s3.put_folder(films / "a", "x")
    s3.put("x/z.dcm", (films / "z.dcm").read_bytes())

    def behave(call: Call) -> Iterable[bytes]:
        if not call.key:  # after the list
            answer = call.pass_on()
            s3.client.delete_object(Bucket="films", Key="x/one.dcm")
            s3.put("x/z.dcm", (films / "a/two.dcm").read_bytes())
            return answer
        return call.pass_on()

    s3.behave = behave
    result = cxrzero("predict", "s3://films/x/")
    assert result.exit_code == 3, result.output
    assert [(row["path"][-7:], row["error"].partition(":")[0]) for row in table()] == [
        ("one.dcm", "missing"), ("two.dcm", ""), ("x/z.dcm", "changed"),
    ]  # fmt: skip


def test_a_redirect_to_elsewhere_is_not_followed(cxrzero: Run, s3: Bucket, films: Path) -> None:
    s3.put_folder(films / "a", "x")
    away: list[str] = []

    def behave(call: Call) -> Iterable[bytes]:
        if call.key.endswith("elsewhere"):
            away.append(call.key)
        if call.environ["REQUEST_METHOD"] == "GET" and call.key.endswith("two.dcm"):
            return call.say("307 Temporary Redirect", b"", Location=f"{s3.endpoint}/films/elsewhere")
        return call.pass_on()

    s3.behave = behave
    assert cxrzero("predict", "s3://films/x/").exit_code == 3
    assert [row["error"].partition(":")[0] for row in table()] == ["", "remote_redirect"]
    assert away == []


def test_too_large_an_object_is_not_fetched(cxrzero: Run, s3: Bucket, films: Path) -> None:
    s3.put("x/a.dcm", (films / "z.dcm").read_bytes())
    s3.put("x/b.dcm", b"\0" * (2**20 + 1))
    assert cxrzero("predict", "s3://films/x/").exit_code == 3
    assert [row["error"].partition(":")[0] for row in table()] == ["", "file_too_large"]


def test_no_secret_is_written_or_said(cxrzero: Run, s3: Bucket, films: Path, tmp_path: Path) -> None:
    s3.put_folder(films, "x")
    said = cxrzero("predict", "s3://films/x", "s3://films/none", "--out", "t.csv").output
    signed = f"{s3.endpoint}/films/x/a/one.dcm?X-Amz-Signature=CANARY1&token=CANARY2"
    said += cxrzero("predict", signed, f"{s3.endpoint}/films/none.dcm?sig=CANARY1", "--out", "u.csv").output
    said += cxrzero("predict", f"{s3.endpoint}/nothing/?sig=CANARY1", "--dry-run").output
    said += cxrzero("predict", "https://user:CANARY3@host/x.dcm").output
    said += cxrzero("predict", "sftp://user:CANARY3@host/x.dcm").output
    assert table("u.csv")[0]["path"] == f"{s3.endpoint}/films/x/a/one.dcm"
    assert table("u.csv")[0]["status"] == "ok"
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in ("CANARY1", "CANARY2", "CANARY3", "AKIACANARY", "secret-canary"):
        assert secret.encode() not in written
        assert secret not in said


def test_addresses_in_a_list_need_a_word(cxrzero: Run, s3: Bucket, films: Path) -> None:
    s3.put_folder(films / "a", "x")
    Path("list.txt").write_text("s3://films/x/two.dcm\ns3://films/x/one.dcm\n", encoding="utf-8")
    for command in ("predict", "inspect"):
        result = cxrzero(command, "@list.txt")
        assert result.exit_code == 2
        assert "--allow-remote-list" in result.output
    assert s3.asked == []
    assert cxrzero("predict", "@list.txt", "--allow-remote-list").exit_code == 0
    assert [row["path"][-7:] for row in table()] == ["two.dcm", "one.dcm"]


def test_objects_of_a_list_are_looked_at_together(cxrzero: Run, s3: Bucket, films: Path) -> None:
    """A list may name a million, and each takes a store a tenth of a second."""
    names = [f"x/{number:02}.dcm" for number in range(20)]
    for name in names:
        s3.put(name, (films / "a/one.dcm").read_bytes())
    s3.put("x/folder/one.dcm", (films / "a/two.dcm").read_bytes())
    order = [*names[10:], "x/folder/", *names[:10], "x/none.dcm"]
    Path("list.txt").write_text("".join(f"s3://films/{name}\n" for name in order), encoding="utf-8")
    together = threading.Barrier(8)  # QUICK.requests: passes only when so many are asked at once

    def behave(call: Call) -> Iterable[bytes]:
        if call.environ["REQUEST_METHOD"] == "HEAD" and call.key in names[10:18]:
            together.wait(20)
        return call.pass_on()

    s3.behave = behave
    assert cxrzero("predict", "@list.txt", "--allow-remote-list", films / "z.dcm").exit_code == 3
    rows = table()
    wanted = [*names[10:], "x/folder/one.dcm", *names[:10], "x/none.dcm"]
    assert [row["path"] for row in rows] == [*(f"s3://films/{name}" for name in wanted), str(films / "z.dcm")]
    assert [row["error"].partition(":")[0] for row in rows] == [*[""] * 21, "missing", ""]


@pytest.mark.parametrize("out", ["t.csv", "s3://films/out/t.csv"])
def test_an_engine_reads_and_writes_stores(cxrzero: Run, s3: Bucket, films: Path, out: str) -> None:
    s3.put_folder(films, "x")
    assert cxrzero("predict", "s3://films/x", "--out", "single.csv").exit_code == 3
    result = cxrzero("predict", "s3://films/x", "--engine", "local=2", "--tasks", "2", "--out", out)
    assert result.exit_code == 3, result.output
    written = s3.content("out/t.csv") if out.startswith("s3") else Path(out).read_bytes()
    assert written == Path("single.csv").read_bytes()
    assert not list(Path().glob("*.plan"))
    signed = cxrzero("predict", f"{s3.endpoint}/films/x/z.dcm?sig=CANARY", "--engine", "local", "--out", "s.csv")
    assert signed.exit_code == 2
    assert "CANARY" not in signed.output


def test_a_table_goes_to_a_store_whole_with_what_belongs_to_it(cxrzero: Run, s3: Bucket, films: Path) -> None:
    out = "s3://films/out/p.csv"
    assert cxrzero("predict", films / "a", "--out", "p.csv", "--by", "study").exit_code == 0
    result = cxrzero("predict", films / "a", "--out", out, "--by", "study")
    assert result.exit_code == 0, result.output
    assert f"Wrote {out}" in result.output
    assert s3.keys() == ["out/p.csv", "out/p.run.json", "out/p.studies.csv"]
    assert s3.content("out/p.csv") == Path("p.csv").read_bytes()
    assert s3.content("out/p.studies.csv") == Path("p.studies.csv").read_bytes()
    assert [key for method, key, _ in s3.asked if method == "PUT"][-1] == "out/p.csv"
    assert json.loads(s3.content("out/p.run.json"))["command"].endswith("--by study")
    s3.asked.clear()
    result = cxrzero("predict", films / "a", "--out", out)
    assert result.exit_code == 2
    assert "--overwrite" in result.output
    assert {method for method, *_ in s3.asked} == {"HEAD"}
    assert cxrzero("predict", films, "--out", out, "--overwrite").exit_code == 3
    assert s3.content("out/p.csv") != Path("p.csv").read_bytes()


@pytest.mark.parametrize(("code", "refused"), [("AccessDenied", ""), ("XMinioStorageFull", "p.csv")])
def test_a_store_that_takes_nothing_gets_nothing_and_the_table_stays_here(
    cxrzero: Run, s3: Bucket, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, refused: str
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    writes = refusing(code, "507 Insufficient Storage" if code != "AccessDenied" else "403 Forbidden")

    def behave(call: Call) -> Iterable[bytes]:
        is_refused = call.environ["REQUEST_METHOD"] == "PUT" and call.key.endswith(refused)
        return writes(call) if is_refused else call.pass_on()

    s3.behave = behave
    result = cxrzero("predict", films / "a", "--out", "s3://films/out/p.csv")
    assert result.exit_code == 1
    assert s3.keys() == []
    [kept] = (tmp_path / "tmp").rglob("p.csv")
    assert str(kept) in result.output.replace("\n", "")
    assert [row["status"] for row in table(kept)] == ["ok", "ok"]
    assert kept.parent.stat().st_mode & 0o777 == 0o700


def test_shards_of_a_store_merge_into_one(cxrzero: Run, s3: Bucket, films: Path) -> None:
    s3.put_folder(films, "x")
    for number in (1, 2):
        assert cxrzero("predict", "s3://films/x", "--shard", f"{number}/2", "--out", f"{number}.csv").exit_code in (
            0,
            3,
        )
    assert cxrzero("predict", "s3://films/x").exit_code == 3
    assert cxrzero("merge", "1.csv", "2.csv", "--out", "s3://films/m/all.csv").exit_code == 3
    assert s3.content("m/all.csv") == Path("predictions.csv").read_bytes()


def test_other_commands_read_addresses_or_say_what_to_do(cxrzero: Run, s3: Bucket, films: Path) -> None:
    s3.put_folder(films / "a", "x")
    film = "s3://films/x/one.dcm"
    Path("labels.csv").write_text("path,edema\none.dcm,1\n", encoding="utf-8")
    assert "64 × 48" in cxrzero("inspect", film).output.replace("48 × 64", "64 × 48")
    assert "one.dcm" in cxrzero("search", "edema", "s3://films/x/").output
    assert cxrzero("heatmap", film, "--out", "maps", "--method", "occlusion").exit_code == 0
    assert cxrzero("predict", film).exit_code == 0
    for command in (
        ("eval", "s3://films/x/", "labels.csv"), ("eval", "labels.csv", "s3://films/x/labels.csv"),
        ("worklist", "s3://films/x/t.csv", "--out", "w"), ("merge", "s3://films/x/t.csv", "--out", "m.csv"),
        ("search", "edema", str(films), "--out", "s3://films/found.csv"),
        ("predict", film, "--dicom-sr", "sr"), ("predict", film, "--out", "https://host/t.csv"),
        ("predict", film, "--out", "s3://films/t.sqlite"), ("predict", "simplecache::s3://films/x"),
        ("predict", "file:///etc/passwd"), ("predict", "nothing-known://x/y"),
    ):  # fmt: skip
        result = cxrzero(*command)
        assert result.exit_code == 2, (command, result.output)
        advice = ("copy", "give", "fetch", "name a file", "see docs", "written as")
        assert any(word in result.output for word in advice), result.output
    [row] = table()
    assert row["path"] == film
    s3.asked.clear()
    assert "its film is in a store" in cxrzero("worklist", "predictions.csv", "--out", "page").output
    assert s3.asked == []
    copied = cxrzero("worklist", "predictions.csv", "--out", "shown", "--images", films / "a")
    assert copied.exit_code == 0, copied.output


def test_pseudonyms_leave_no_address(cxrzero: Run, s3: Bucket, films: Path) -> None:
    s3.put_folder(films / "a", "x")
    result = cxrzero("predict", "s3://films/x", "--pseudonymise", "--out", "p.csv")
    assert result.exit_code == 0, result.output
    written = Path("p.csv").read_text(encoding="utf-8") + Path("p.run.json").read_text(encoding="utf-8")
    assert "s3://" not in written
    assert "one.dcm" not in written + result.output


def test_what_can_be_retried_is_and_ends_after_some_tries(cxrzero: Run, s3: Bucket, films: Path) -> None:
    s3.put_folder(films / "a", "x")
    count = itertools.count()

    def behave(call: Call) -> Iterable[bytes]:
        if call.key.endswith("/one.dcm") and next(count) < 100:
            return call.say("503 Slow Down", b"<Error><Code>SlowDown</Code></Error>")
        return call.pass_on()

    s3.behave = behave
    assert cxrzero("predict", "s3://films/x/").exit_code == 3
    assert [row["error"].partition(":")[0] for row in table()] == ["remote_error", ""]
    assert next(count) == 4  # QUICK.tries


def test_an_error_of_a_store_is_public() -> None:
    import cxrzero as package

    assert package.RemoteError is RemoteError
