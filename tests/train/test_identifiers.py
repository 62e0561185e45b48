"""What probably tells a patient: found where it is marked, not where a radiologist measures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cxrzero.cli import app
from cxrzero.train.data.identifying import identifying
from cxrzero.train.data.reports.identifiers import kinds_of, marked_names


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Mrs. Featherstonehaugh shows an effusion.", ["names"]),
        ("dr przybylski was told", ["names"]),
        ("FRAU WOJCIECHOWSKA: KEIN ERGUSS", ["names"]),
        ("Name: Quattlebaum, Xanthippe", ["names"]),
        ("Read by J. Smith", ["names"]),
        ("Signed by: Ann Miller MD", ["names"]),
        ("Patient Özdemiroğlu has a mass", ["names"]),
        ("film of 12.03.2019", ["dates"]),
        ("as on 2019-03-12", ["dates"]),
        ("as on 3/12/19", ["dates"]),
        ("on 12 March 2019", ["dates"]),
        ("on Mar 12th, 2019", ["dates"]),
        ("born 1950", ["dates"]),
        ("MRN 4471", ["record numbers"]),
        ("accession 19500312", ["record numbers"]),
        ("case A7Q93", ["record numbers"]),
        ("123-45-6789", ["record numbers", "contacts"]),
        ("call 555-0147", ["contacts"]),
        ("mail a.b@example.org", ["contacts"]),
        ("Effusion of 2.5 x 3.1 cm, 12 mm thick, 4-5 mm nodule.", []),
        ("T12 compression fracture, ribs 5-6-7; 8 Fr catheter at the level of T4.", []),
        ("No change at 3:15 p.m.", []),
        ("Right PICC tip in the SVC. MS, COPD.", []),
        ("The patient is rotated. If clinically indicated, CT.", []),
        ("Small left effusion; PA and lateral views.", []),
    ],
)
def test_kinds(text, kinds):
    assert kinds_of(text) == kinds


def test_the_words_of_a_name():
    assert marked_names("Dr Xanthippe von Quattlebaum-Smith was told of it") == {
        "xanthippe",
        "von",
        "quattlebaum",
        "smith",
    }
    assert "featherstonehaugh" in marked_names("mrs featherstonehaugh shows an effusion")


def test_a_rare_word_with_a_capital_is_probably_a_name():
    texts = ["An effusion in Ottoline here.", "Kerley lines are seen here.", "The effusion is small.", "no effusion"]
    assert identifying(texts) == {"names": [0]}
    # In German every noun has one: capitals say nothing.
    assert identifying(["Der Befund zeigt ein Infiltrat und einen Erguss", "Die Lunge hat ein Infiltrat"]) == {}


def test_check_warns_of_them_by_place_and_never_says_them(tmp_path):
    pytest.importorskip("torch")
    texts = ["Mrs Featherstonehaugh: effusion", "seen 12.03.1950", "MRN4471928", "clear lungs", "mass"]
    lines = ["image,text"]
    for number, text in enumerate(texts):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 40), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{text}")
    (tmp_path / "p.csv").write_text("\n".join(lines) + "\n", "utf-8")
    options = ["--check", "--arch", "cxrzero-tiny", "--batch-size", "4", "-o", str(tmp_path / "run")]
    result = CliRunner().invoke(app, ["train", str(tmp_path / "p.csv"), *options])
    assert result.exit_code == 0, result.output
    for kind, line in (("names", 2), ("dates", 3), ("record numbers", 4)):
        assert f"1  text probably has {kind} (line {line})" in result.output
    found = (tmp_path / "run" / "check.json").read_text("utf-8")
    for secret in ("Featherstonehaugh", "1950", "4471928"):
        assert secret not in result.output
        assert secret not in found
    assert "Featherstonehaugh" in (tmp_path / "run" / "check.html").read_text("utf-8")  # where one looks at texts
