"""Signs that there is no text are no texts: counted, said, left out, in every layout."""

from __future__ import annotations

import pytest
from PIL import Image

from cxrzero.train.data.pairs import read_pairs
from cxrzero.train.data.reports import is_missing, report_texts

SIGNS = (
    *("", " ", "-", "--", "—", ".", "...", "?", "???", "*", "/", "___", "0", "12", "XXXX", "xxx", "[** **]"),
    *("[**Last Name (un)**]", "#N/A", "N/A", "n/a", "NA", "n.a.", "<NA>", "nan", "NaN", "-nan", "NULL", "null", "None"),
    *("none.", "NIL", "-1.#IND", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "todo", "TODO:", "*** TODO ***", "tbd"),
    *("T.B.D.", "pending", "to follow", "see report", "See report.", "(see above)", "as above", "NO IMPRESSION"),
    *("not available", "k.A.", "keine Angabe"),
)
TEXTS = (
    *("No finding", "no findings.", "Normal", "Negative.", "Clear", "NAD", "o.B.", "Unremarkable", "x-ray", "effusion"),
    *("No pneumonia", "Pneumothorax: none", "None of these.", "肺炎", "нет", "TB", "PA", "Null hypothesis"),
    *("See the mass", "The XXXX are intact."),
)


@pytest.mark.parametrize("sign", SIGNS)
def test_signs(sign):
    assert is_missing(sign)


@pytest.mark.parametrize("text", TEXTS)
def test_texts(text):
    assert not is_missing(text)


def test_a_table(tmp_path):
    rows = [*SIGNS, *TEXTS]
    lines = ["image,text"]
    for number, text in enumerate(rows):
        Image.new("L", (8, 8)).save(tmp_path / f"{number}.png")
        quoted = text.replace('"', '""')
        lines.append(f'{number}.png,"{quoted}"')
    (tmp_path / "p.csv").write_text("\n".join(lines) + "\n", "utf-8")
    pairs = read_pairs(tmp_path / "p.csv")
    assert pairs.texts == list(TEXTS)
    assert pairs.intake.missing_texts == len(SIGNS)
    assert len(pairs.intake.silent) == len(SIGNS)
    assert f"left out {len(SIGNS)} missing texts (blank, '-', '#N/A', 'todo' and the like)" in pairs.intake.summary(
        19, 0
    )


def test_a_folder(tmp_path):
    for name, text in {"a": "-", "b": "todo", "c": "Clear.", "d": "IMPRESSION: Mass.", "e": ""}.items():
        Image.new("L", (8, 8)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(text, "utf-8")
    pairs = read_pairs(tmp_path)
    assert pairs.images == ["c.png", "d.png"]
    assert pairs.intake.missing_texts == 3


@pytest.mark.parametrize("sign", ["-", "N/A", "TBD.", "xxx", "See report.", "?", "___", "None.", "See above. TBD."])
def test_a_section_that_holds_only_a_sign_gives_way_to_the_next(sign):
    texts = report_texts(f"COMPARISON: None.\nFINDINGS: Small effusion.\nIMPRESSION: {sign}\n")
    assert (texts.section, texts.whole) == ("findings", "Small effusion.")
    assert report_texts(f"FINDINGS: {sign}\nIMPRESSION: {sign}\n").section is None


def test_an_answer_beside_others_is_no_text_of_its_own():
    texts = report_texts("IMPRESSION: Small effusion. TBD. No finding.")
    assert texts.sentences == ("Small effusion.", "No finding.")
