"""Models that score by attention, through the Python API: right numbers, and what is kept of a film."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxrzero import Screener
from cxrzero.choices import Backend
from cxrzero.errors import BundleError, ConfigError, UsageError
from cxrzero.member import Member
from cxrzero.pipeline.items import RunStats
from cxrzero.pipeline.live import Live
from cxrzero.search.archive import image_query, search, text_query
from cxrzero.sources import find_images
from tests.support.bundle import write_bundle
from tests.support.needs import optional
from tests.support.scorers import quarters, rehashed, scorer, write_scorer_bundle

GREYS = ((0, 51, 102, 255), (204, 0, 51, 10), (30, 60, 90, 120))
LABELS = ["apex", "base", "cow", "dog"]  # their first letters ask for the four quarters


@pytest.fixture
def films(tmp_path: Path) -> str:
    (tmp_path / "films").mkdir()
    for index, greys in enumerate(GREYS):
        Image.fromarray(quarters(*greys)).save(tmp_path / f"films/{index}.png")
    return str(tmp_path / "films")


def p(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


def run(screener: Screener, films: str, labels: Sequence[str]) -> tuple[list[dict[str, float]], RunStats]:
    prompts, stats = screener.prompts(labels), RunStats()
    rows = screener.stream(find_images([films]), screener.classifier(prompts), prompts, stats)
    return [dict(row.scores) for row in rows], stats


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch"])
def test_each_backend_gives_the_arithmetic(tmp_path: Path, films: str, backend: Backend) -> None:
    if backend != "onnxruntime":
        optional(backend)
    bundle = write_scorer_bundle(tmp_path / "b", bias=0.5)
    screener = Screener(bundle, device="cpu", backend=backend, cache=False)
    rows = screener.predict(films, LABELS)
    for row, greys in zip(rows, GREYS, strict=True):
        expected = [p(4 * grey / 255 + 0.5) for grey in greys]
        np.testing.assert_allclose([row.scores[label] for label in LABELS], expected, rtol=1e-6)
        assert (row.cos_pos, row.cos_neg) == ({}, {})
    maps = screener.heatmap(Path(films) / "0.png", ["dog"])
    assert maps.method == "attention"
    assert (maps.maps[0, 0, 0], maps.maps[0, -1, 0], maps.maps[0, -1, -1]) == (0, 0, 1)  # the last quarter is white


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch"])
def test_a_number_does_not_depend_on_what_else_is_asked(tmp_path: Path, backend: Backend) -> None:
    """The last digit, too, with a scorer whose sums are long enough to be ordered in several ways."""
    torch, onnx = optional("torch"), optional("onnx")
    assert onnx
    from cxrzero.convert.attention_export import export_attention
    from tests.support.attention import towers

    generator = torch.Generator().manual_seed(3)
    pixels = torch.rand(11, 3, 16, 16, generator=generator)
    ids = torch.randint(1, 257, (7, 32), generator=generator)
    path = write_scorer_bundle(tmp_path / "b")
    made = export_attention(towers(), pixels, ids, path, together=False)
    card = json.loads((path / "model.json").read_text())
    shapes = {"image": list(made.tokens.image), "text": list(made.tokens.text), "dtype": "float32"}
    card |= {"tokens": shapes, "attention": {"height": 4, "width": 4}}
    (path / "model.json").write_text(json.dumps(card))
    encoder = Screener(rehashed(path), device="cpu", backend=backend, cache=False).member.encoder
    film_rows, text_rows = encoder.encode_images(pixels.numpy()), encoder.encode_texts(ids.numpy())
    whole, seen = encoder.score(film_rows, text_rows), encoder.attend(film_rows, text_rows)
    assert (whole.shape, seen.shape) == ((11, 7), (11, 7, 4, 4))
    for film, sentence in ((0, 0), (5, 3), (10, 6)):
        one = (film_rows[film : film + 1], text_rows[sentence : sentence + 1])
        assert encoder.score(*one)[0, 0] == whole[film, sentence]
        np.testing.assert_array_equal(encoder.attend(*one)[0, 0], seen[film, sentence])


def test_labels_that_look_at_each_other_are_asked_in_one_call(tmp_path: Path, films: str) -> None:
    bundle = write_scorer_bundle(tmp_path / "b", together=True)
    told: list[str] = []
    screener = Screener(bundle, device="cpu", cache=False, notify=told.append)
    greys = np.array(GREYS[0]) / 255
    row = screener.predict(films, LABELS)[0]
    np.testing.assert_allclose(list(row.scores.values()), [p(4 * (g - greys.mean())) for g in greys], rtol=1e-6)
    row = screener.predict(films, LABELS[:2])[0]
    np.testing.assert_allclose(list(row.scores.values()), [p(4 * (g - greys[:2].mean())) for g in greys[:2]], rtol=1e-6)
    assert "a label that is asked beside others gets another number" in told[0]


def test_companions_are_asked_along(tmp_path: Path, films: str) -> None:
    bundle = write_scorer_bundle(tmp_path / "b", together=True, companions=("dim", "base"))
    greys = np.array(GREYS[0]) / 255
    screener = Screener(bundle, device="cpu", cache=False)
    row = screener.predict(films, ["apex", "base"])[0]
    mean = (greys[3] + greys[1] + greys[0]) / 3  # "base" is asked once
    np.testing.assert_allclose(list(row.scores.values()), [p(4 * (g - mean)) for g in greys[:2]], rtol=1e-6)


def test_pairs_and_several_sentences(tmp_path: Path, films: str) -> None:
    """The negative template puts a c before the label, which asks for the third quarter."""
    templates = {"positive": ["{}", "d{}"], "negative": ["c{}"]}
    bundle = write_scorer_bundle(tmp_path / "b", pairs=True, templates=templates)
    row = Screener(bundle, device="cpu", cache=False).predict(films, ["apex"])[0]
    a, _, c, d = np.array(GREYS[0]) / 255
    assert row.scores["apex"] == pytest.approx(p(4 * ((a + d) / 2 - c)), rel=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_second_question_opens_no_film(
    tmp_path: Path, films: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_scorer_bundle(tmp_path / "b", dtype=dtype)
    screener = Screener(bundle, device="cpu", cache=tmp_path / "cache")
    fresh, stats = run(screener, films, LABELS)
    assert (stats.embedded, stats.cached) == (3, 0)
    greys = (np.array(GREYS) / 255).astype(np.float32).astype(dtype).astype(np.float64)
    np.testing.assert_allclose([list(row.values()) for row in fresh], 1 / (1 + np.exp(-4 * greys)), rtol=1e-6)

    def closed(*_: Any) -> Any:
        raise AssertionError("a film was opened")

    monkeypatch.setattr("cxrzero.sources.reader.Reader.decode", closed)
    again, stats = run(Screener(bundle, device="cpu", cache=tmp_path / "cache"), films, LABELS)
    assert (stats.embedded, stats.cached) == (0, 3)
    assert again == fresh
    other, stats = run(Screener(bundle, device="cpu", cache=tmp_path / "cache"), films, ["cat"])
    assert [row["cat"] for row in other] == [row["cow"] for row in fresh]
    assert stats.cached == 3


def test_what_is_large_is_kept_when_asked_for(tmp_path: Path, films: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxrzero.member.MOST_KEPT", 4 * 3 * 4 - 1)  # a byte less than a film has
    bundle = write_scorer_bundle(tmp_path / "b")
    cache = tmp_path / "cache"
    for large, embedded in ((False, [3, 3]), (True, [3, 0])):
        screeners = [Screener(bundle, device="cpu", cache=cache, cache_large=large) for _ in range(2)]
        assert [run(screener, films, ["apex"])[1].embedded for screener in screeners] == embedded
        note = "makes 48 bytes of each film, more than is kept unasked: a new question will read the films again"
        assert [note in line for line in screeners[0].notes()] == ([] if large else [True])
    assert Screener(bundle, device="cpu", cache=False).notes() == []


def test_films_with_many_tokens_are_taken_in_small_blocks(
    tmp_path: Path, films: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 48 bytes a film two fit: neither a batch of known films nor a call of the scorer has more."""
    bundle = write_scorer_bundle(tmp_path / "b")
    expected, _ = run(Screener(bundle, device="cpu", cache=tmp_path / "cache"), films, LABELS)
    for limit in ("cxrzero.pipeline.run.SCORED_BYTES", "cxrzero.pipeline.hashing.BLOCK_BYTES"):
        monkeypatch.setattr(limit, 100)
    sizes = []
    screener = Screener(bundle, device="cpu", cache=tmp_path / "cache")
    score = screener.member.encoder.score

    def counted(rows: np.ndarray, texts: np.ndarray) -> np.ndarray:
        sizes.append(len(rows))
        return score(rows, texts)

    monkeypatch.setattr(screener.member.encoder, "score", counted)
    found, stats = run(screener, films, LABELS)
    assert found == expected
    assert stats.cached == 3
    assert max(sizes) <= 2


def test_an_ensemble_of_both_kinds(tmp_path: Path, films: str) -> None:
    attention, dual = write_scorer_bundle(tmp_path / "b", dtype="float16"), write_bundle(tmp_path / "tiny")
    alone = [Screener(each, device="cpu", cache=False).predict(films, LABELS) for each in (attention, dual)]
    for order in ((attention, dual), (dual, attention)):
        screener = Screener(order, device="cpu", cache=tmp_path / "cache")
        for rows in (screener.predict(films, LABELS), screener.predict(films, LABELS)):  # encoded, and from the cache
            for place, row in enumerate(rows):
                each = np.array([[rows[place].scores[label] for label in LABELS] for rows in alone])
                np.testing.assert_allclose(list(row.scores.values()), each.mean(axis=0), rtol=1e-6)
                np.testing.assert_allclose(list(row.sd.values()), each.std(axis=0, ddof=1), rtol=1e-4)
                assert row.cos_pos == {}
        maps = screener.heatmap(Path(films) / "0.png", ["apex"])
        assert maps.method == "occlusion"
        assert maps.probabilities[0] == pytest.approx(screener.predict(Path(films) / "0.png", ["apex"])[0]["apex"])


def test_what_needs_embeddings_says_so(tmp_path: Path, films: str) -> None:
    screener = Screener(write_scorer_bundle(tmp_path / "b"), device="cpu", cache=False)
    said = "quarters scores by attention and has no embeddings that could be compared"
    with pytest.raises(UsageError, match=said):
        text_query(screener, "apex")
    with pytest.raises(UsageError, match=said):
        image_query(screener, f"{films}/0.png")
    with pytest.raises(UsageError, match=said):
        search(screener, np.ones(12, np.float32), [films], 3, Live())
    with pytest.raises(UsageError, match=said):
        screener.embed_texts(["apex"])


def test_a_faster_precision_is_refused(tmp_path: Path) -> None:
    path = write_scorer_bundle(tmp_path / "b")
    with pytest.raises(ConfigError, match="bf16 is not offered for quarters, which scores by attention; choose fp32"):
        Screener(path, device="cpu", backend="torch", precision="bf16", cache=False)
    assert Screener(path, device="cpu", precision="auto", cache=False).precision == "fp32"


def test_a_scorer_that_gives_something_else_is_named(tmp_path: Path, films: str) -> None:
    path = write_scorer_bundle(tmp_path / "b", attention=False)
    (path / "scorer.onnx").write_bytes(scorer(attention=False).replace(b"logits", b"digits"))
    with pytest.raises(BundleError, match="must have the inputs image_tokens and text_tokens and the output logits"):
        Screener(rehashed(path), device="cpu", cache=False).predict(films, LABELS)


def test_who_does_not_say_where_it_looks_is_mapped_by_occlusion(tmp_path: Path, films: str) -> None:
    screener = Screener(write_scorer_bundle(tmp_path / "b", attention=False), device="cpu", cache=False)
    with pytest.raises(ConfigError, match="quarters does not say where its scorer looks; use --method occlusion"):
        screener.heatmap(f"{films}/0.png", ["dog"], method="attention")
    with pytest.raises(ConfigError, match="--method patch: the model quarters has no embeddings of patches"):
        screener.heatmap(f"{films}/0.png", ["dog"], method="patch")
    maps = screener.heatmap(f"{films}/0.png", ["dog"])
    assert maps.method == "occlusion"
    column, row = maps.peak(0)
    assert column >= 8
    assert row >= 8


def test_attention_is_refused_of_two_encoders(tmp_path: Path, films: str) -> None:
    screener = Screener(write_bundle(tmp_path / "tiny"), device="cpu", cache=False)
    with pytest.raises(ConfigError, match="--method attention: the model tiny does not score by attention"):
        screener.heatmap(f"{films}/0.png", ["edema"], method="attention")


def test_negative_sentences_are_not_encoded_where_none_is_asked(
    tmp_path: Path, films: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    embed = Member.embed_texts

    def remembered(self: Member, sentences: Sequence[str]) -> Any:
        asked.extend(sentences)
        return embed(self, sentences)

    monkeypatch.setattr(Member, "embed_texts", remembered)
    Screener(write_scorer_bundle(tmp_path / "b"), device="cpu", cache=False).predict(films, ["apex"])
    assert asked == ["apex"]
