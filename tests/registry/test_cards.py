"""The cards: complete, sourced, nothing filled in."""

import re

import pytest

from cxrzero.cards import card as cards
from cxrzero.cards.card import card_names, card_of_file, card_of_repository, iter_cards, load_card
from cxrzero.errors import BundleError
from cxrzero.model.bundle import bundled_folder

FAMILY = {name for name in card_names() if name.startswith(("xrayclip", "xraysiglip"))}


def test_the_known_models() -> None:
    assert {"cxrzero-mini", "chexzero", "biomedclip", "whyxrayclip", "medsiglip", "openai-clip"} <= set(card_names())
    assert len(FAMILY) == 8


def test_every_published_layout_has_its_card_and_every_card_of_one_its_layout() -> None:
    pytest.importorskip("torch")
    from cxrzero.convert.published import LAYOUTS

    names = [layout.name for layout in LAYOUTS]
    assert names == sorted(set(names))
    assert set(names) == {card.name for card in iter_cards() if card.import_facts.preprocess == "layout"}


@pytest.mark.parametrize("name", card_names())
def test_every_fact_has_a_source_and_every_hash_is_one(name: str) -> None:
    card = load_card(name)
    for key, fact in card.facts.items():
        assert fact is None or (fact.value is not None and fact.source.strip()), key
    for file in card.files:
        assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert file.source.strip()
        assert ".." not in file.name
        assert not file.name.startswith("/")
    assert card.revision is None or re.fullmatch("[0-9a-f]{40}", card.revision)
    assert card.licence.source.strip()
    assert card.bundled == (bundled_folder() / name).is_dir()
    said = {key: fact.value for key, fact in card.facts.items() if fact}
    assert said["scoring_rule"] in ("softmax_pair", "sigmoid", "scorer")
    assert said["tokenizer"] in ("clip-bpe", "wordpiece", "source", "bundle")
    for template in (*card.import_facts.positive, *card.import_facts.negative):
        assert "{}" in template


def test_chexzero_is_ten_files_scored_without_a_scale() -> None:
    card = load_card("chexzero")
    assert card.ensemble
    assert len(card.files) == len({file.sha256 for file in card.files}) == 10
    assert all("unverified" in file.source for file in card.files)
    lineage = card.import_facts
    assert (lineage.activation, lineage.scale, lineage.preprocess) == ("quickgelu", 1.0, "chexzero")
    facts = {key: fact.value for key, fact in card.facts.items() if fact}
    assert (facts["architecture"], facts["scoring_rule"]) == ("ViT-B-32-quickgelu", "softmax_pair")
    assert (lineage.positive, lineage.negative) == (("{}",), ("no {}",))


def test_licences_that_need_a_yes() -> None:
    asking = {card.name for card in iter_cards() if card.licence.needs_consent}
    assert asking == FAMILY | {"cxr-clip-resnet50", "cxr-clip-swin-tiny", "medsiglip", "radzero", "unimed-clip"}
    assert "NO commercial use" in str(load_card("xrayclip-vit-b-16").licence)
    assert load_card("chexzero").licence.commercial is None


def test_finding_a_card_by_what_it_holds() -> None:
    found = card_of_file("best_64_5e-05_original_22000_0.864.pt")
    assert found is not None
    assert found.name == "chexzero"
    assert card_of_file("model.safetensors") is None
    by_hub = card_of_repository("YYUPENN/WhyXrayCLIP")
    assert by_hub is not None
    assert by_hub.name == "whyxrayclip"
    with pytest.raises(BundleError, match="models list"):
        load_card("../chexzero")


def test_a_damaged_card_is_named(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd.yaml").write_text("title: [")  # type: ignore[operator]
    monkeypatch.setattr(cards, "FOLDER", tmp_path)
    with pytest.raises(BundleError, match=r"odd\.yaml is damaged"):
        load_card("odd")
