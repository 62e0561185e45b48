"""The vocabulary that a user brings: found, read as transformers reads it, checked against the word embedding."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from cxrzero.convert import load_model  # noqa: E402
from cxrzero.convert.source import Source  # noqa: E402
from cxrzero.convert.vocabulary import read_vocabulary  # noqa: E402
from cxrzero.errors import ImportModelError, NoInputError, UsageError  # noqa: E402
from tests.support.checkpoints import clip, hf_folder, save, word_tokenizer  # noqa: E402

ORIGIN = "emilyalsentzer/Bio_ClinicalBERT"
# A line separator and a next line are tokens of published vocabularies, where str.splitlines would break.
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "no", "edema", "Edema", "##s", "\u2028", "\x85", "(", ")", "é"]
TEXTS = ["no Edema", "EDEMAS (no) [SEP] é", "unknown", "  no\u2028edema\n"]


def source(folder, tokenizer=None):
    return Source(folder / "weights.pt", tokenizer, None)


@pytest.fixture
def vocabulary(tmp_path):
    (tmp_path / "vocab.txt").write_bytes("".join(f"{token}\n" for token in TOKENS).encode())
    return tmp_path / "vocab.txt"


@pytest.mark.parametrize("lower_case", [True, False])
def test_vocab_txt_is_read_as_transformers_reads_it(vocabulary, tmp_path, lower_case):
    ours = read_vocabulary(source(tmp_path), len(TOKENS), lower_case=lower_case, origin=ORIGIN)
    theirs = transformers.BertTokenizer(str(vocabulary), do_lower_case=lower_case)
    assert [ours.encode(text).ids for text in TEXTS] == theirs(TEXTS)["input_ids"]
    assert ours.token_to_id("é") == 13


def test_a_file_or_folder_that_is_named_comes_before_what_lies_beside(vocabulary, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    tokens = word_tokenizer(other / "tokenizer.json")
    for named in (other, other / "tokenizer.json"):
        found = read_vocabulary(source(tmp_path, named), tokens, lower_case=False, origin=ORIGIN)
        assert found.get_vocab_size() == tokens != len(TOKENS)
        assert "[UNK]" in found.encode("Pneumonia").tokens, "its case is the authors' call's, not the file's"


def test_what_is_missing_or_foreign_is_said_with_where_to_get_it(vocabulary, tmp_path):
    with pytest.raises(ImportModelError, match=rf"14 tokens and the text tower 28,996.*{ORIGIN}"):
        read_vocabulary(source(tmp_path), 28996, lower_case=True, origin=ORIGIN)
    vocabulary.write_text("a\nb\n")
    with pytest.raises(ImportModelError, match=r"not a vocabulary of BERT's: it has no \[PAD\]"):
        read_vocabulary(source(tmp_path), 2, lower_case=True, origin=ORIGIN)
    vocabulary.write_bytes(b"\xff\xfe")
    with pytest.raises(ImportModelError, match="is not a vocabulary"):
        read_vocabulary(source(tmp_path), 2, lower_case=True, origin=ORIGIN)
    vocabulary.unlink()
    with pytest.raises(ImportModelError, match=rf"neither vocab.txt nor tokenizer.json.*{ORIGIN}.*--tokenizer"):
        read_vocabulary(source(tmp_path), 2, lower_case=True, origin=ORIGIN)
    with pytest.raises(NoInputError, match="--tokenizer takes"):
        read_vocabulary(source(tmp_path, tmp_path / "none"), 2, lower_case=True, origin=ORIGIN)


def test_a_source_with_a_tokenizer_of_its_own_takes_no_other(tmp_path):
    file, (folder, _) = save(clip(), tmp_path / "x.pt"), hf_folder(tmp_path, "clip")
    for path, card in ((file, "chexzero"), (folder, None)):
        with pytest.raises(UsageError, match="leave out --tokenizer"):
            load_model(path, card, tokenizer=folder)
