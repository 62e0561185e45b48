"""Embeddings: computed, kept in files, asked again."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrzero import ConfigError, Embeddings, NoInputError, RunError, Screener, UsageError
from cxrzero.embeddings import npz, parquet
from cxrzero.errors import OutputExistsError
from tests.support.bundle import WIDTH, write_bundle
from tests.support.films import DX, write_dicom
from tests.support.needs import optional
from tests.support.pictures import picture

pyarrow = optional("pyarrow")
pandas = optional("pandas")

Draw = Callable[..., Path]
SUFFIXES = ("npz", "parquet")


@pytest.fixture(scope="module")
def screener(tiny_bundle: Path) -> Screener:
    return Screener(tiny_bundle, device="cpu", cache=False)


@pytest.fixture
def films(tmp_path: Path, png: Draw) -> Path:
    """Five films: two that are scored, a DICOM file that is, one that fails, one that is skipped."""
    for seed in range(2):
        png(f"films/{seed}.png", seed)
    write_dicom(tmp_path / "films/a.dcm", DX, "DX")
    write_dicom(tmp_path / "films/report.dcm", "1.2.840.10008.5.1.4.1.1.88.11", "SR", with_pixels=False)
    (tmp_path / "films/broken.png").write_bytes(b"")
    return tmp_path / "films"


def test_embed_and_score_are_predict(screener: Screener, films: Path) -> None:
    embeddings = screener.embed(films)
    assert embeddings.numpy().shape == (3, WIDTH)
    assert np.allclose(np.linalg.norm(embeddings.numpy(), axis=1), 1, atol=1e-6)
    assert [Path(path).name for path in embeddings.path] == ["0.png", "1.png", "a.dcm"]
    assert [row.status for row in embeddings.left_out] == ["failed", "skipped"]
    assert len(embeddings) == 3
    for labels in (["edema"], ["pneumonia", "edema", "a broken clavicle"], None):
        assert screener.score(embeddings, labels) == screener.predict(films, labels)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files(screener: Screener, films: Path, tmp_path: Path, suffix: str) -> None:
    embeddings, path = screener.embed(films), tmp_path / f"kept.{suffix}"
    embeddings.save(path)
    loaded = Embeddings.load(path)
    assert loaded.rows == embeddings.rows
    assert np.array_equal(loaded.numpy(), embeddings.numpy())
    assert loaded.origin == embeddings.origin
    assert screener.score(loaded, ["edema"]) == screener.predict(films, ["edema"])
    with pytest.raises(OutputExistsError):
        embeddings.save(path)
    before = path.read_bytes()
    embeddings.save(path, overwrite=True)
    assert path.read_bytes() == before  # the same embeddings are the same file


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_of_nothing_that_was_scored(screener: Screener, tmp_path: Path, suffix: str) -> None:
    embeddings = screener.embed([b"", b"x"])
    embeddings.save(tmp_path / f"kept.{suffix}")
    loaded = Embeddings.load(tmp_path / f"kept.{suffix}")
    assert loaded.numpy().shape == (0, WIDTH)
    assert [row.code for row in screener.score(loaded, ["edema"])] == ["empty_file", "not_an_image"]


def test_many_row_groups(screener: Screener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_NUMBERS", 2 * WIDTH)
    monkeypatch.setattr("cxrzero.embeddings.files.ROWS_AT_ONCE", 1)
    embeddings = screener.embed([picture(seed) if seed % 3 else b"" for seed in range(7)])
    embeddings.save(tmp_path / "kept.parquet")
    assert pyarrow.parquet.ParquetFile(tmp_path / "kept.parquet").num_row_groups == 4
    loaded = Embeddings.load(tmp_path / "kept.parquet")
    assert loaded.rows == embeddings.rows
    assert np.array_equal(loaded.numpy(), embeddings.numpy())


def test_numpy_reads_the_npz(screener: Screener, films: Path, tmp_path: Path) -> None:
    embeddings = screener.embed(films)
    embeddings.save(tmp_path / "kept.npz")
    with np.load(tmp_path / "kept.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["image_embeds"], embeddings.numpy())
        assert arrays["status"].tolist() == ["ok", "ok", "ok", "failed", "skipped"]
        assert json.loads(str(arrays["origin"]))["models"][0]["name"] == "tiny"


def test_pandas(screener: Screener, films: Path, tmp_path: Path) -> None:
    embeddings = screener.embed(films)
    frame = embeddings.to_pandas()
    assert frame.shape == (3, 11 + WIDTH)
    assert np.array_equal(frame[[f"embed_{i}" for i in range(WIDTH)]].to_numpy(), embeddings.numpy())
    embeddings.to_parquet(tmp_path / "kept.any")
    table = pandas.read_parquet(tmp_path / "kept.any")
    assert np.array_equal(np.stack(table.embedding.dropna()), embeddings.numpy())


def test_ensembles(tiny_bundle: Path, films: Path, tmp_path: Path) -> None:
    both = Screener([tiny_bundle, write_bundle(tmp_path / "other", seed=5)], device="cpu", cache=False)
    embeddings = both.embed(films)
    assert embeddings.numpy().shape == (3, 2 * WIDTH)
    assert both.score(embeddings, ["edema"]) == both.predict(films, ["edema"])
    with pytest.raises(UsageError, match="one model"):
        both.search(embeddings, "edema")


def test_other_models_are_refused(screener: Screener, films: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    embeddings = screener.embed(films)
    other = Screener(write_bundle(tmp_path / "other", seed=5), device="cpu", cache=False)
    with pytest.raises(ConfigError, match="take the model that made them"):
        other.score(embeddings, ["edema"])
    with pytest.raises(ConfigError, match="take the model that made them"):
        other.search(embeddings, "edema")
    fast = Screener(tiny_bundle, device="cpu", cache=False, fast_decode=True)
    with pytest.raises(ConfigError, match="--fast-decode"):
        fast.score(embeddings, ["edema"])


def test_search(screener: Screener) -> None:
    films = [(str(seed), picture(seed)) for seed in range(6)]
    embeddings = screener.embed(films)
    [first, second] = screener.search(embeddings, like=picture(3), top=2)
    assert (first.row.path, first.rank, second.rank) == ("3", 1, 2)
    assert first.cosine == pytest.approx(1, abs=1e-6)
    by_text = screener.search(embeddings, "edema")
    cosines = embeddings.numpy().astype(float) @ screener.embed_texts(["edema"])[0].astype(float)
    assert [hit.row.path for hit in by_text] == [str(place) for place in np.argsort(-cosines)]
    assert [hit.cosine for hit in by_text] == sorted((float(np.float32(cosine)) for cosine in cosines), reverse=True)
    assert screener.search(films, "edema") == by_text
    with pytest.raises(UsageError, match="say what to look for"):
        screener.search(embeddings)
    with pytest.raises(RunError, match="example cannot be read"):
        screener.search(embeddings, like=b"")


def rewritten(kept: Path, changes: dict[str, bytes | None]) -> Path:
    """An .npz file with other members."""
    other = kept.with_name("other.npz")
    with zipfile.ZipFile(kept) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            content = changes.get(name.removesuffix(".npy"), old.read(name))
            if content is not None:
                new.writestr(name, content)
    return other


def npy(array: Any, claimed: str | None = None, allow_pickle: bool = False) -> bytes:
    import io

    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), allow_pickle=allow_pickle)
    content = file.getvalue()
    return content.replace(repr(np.asarray(array).shape).encode(), claimed.encode()) if claimed else content


def assert_is_refused(path: Path, what: str) -> None:
    with pytest.raises(NoInputError) as caught:
        Embeddings.load(path)
    assert "is no whole file of embeddings" in str(caught.value), what


class Hostile:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


def test_bad_npz(screener: Screener, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "kept.npz"
    screener.embed(films).save(path)
    vectors = Embeddings.load(path).numpy()
    bad: dict[str, dict[str, bytes | None]] = {
        "a member is missing": {"status": None},
        "code": {"path": npy(np.array([Hostile()] * 5, object), allow_pickle=True)},
        "too few": {"image_embeds": npy(vectors[:2])},
        "too narrow": {"image_embeds": npy(vectors[:, :-1])},
        "not finite": {"image_embeds": npy(vectors * np.nan)},
        "claims more than there is": {"image_embeds": npy(vectors, f"({10**12}, {WIDTH})")},
        "no origin": {"origin": npy("{}")},
        "no JSON": {"origin": npy("{")},
        "another status": {"status": npy(["ok", "ok", "ok", "good", "skipped"])},
        "a number for a path": {"path": npy([1, 2, 3, 4, 5])},
        "fewer cells": {"error": npy(["", ""])},
        "no array": {"frame": b"frames"},
    }
    for what, changes in bad.items():
        assert_is_refused(rewritten(path, changes), what)
    assert not (tmp_path / "executed").exists()
    for cut in (0, 10, 500, path.stat().st_size - 3):
        (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:cut])
        with pytest.raises(NoInputError, match="is no whole file of embeddings"):
            Embeddings.load(tmp_path / "cut.npz")


def test_bad_parquet(screener: Screener, films: Path, tmp_path: Path) -> None:
    path = tmp_path / "kept.parquet"
    screener.embed(films).save(path)
    for cut in (0, 10, 500, path.stat().st_size - 3):
        (tmp_path / "cut.parquet").write_bytes(path.read_bytes()[:cut])
        with pytest.raises(NoInputError, match="is no whole file of embeddings"):
            Embeddings.load(tmp_path / "cut.parquet")
    table = pyarrow.parquet.read_table(path)
    others = {
        "another table": pyarrow.table({"path": ["a"]}),
        "no origin": table.replace_schema_metadata({}),
        "another width": table.replace_schema_metadata(
            {key: value.replace(b'"embed_dim": 8', b'"embed_dim": 9') for key, value in table.schema.metadata.items()}
        ),
        "no status": table.set_column(8, "status", pyarrow.array(["good"] * 5)),
        "an embedding of what failed": table.set_column(8, "status", pyarrow.array(["ok"] * 4 + ["skipped"])),
    }
    for what, other in others.items():
        pyarrow.parquet.write_table(other, tmp_path / "other.parquet")
        assert_is_refused(tmp_path / "other.parquet", what)


def test_paths_that_are_no_files_of_embeddings(screener: Screener, tmp_path: Path) -> None:
    embeddings = screener.embed(picture(1))
    for name in ("kept.csv", "kept"):
        with pytest.raises(UsageError, match=r"\.parquet or \.npz"):
            embeddings.save(tmp_path / name)
    with pytest.raises(NoInputError, match="does not exist"):
        Embeddings.load(tmp_path / "nowhere.npz")
    assert list(tmp_path.iterdir()) == []


def test_too_many_for_an_npz(screener: Screener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "MAX_BYTES", 3 * 4 * WIDTH)
    with pytest.raises(UsageError, match=r"write a \.parquet file"):
        screener.embed([picture(seed) for seed in range(4)]).save(tmp_path / "kept.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_line_for_a_reader(screener: Screener) -> None:
    embeddings = screener.embed([picture(1), picture(2), b""])
    assert repr(embeddings) == "<Embeddings of 2 films (1 left out): 8 numbers each, by tiny>"
