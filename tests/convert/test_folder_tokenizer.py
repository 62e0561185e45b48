"""Tokenizers beside weights that come without tokenizer.json: the same ids as transformers gives."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")
transformers = pytest.importorskip("transformers")
from transformers.convert_slow_tokenizer import import_protobuf  # noqa: E402

from cxrzero.convert import import_model  # noqa: E402
from cxrzero.convert.folder_tokenizer import pad_id, read_tokenizer  # noqa: E402
from cxrzero.errors import ImportModelError  # noqa: E402
from tests.support.agreement import PROMPTS, assert_same, embeds  # noqa: E402
from tests.support.checkpoints import hf_folder, write_json  # noqa: E402

TEXTS = [
    "pneumonia",
    "No  Pleural Effusion!",
    "There is a small (left) apical pneumothorax; it's 3.5 cm, 10% of the hemithorax.",
    "enlarged cardio-mediastinum / tortuous aorta",
    "l'épanchement, Ödem, 肺炎",
    "tab\tand\nline",
    "x_y & z",
]
# Pieces by kind: 3 control, 2 unknown, 1 normal with its log probability.
PIECES = [
    ("<pad>", 0.0, 3),
    ("</s>", 0.0, 3),
    ("<unk>", 0.0, 2),
    *((piece, -2.0, 1) for piece in ("▁pneumo", "thorax", "▁no", "▁the", "▁cardiac", "▁edema", "▁is", "▁normal")),
    ("▁pneumonia", -1.0, 1),
    *((letter, -6.0, 1) for letter in "▁abcdefghijklmnopqrstuvwxyz"),
]


def write_spiece(path, pieces=PIECES, model_type=1):
    proto = import_protobuf().ModelProto()
    for piece, score, kind in pieces:
        proto.pieces.add(piece=piece, score=score, type=kind)
    proto.trainer_spec.model_type = model_type
    proto.trainer_spec.unk_id = 2
    proto.normalizer_spec.name = "identity"
    path.write_bytes(proto.SerializeToString())


def write_clip(folder):
    """CLIP's own vocabulary, under the names that transformers has for its special tokens."""
    source = open_clip.tokenizer.SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    write_json(folder / "vocab.json", {names.get(token, token): id_ for token, id_ in source.encoder.items()})
    merges = "\n".join(" ".join(pair) for pair in source.bpe_ranks)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", "utf-8")


def test_byte_pairs_of_clip(tmp_path):
    write_clip(tmp_path)
    tokenizer, files = read_tokenizer(tmp_path)
    assert files == "vocab.json and merges.txt"
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path, local_files_only=True)
    for text in TEXTS:
        assert tokenizer.encode(text).ids == theirs(text)["input_ids"], text


def test_sentencepiece_takes_the_likeliest_pieces(tmp_path):
    write_spiece(tmp_path / "spiece.model")
    tokenizer, files = read_tokenizer(tmp_path)
    assert files == "spiece.model"
    # cleaned of case and punctuation; "▁pneumonia" (-1) beats "▁pneumo" with letters (-2 - 3 · 6)
    assert tokenizer.encode("  No pneumonia, the PNEUMOTHORAX!").tokens == [
        "▁no", "▁pneumonia", "▁the", "▁pneumo", "thorax", "</s>",
    ]  # fmt: skip
    assert tokenizer.encode("肺炎 edema").ids == [PIECES.index(("▁", -6.0, 1)), 2, PIECES.index(("▁edema", -2.0, 1)), 1]
    write_json(tmp_path / "tokenizer_config.json", {"do_lower_case": False})
    assert tokenizer.encode("no").ids == read_tokenizer(tmp_path)[0].encode("no").ids
    assert read_tokenizer(tmp_path)[0].encode("NO").ids != tokenizer.encode("NO").ids


def test_sentencepiece_is_transformers_own(tmp_path):
    pytest.importorskip("sentencepiece")
    write_spiece(tmp_path / "spiece.model")
    tokenizer, _ = read_tokenizer(tmp_path)
    theirs = transformers.SiglipTokenizer(str(tmp_path / "spiece.model"))
    for text in TEXTS:
        assert tokenizer.encode(text).ids == theirs(text)["input_ids"], text


def test_a_siglip_folder_as_published(tmp_path):
    """spiece.model, and the padding that its tokenizer has: SigLIP reads its answer off the last token."""
    folder, model = hf_folder(tmp_path, "siglip")
    (folder / "tokenizer.json").unlink()
    write_spiece(folder / "spiece.model")
    write_json(folder / "special_tokens_map.json", {"pad_token": {"content": "</s>", "lstrip": True}})
    report = import_model(folder, tmp_path / "b")
    assert "tokenizer: spiece.model" in report.lines
    bundle, pixels, images, texts = embeds(report.bundle)
    assert bundle.pad_id == 1 != model.config.text_config.pad_token_id
    tokenizer, _ = read_tokenizer(folder)
    tokenizer.enable_padding(length=24, pad_id=1)
    ids = torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(PROMPTS)])
    with torch.no_grad():
        out = model(input_ids=ids, pixel_values=pixels)
    assert_same(images, out.image_embeds)
    assert_same(texts, out.text_embeds)


def test_no_tokenizer_names_the_choices(tmp_path):
    with pytest.raises(ImportModelError, match=r"tokenizer\.json, vocab\.json with merges\.txt, spiece\.model"):
        read_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "spiece.model").write_bytes(b"\xff" * 40), "is not a tokenizer"),
        (lambda f: write_spiece(f / "spiece.model", model_type=2), "not its unigram model"),
        (lambda f: write_spiece(f / "spiece.model", [*PIECES, ("{}", 0.0, 4)]), "user-defined pieces"),
        (lambda f: write_spiece(f / "spiece.model", [PIECES[0], *PIECES[2:]]), "is not a tokenizer"),
        (lambda f: write_pairs(f, vocabulary="[]"), "is not a tokenizer"),
        (lambda f: write_pairs(f, vocabulary='{"a": 0}'), "is not a tokenizer"),
        (lambda f: write_pairs(f, merges="a b c"), "is not a tokenizer"),
    ],
)
def test_a_damaged_tokenizer(tmp_path, spoil, message):
    spoil(tmp_path)
    with pytest.raises(ImportModelError, match=message):
        read_tokenizer(tmp_path)


def write_pairs(folder, vocabulary='{"a": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}', merges=""):
    (folder / "vocab.json").write_text(vocabulary)
    (folder / "merges.txt").write_text(merges)


def test_a_padding_token_that_is_none(tmp_path):
    write_spiece(tmp_path / "spiece.model")
    tokenizer, _ = read_tokenizer(tmp_path)
    assert pad_id(tmp_path, tokenizer, otherwise=7) == 7
    write_json(tmp_path / "tokenizer_config.json", {"pad_token": "<|endoftext|>"})
    with pytest.raises(ImportModelError, match="padding token"):
        pad_id(tmp_path, tokenizer, otherwise=7)
