"""What a tokenizer learns from reports: words that many patients share, and nothing that tells one of them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

from cxrzero.train.data.vocabulary import learn_tokenizer, private_tokens
from cxrzero.train.data.words import MIN_IMAGES, MIN_PATIENTS, learnable_words


def pairs(texts, patients=None, images=None):
    """An image for each text, of its own patient."""
    count = len(texts)
    distinct = list(dict.fromkeys(texts))
    return SimpleNamespace(
        texts=distinct,
        true_texts=[np.array([distinct.index(text)]) for text in texts],
        patients=[f"p{n}" for n in range(count)] if patients is None else patients,
        images=images or [f"{n}.png" for n in range(count)],
    )


def learned(texts, **facts):
    return learnable_words(pairs(texts, **facts)).words


def test_a_word_has_to_be_said_of_several_patients():
    texts = ["osseous spurring"] * MIN_PATIENTS + ["osseous xyz"] * (MIN_PATIENTS - 1)
    assert learned(texts) == {"osseous", "spurring"}
    one = ["p"] * MIN_PATIENTS + [f"q{n}" for n in range(MIN_PATIENTS - 1)]
    assert learned(texts, patients=one) == {"osseous"}  # films enough say "spurring", all of them one patient's


def test_where_a_patient_is_unknown_more_images_are_asked_for():
    texts = ["osseous spurring"] * (MIN_IMAGES - 1) + ["spurring"]
    found = learnable_words(pairs(texts, patients=["p"] * (MIN_IMAGES - 1) + [""]))
    assert found.words == {"spurring"}
    assert found.to_dict() == {"words_of_at_least": f"{MIN_IMAGES} images", "learned": 1, "left_out": 1}


@pytest.mark.parametrize("write", [str, str.upper], ids=["small letters", "capitals"])
def test_a_surname_of_several_patients_that_nothing_marks_is_not_learned(write):
    """An English word needs MIN_PATIENTS, any other five times as many: 25 of these 100 patients."""
    texts = [write(f"{'przybylski' if n % 100 < 24 else 'nobody'} has spurring") for n in range(100)]
    assert "przybylski" not in learned(texts)
    assert "spurring" in learned(texts)
    assert "jargonesque" in learned([write("jargonesque spurring")] * 25)


def test_of_many_patients_a_word_that_is_not_english_is_learned_from_one_in_a_hundred():
    texts = ["spurring"] * 4960 + ["przybylski spurring"] * 49 + ["jargonesque spurring"] * 51
    assert learned(texts) == {"spurring", "jargonesque"}  # 1% of 5,060 are 51


def test_an_e_mail_address_teaches_no_word():
    assert learned(["spurring, ask osseous.small@spurring.example"] * 50) == {"spurring", "ask"}


def test_what_the_bank_says_is_known_to_everybody():
    assert learned(["pleural effusion in ottoline"]) == {"pleural", "effusion", "in"}


@pytest.mark.parametrize(
    "text",
    [
        "Przybylski shows spurring",
        "seen in Przybylski with spurring",
        "spurring as Mrs Przybylski has it",
        "mrs przybylski: spurring",
        "spurring told to dr. przybylski at once",
        "MR PRZYBYLSKI: SPURRING",
        "HERR PRZYBYLSKI, SPURRING",
        "spurring, read by przybylski",
        "name: przybylski, spurring",
    ],
)
def test_a_name_is_not_learned_however_many_have_it(text):
    found = learned([text] * 50)
    assert "spurring" in found
    assert "przybylski" not in found


def test_a_word_that_is_rarely_a_name_is_learned():
    assert "small" in learned(["mrs small"] * 5 + [f"small spurring {n}" for n in range(20)])


def test_texts_in_capitals_count_where_there_is_nothing_else():
    assert learned(["SPURRING"] * 9) == {"spurring"}
    assert learned(["SPURRING"] * 9 + [f"osseous {n}" for n in range(9)]) == {"osseous"}


def texts_about(name, date, number):
    about = [f"Mrs. {name} has spurring.", f"spurring seen by dr {name.lower()} on {date}", f"record {number}: {name}"]
    return [f"{text} The osseous changes of ribs, {n} mm." for n in range(30) for text in about]


def test_no_byte_of_a_vocabulary_depends_on_names_dates_and_numbers():
    files = []
    for told in (("Przybylski", "12.03.1950", "4471928"), ("Özdemiroğlu", "1981-11-30", "MRN90017")):
        texts = texts_about(*told)
        files.append(learn_tokenizer(texts, 2000, learned(texts)).to_str())
    # How often a text is seen weighs nothing: all that differs is left out.
    assert files[0] == files[1]
    tokens = json.loads(files[0])["model"]["vocab"]
    assert {"Ġspurring", "Ġosseous"} <= tokens.keys()
    assert not [token for token in tokens if len(token) > 1 and any(map(str.isdigit, token))]


def test_merges_come_from_learned_words_only():
    """A piece of a name is a piece of it, too."""
    texts = texts_about("Quattlebaum", "12.03.1950", "4471928")
    words = learned(texts)
    model = json.loads(learn_tokenizer(texts, 2000, words).to_str())["model"]
    for left, right in model["merges"]:
        piece = (left + right).removeprefix("Ġ")
        assert any(piece in word for word in words) or not any(map(str.isalnum, piece)), piece


def test_every_text_is_encoded_and_comes_back():
    tokenizer = learn_tokenizer(["no effusion"] * 3, 400, {"no", "effusion"})
    for text in ("mrs özdemiroğlu, 12.03.1950", "肺炎 3½ cm²", "no effusion", "x-ray: 50% (2 of 4)"):
        encoding = tokenizer.encode(text)
        assert tokenizer.decode(encoding.ids).strip() == tokenizer.normalizer.normalize_str(text)
    assert tokenizer.encode("No  effusion").tokens == ["[SOT]", "Ġno", "Ġeffusion", "[EOT]"]


def test_with_every_word_allowed_it_is_the_plain_tokenizer():
    """What is left out changes nothing of what stays."""
    texts = ["no pleural effusion, x-ray", "pleural effusion (left)"] * 3
    every = {"no", "pleural", "effusion", "x", "ray", "left"}
    longer = [text + " 1950 przybylski" for text in texts]
    assert learn_tokenizer(texts, 500, every).to_str() == learn_tokenizer(longer, 500, every).to_str()


def test_an_earlier_vocabulary_is_looked_at():
    old = learn_tokenizer(["mrs przybylski", "no effusion"], 500, {"mrs", "przybylski", "no", "effusion"})
    assert private_tokens(old, {"przybylski"}) == 1
    assert private_tokens(learn_tokenizer(["no effusion"], 500, {"no", "effusion"}), {"przybylski"}) == 0
