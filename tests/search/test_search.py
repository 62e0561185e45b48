"""Ranking an archive by text and by example."""

import csv
import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner

from cxrzero.cli import app
from cxrzero.model.bundle import load_bundle
from cxrzero.pipeline.live import Live
from cxrzero.screener import Screener
from cxrzero.search.archive import image_query, search, text_query
from tests.support.needs import optional

pd = optional("pandas")


@pytest.fixture
def archive(png: Callable[..., Path], tmp_path: Path) -> Path:
    for seed in range(8):
        png(f"archive/{seed}<b>&.png", seed=seed)
    (tmp_path / "archive" / "broken.png").write_bytes(b"nothing")
    return tmp_path / "archive"


def test_top_is_the_head_of_the_whole_ranking(tiny_bundle: Path, archive: Path) -> None:
    screener = Screener(tiny_bundle, device="cpu")
    query = text_query(screener, "left pleural effusion")
    everything = search(screener, query, [str(archive)], 100, Live())
    live = Live()
    assert search(screener, query, [str(archive)], 3, live) == everything[:3]
    assert [hit.cosine for hit in everything] == sorted((hit.cosine for hit in everything), reverse=True)
    assert (live.stats.ok, live.stats.failed) == (8, 1)


def test_an_image_is_most_like_itself(tiny_bundle: Path, archive: Path) -> None:
    screener = Screener(tiny_bundle, device="cpu")
    path = str(archive / "5<b>&.png")
    hit = search(screener, image_query(screener, path), [str(archive)], 1, Live())[0]
    assert hit.row.path == path
    assert hit.cosine == pytest.approx(1)


def test_table_and_contact_sheet(tiny_bundle: Path, archive: Path, tmp_path: Path) -> None:
    out, sheet = tmp_path / "found.csv", tmp_path / "found.html"
    arguments = [
        "search",
        "<script>alert(1234567890)</script>",
        str(archive),
        "--top",
        "2",
        "--model",
        str(tiny_bundle),
    ]
    arguments += ["--out", str(out), "--html", str(sheet)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1  # 34 bytes, so 34 tokens of the tiny model, which reads 32
    arguments[1] = "<i>mass</i>"
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 3, done.output
    assert "1 failed" in done.output
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2"]
    page = sheet.read_text()
    assert "&lt;i&gt;mass&lt;/i&gt;" in page
    assert "<b>&.png" not in page
    assert page.count("data:image/jpeg;base64,") == 2
    assert re.findall(r'src="(?!data:)', page) == []
    links = re.findall(r'href="([^"]*)"', page)
    assert [unquote(link) for link in links] == [os.path.relpath(row["path"], tmp_path) for row in rows]
    assert "The nearest 2 of 8 images, 1 could not be read" in page
    assert load_bundle(tiny_bundle).fingerprint in page
    assert CliRunner().invoke(app, arguments).exit_code == 2  # both exist


def test_the_sheet_of_an_example_shows_it(tiny_bundle: Path, archive: Path, tmp_path: Path) -> None:
    sheet, like = tmp_path / "found.html", archive / "5<b>&.png"
    asked = ["search", "--like", str(like), str(archive), "--html", str(sheet), "--top", "3"]
    assert CliRunner().invoke(app, [*asked, "--model", str(tiny_bundle)]).exit_code == 3
    head, _, found = sheet.read_text().partition("</header>")
    assert "<h1>Films like 5&lt;b&gt;&amp;.png</h1>" in head
    pictures = [re.findall(r'src="(data:image/jpeg;base64,[^"]*)"', part) for part in (head, found)]
    assert [len(part) for part in pictures] == [1, 3]
    assert pictures[0][0] == pictures[1][0]  # nothing is more like it than itself


def test_wrong_usage(tiny_bundle: Path, archive: Path) -> None:
    model = ["--model", str(tiny_bundle)]
    assert CliRunner().invoke(app, ["search", "mass", *model]).exit_code == 2
    assert CliRunner().invoke(app, ["search", " ", str(archive), *model]).exit_code == 2
    assert CliRunner().invoke(app, ["search", "mass", "nowhere", *model]).exit_code == 2


def test_outputs_are_checked_before_the_work(tiny_bundle: Path, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "there.html").write_text("old")
    for option in ("--html", "--out"):
        for name, words in (("no/folder.csv", "does not exist"), ("archive", "is a folder"), ("there.html", "")):
            asked = ["search", "effusion", str(archive), option, str(tmp_path / name), "--model", str(tiny_bundle)]
            result = CliRunner().invoke(app, asked)
            assert result.exit_code in (1, 2)
            assert words in result.output.replace("\n", "")
            assert "rank" not in result.output


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_tables_of_hits_in_other_formats(tiny_bundle: Path, archive: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"hits.{suffix}"
    asked = ["search", "effusion", str(archive), "--top", "3", "--out", str(out), "--model", str(tiny_bundle)]
    assert CliRunner().invoke(app, asked).exit_code == 3
    hits = pd.read_json(out, lines=True) if suffix == "jsonl" else pd.read_parquet(out)
    assert hits["rank"].tolist() == [1, 2, 3]
    assert hits["cosine"].is_monotonic_decreasing
