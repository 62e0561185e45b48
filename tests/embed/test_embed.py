"""`cxrzero embed`, its shards, and what asks its files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cxrzero import Embeddings, Screener
from cxrzero.cli import app
from tests.support.bundle import write_bundle
from tests.support.films import DX, write_dicom
from tests.support.needs import modules

modules("pyarrow")

Draw = Callable[..., Path]


@pytest.fixture
def films(tmp_path: Path, png: Draw) -> Path:
    """Nine files, one of them broken, one of them twice."""
    for seed in range(6):
        png(f"films/{seed}.png", seed)
    png("films/copy.png", 3)
    write_dicom(tmp_path / "films/a.dcm", DX, "DX")
    (tmp_path / "films/broken.png").write_bytes(b"nothing")
    return tmp_path / "films"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_predict_asks_what_embed_kept(tiny_bundle: Path, films: Path, tmp_path: Path, suffix: str) -> None:
    kept, model = tmp_path / f"kept.{suffix}", ["--model", tiny_bundle]
    done = run("embed", films, "--out", kept, *model)
    assert done.exit_code == 3, done.output
    assert "8 embedded" in done.output
    assert "First failure" in done.output
    labels = ["--labels", "edema,a broken clavicle"]
    assert run("predict", films, *labels, *model, "--out", tmp_path / "read.csv").exit_code == 3
    for film in films.iterdir():
        film.unlink()
    asked = run("predict", "--embeddings", kept, *labels, *model, "--out", tmp_path / "asked.csv")
    assert asked.exit_code == 3, asked.output
    assert "no film was read" in asked.output
    assert (tmp_path / "asked.csv").read_bytes() == (tmp_path / "read.csv").read_bytes()
    record = json.loads((tmp_path / "asked.run.json").read_text())
    assert record["inputs"] is None
    assert record["embeddings"]["films"] == 9
    assert record["embeddings"]["origin"]["models"][0]["name"] == "tiny"


def test_predict_leaves_out_more(tiny_bundle: Path, films: Path, tmp_path: Path) -> None:
    kept, model = tmp_path / "kept.npz", ["--model", tiny_bundle, "--labels", "edema"]
    run("embed", films, "--out", kept, *model[:2])
    more = ["--skip", "duplicate", "--long", "--scores"]
    assert run("predict", films, *model, *more, "--out", tmp_path / "read.csv").exit_code == 3
    assert run("predict", "--embeddings", kept, *model, *more, "--out", tmp_path / "asked.csv").exit_code == 3
    assert (tmp_path / "asked.csv").read_bytes() == (tmp_path / "read.csv").read_bytes()


def test_what_embed_leaves_out(tiny_bundle: Path, films: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.npz"
    run("embed", films, "--out", kept, "--model", tiny_bundle, "--skip", "duplicate")
    assert [row.status for row in Embeddings.load(kept).left_out] == ["failed", "skipped"]


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_shards_are_one_run(tiny_bundle: Path, films: Path, tmp_path: Path, suffix: str) -> None:
    model = ["--model", tiny_bundle]
    run("embed", films, *model, "--out", tmp_path / f"whole.{suffix}")
    parts = [tmp_path / f"part-{number}.{suffix}" for number in range(1, 5)]
    for number, part in enumerate(parts, start=1):
        assert run("embed", films, *model, "--out", part, "--shard", f"{number}/4").exit_code in (0, 1, 3)
    merged = run("merge", *parts, "--out", tmp_path / f"merged.{suffix}")
    assert merged.exit_code == 3, merged.output
    assert (tmp_path / f"merged.{suffix}").read_bytes() == (tmp_path / f"whole.{suffix}").read_bytes()
    records = [json.loads((tmp_path / f"{name}.run.json").read_text()) for name in ("whole", "merged")]
    assert records[0]["inputs"] == records[1]["inputs"]
    assert records[0]["counts"] == records[1]["counts"]
    missing = run("merge", *parts[1:], "--out", tmp_path / f"other.{suffix}")
    assert missing.exit_code == 2
    assert "1/4" in missing.output
    own = run("merge", *parts, "--out", parts[0], "--overwrite")
    assert (own.exit_code, "is one of the parts" in own.output) == (2, True)


def test_shards_of_other_models_are_not_joined(tiny_bundle: Path, films: Path, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other", seed=9)
    parts = [tmp_path / "1.npz", tmp_path / "2.npz"]
    for number, (part, model) in enumerate(zip(parts, (tiny_bundle, other), strict=True), start=1):
        run("embed", films, "--out", part, "--shard", f"{number}/2", "--model", model)
    done = run("merge", *parts, "--out", tmp_path / "all.npz")
    assert done.exit_code == 2
    assert "differ in models" in done.output
    assert not (tmp_path / "all.npz").exists()


def test_pseudonyms(tiny_bundle: Path, films: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    done = run(
        "embed", films, "--out", tmp_path / "kept.npz", "--model", tiny_bundle, "--pseudonymise", "--pseudonym-key", key
    )
    assert done.exit_code == 3, done.output
    assert "pseudonym" in done.output
    for path in (tmp_path / "kept.npz", tmp_path / "kept.run.json"):
        content = path.read_bytes()
        assert b"films" not in content.replace(b'"films"', b"")
        assert b"2.25.2" not in content or path.suffix == ".npz"
    embeddings = Embeddings.load(tmp_path / "kept.npz")
    assert all("/" in path and ".png" not in path for path in embeddings.path)
    real = Screener(tiny_bundle, device="cpu").embed(films)
    assert np.array_equal(real.numpy(), embeddings.numpy())


def test_names_are_not_shown_under_pseudonyms(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "DOE^JANE").mkdir()
    pseudonyms = ["--pseudonymise", "--pseudonym-key", tmp_path / "key", "--model", tiny_bundle]
    for given in (tmp_path / "DOE^JANE", tmp_path / "nowhere" / "DOE^JANE"):
        done = run("embed", given, "--out", tmp_path / "kept.npz", *pseudonyms)
        assert done.exit_code == 2, done.output
        assert "DOE" not in done.output


def test_search_asks_what_embed_kept(tiny_bundle: Path, films: Path, tmp_path: Path) -> None:
    kept, model = tmp_path / "kept.parquet", ["--model", tiny_bundle]
    run("embed", films, "--out", kept, *model)
    found = []
    places: list[list[object]] = [[films], ["--embeddings", kept]]
    for number, where in enumerate(places):
        for what in (["edema"], ["--like", films / "3.png"]):
            out = tmp_path / f"{number}{len(what)}.csv"
            done = run("search", *what, *where, *model, "--out", out, "--html", out.with_suffix(".html"))
            assert done.exit_code == 3, done.output
            found.append(list(csv.DictReader(out.read_text().splitlines())))
    assert found[0] == found[2]
    assert found[1] == found[3]
    assert found[1][0]["path"].endswith("3.png")


REFUSED = {
    "films too": (["predict", "FILMS", "--embeddings", "KEPT"], "leave out PATH"),
    "a shard": (["predict", "--embeddings", "KEPT", "--shard", "1/2"], "--shard is for films"),
    "an engine": (["predict", "--embeddings", "KEPT", "--engine", "local"], "--engine is for films"),
    "reports": (["predict", "--embeddings", "KEPT", "--dicom-sr", "sr"], "--dicom-sr is for films"),
    "inverted": (["predict", "--embeddings", "KEPT", "--invert", "yes"], "--invert is for films"),
    "another model": (["predict", "--embeddings", "KEPT", "--model", "OTHER"], "take the model that made them"),
    "fast": (["predict", "--embeddings", "KEPT", "--fast-decode"], "--fast-decode"),
    "given as a film": (["predict", "KEPT"], "asked with --embeddings"),
    "no file": (["predict", "--embeddings", "nowhere.npz"], "nowhere.npz does not exist"),
    "another file": (["predict", "--embeddings", "films.csv"], ".parquet or .npz"),
    "nothing": (["predict"], "no input"),
    "search of films too": (["search", "edema", "FILMS", "--embeddings", "KEPT"], "a text alone"),
    "search of nothing": (["search", "--embeddings", "KEPT"], "a text alone"),
    "search by another model": (["search", "edema", "--embeddings", "KEPT", "--model", "OTHER"], "take the model"),
    "embed into a table": (["embed", "FILMS", "--out", "a.csv"], ".parquet or .npz"),
    "embed into a store": (
        ["embed", "FILMS", "--out", "s3://bucket/a.npz"],
        "an address is given where a file is written",
    ),
    "embed over a file": (["embed", "FILMS", "--out", "KEPT"], "exists already"),
    "embed nothing": (["embed", "nowhere"], "nowhere does not exist"),
    "a cache that keeps nothing": (["embed", "FILMS", "--no-cache", "--cache-by", "content"], "--no-cache keeps none"),
    "a key alone": (["embed", "FILMS", "--pseudonym-key", "key"], "give both"),
}


@pytest.mark.parametrize(("arguments", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(
    arguments: list[str], says: str, tiny_bundle: Path, png: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    film = png("films/a.png")
    run("embed", film, "--out", "kept.npz", "--model", tiny_bundle)
    other = write_bundle(tmp_path / "other", seed=9) if "OTHER" in arguments else tiny_bundle
    stands_for = {"FILMS": str(film), "KEPT": "kept.npz", "OTHER": str(other)}
    arguments = [stands_for.get(argument, argument) for argument in arguments]
    before = sorted(path.name for path in tmp_path.iterdir())
    model = [] if "--model" in arguments else ["--model", str(tiny_bundle)]
    done = run(*arguments, *model)
    assert done.exit_code == 2, done.output
    assert says in " ".join(done.output.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == before
