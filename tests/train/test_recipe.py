"""The recipe of the model in the box, in small: phantoms instead of patients, a tower of its own instead of MiniLM."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from recipes import mini_composites, mini_pairs, mini_phantoms, mini_start, mini_words  # noqa: E402


@pytest.fixture(scope="module")
def recipe():
    """The recipe's modules."""
    return {
        "pairs": mini_pairs,
        "composites": mini_composites,
        "phantoms": mini_phantoms,
        "start": mini_start,
        "words": mini_words,
    }


def test_a_model_of_phantoms_learns_what_was_drawn(recipe, tmp_path):
    """Drawn, written as pairs, trained with the recipe's own options, exported, asked: effusions against none."""
    from cxrzero import Screener
    from cxrzero.phantom import Finding, draw
    from cxrzero.train import recipe_options, train

    count = 240
    rows = ["image,text,patient_id,split,group,weight,truth"]
    # None is held out: which epoch a dozen find best is chance, and differed between processors.
    for said in recipe["pairs"].phantoms(tmp_path / "phantoms", count):
        for text, (weight, truth) in said.statements.items():
            rows.append(f'{said.image},"{text}",{said.patient},train,{said.group},{weight},{truth}')
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n", "utf-8")
    options = recipe_options(
        "default", pairs=tmp_path / "pairs.csv", out=tmp_path / "run", arch="cxrzero-tiny", image_size=64,
        first_size=48, first_share=0.6, loss="sigmoid", mixup=0.2, epochs=30, batch_size=32, texts_per_image=3,
        lr=4e-3, threads=1, seed=0,
    )  # fmt: skip
    run = train(options)
    films, truth = [], []
    for n in range(60):
        findings = (Finding("pleural effusion", ("left", "right")[n % 4 // 2], severity=0.8),) if n % 2 else ()
        path = tmp_path / f"test-{n}.png"
        from PIL import Image

        Image.fromarray(draw(9000 + n, 192, findings).to_uint8()).save(path)
        films.append(path)
        truth.append(bool(n % 2))
    scores = np.array(
        [row.scores["pleural effusion"] for row in Screener(run, device="cpu").predict(films, ["pleural effusion"])]
    )
    truth = np.array(truth)
    auroc = (scores[truth][:, None] > scores[~truth][None]).mean()
    assert auroc > 0.75


def test_captions_of_phantoms_are_true_of_them(recipe):
    phantoms = recipe["phantoms"]
    for seed in range(phantoms.FIRST_SEED, phantoms.FIRST_SEED + 60):
        findings, texts = phantoms.findings_of(seed), phantoms.statements(seed)
        assert not any(f"no {text}" in texts for text in texts)
        for finding in findings:
            assert finding.name in texts
            if finding.side:
                assert f"{finding.side} {finding.name}" in texts
        assert not any(phrase in text for text in texts for phrase in recipe["words"].RESERVED)


def test_a_drawn_finding_changes_its_side_of_a_film(recipe, tmp_path):
    from PIL import Image

    from cxrzero.phantom import draw

    composites = recipe["composites"]
    Image.fromarray(draw(7, composites.SIDE).to_uint8()).save(tmp_path / "film.png")
    count = 40
    names = composites.draw_all(tmp_path / "drawn", [tmp_path / "film.png"] * count)
    before = np.asarray(Image.open(tmp_path / "film.png")).astype(int)
    seen = set()
    for number, name in enumerate(names):
        finding, side = composites.finding_of(number)
        change = np.abs(np.asarray(Image.open(tmp_path / "drawn" / name)).astype(int) - before)
        picture_left, picture_right = np.hsplit(change, 2)  # the patient's right and left
        if not finding:
            assert change.sum() == 0
        else:
            own, other = (picture_right, picture_left) if side == "left" else (picture_left, picture_right)
            assert own.sum() > 10 * other.sum(), (number, finding, side)
            assert own.max() >= 8, (number, finding, side)
        seen.add((finding, side))
    assert seen == {("", ""), *((f, s) for f in composites.FINDINGS for s in ("left", "right"))}


def test_captions_of_drawn_findings_name_the_side_and_nothing_else(recipe):
    composites = recipe["composites"]
    for number in range(60):
        finding, side = composites.finding_of(number)
        texts = composites.statements(number)
        assert not any(f"no {text}" in texts for text in texts)
        assert not any(phrase in text for text in texts for phrase in recipe["words"].RESERVED)
        positive = {text for text in texts if not text.startswith("no ")}
        assert positive == ({f"{side} {finding}", f"{finding} on the {side}"} if finding else set())
        assert f"no {composites.OTHER.get(side, 'left')} {finding or 'consolidation'}" in texts


def test_a_pruned_tokenizer_numbers_anew_and_spells_the_rest(recipe, tmp_path):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "unused", "lung", "a", "##a", "b", "##b", "ab"]
    content = {
        "version": "1.0",
        "truncation": {"max_length": 8},
        "padding": {},
        "added_tokens": [{"id": n, "content": piece} for n, piece in enumerate(pieces[:5])],
        "post_processor": {"special_tokens": {"[CLS]": {"ids": [2]}, "[SEP]": {"ids": [3]}}},
        "model": {"type": "WordPiece", "vocab": {piece: n for n, piece in enumerate(pieces)}},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    kept = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    found = recipe["start"].pruned_tokenizer(tmp_path, kept)
    assert found["model"]["vocab"] == {pieces[old]: new for new, old in enumerate(kept)}
    assert found["truncation"] is None
    assert [token["id"] for token in found["added_tokens"]] == [0, 1, 2, 3, 4]


def test_pruned_weights_keep_their_rows(recipe):
    start = recipe["start"]
    words = torch.arange(12.0)[:, None] * torch.ones(12, 4)
    weights = {
        "embeddings.word_embeddings.weight": words,
        "embeddings.position_embeddings.weight": torch.zeros(512, 4),
        "pooler.dense.weight": torch.zeros(4, 4),
    }
    found = start.pruned_weights(weights, [0, 3, 7])
    assert found["embeddings.word_embeddings.weight"][:, 0].tolist() == [0, 3, 7]
    assert found["embeddings.position_embeddings.weight"].shape == (start.CONTEXT, 4)
    assert "pooler.dense.weight" not in found
