"""Findings are coded as the table in docs/dicom-sr.md says; `python -m tests.dicom_out.test_codes` writes it again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.sr.codedict import codes

from cxrzero.dicom_out import codes as ours
from cxrzero.dicom_out.codes import SCHEME, SNOMED, Codes, code_of_entry, read_codes
from cxrzero.errors import ConfigError, NoInputError
from cxrzero.prompts.bank import built_in_bank
from tests.support import REPO

PAGE = REPO / "docs" / "dicom-sr.md"
TABLE = re.compile(r"(?<=<!-- codes -->\n\n).*?(?=\n\n<!-- end of codes -->)", re.DOTALL)


def table() -> str:
    """The table of the codes, as the page has it."""
    return "\n".join(["| finding | code | scheme | meaning |", "|---|---|---|---|", *lines()])


def lines() -> Iterator[str]:
    bank = built_in_bank()
    for name in bank.names:
        code = code_of_entry(bank.entries[name])
        yield f"| {name} | {code.value} | {code.scheme_designator} | {code.meaning} |"
    for code in (ours.MODEL_PROBABILITY, ours.CALIBRATED_PROBABILITY, ours.MAP_HEIGHT):
        yield f"| | {code.value} | {code.scheme_designator} | {code.meaning} |"


def test_the_page_has_the_codes_of_the_program() -> None:
    found = TABLE.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert found[0] == table()


def test_snomed_is_as_pydicom_has_it() -> None:
    theirs = {(code.value, code.meaning) for code in codes.SCT.concepts.values()}
    for finding, (value, meaning) in SNOMED.items():
        assert finding in built_in_bank().names
        assert (value, meaning) in theirs


def test_no_two_findings_share_a_code() -> None:
    bank = built_in_bank()
    values = [code_of_entry(bank.entries[name]).value for name in bank.names]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("label", ["pleural effusion", "Pleural_Effusion", "effusion", "pleural fluid"])
def test_every_name_of_a_finding_has_its_code(label: str) -> None:
    assert Codes()(label) == ("60046008", "SCT", "Pleural effusion")


def test_other_words_have_a_code_of_their_own() -> None:
    code = Codes()("A  shadow,\tleft")
    assert (code.scheme_designator, code.meaning) == (SCHEME, "A  shadow,/tleft")  # no backslash in a long string
    assert re.fullmatch("F-[0-9A-F]{12}", code.value)
    assert code.value == Codes()("a shadow, LEFT").value
    assert code.value != Codes()("a shadow, right").value
    assert Codes()("p>5").value != Codes()("p<5").value


def test_the_users_own_codes_go_first(tmp_path: Path) -> None:
    path = tmp_path / "codes.csv"
    path.write_text(
        'label,value,scheme,meaning\nPneumonia,233604007,SCT,Pneumonia\n"shadow, left",X-1,99LOCAL,"Schatten, links"\n',
        encoding="utf-8",
    )
    found = read_codes(path)
    assert found("pneumonia") == ("233604007", "SCT", "Pneumonia")
    assert found("Shadow, left") == ("X-1", "99LOCAL", "Schatten, links")
    assert found("pneumothorax").value == "36118008"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("label,value,scheme\nmass,1,SCT\n", "has no column 'meaning'"),
        ("label,value,scheme,meaning\nmass,1,,Mass\n", "data row 1 lacks one of"),
        (
            "label,value,scheme,meaning\nmass,1,SCT,Mass\nMass,2,SCT,Mass\n",
            "data row 2: the label 'Mass' has a code",
        ),
        (f"label,value,scheme,meaning\nmass,{'1' * 65},SCT,Mass\n", "at most 64 characters"),
        ("label,value,scheme,meaning\nmass,1,A-SCHEME-TOO-LONG,Mass\n", "a scheme 16"),
        ("label,value,scheme,meaning\nmass,1\\2,SCT,Mass\n", "backslash"),
        ("label,value,scheme,meaning\nmass,Ü1,SCT,Mass\n", "letters of ASCII only"),
    ],
)
def test_codes_that_dicom_cannot_have_are_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "codes.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(said)):
        read_codes(path)
    with pytest.raises(NoInputError):
        read_codes(tmp_path / "none.csv")


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: table(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
