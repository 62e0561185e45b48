"""Every layout of images and reports, drawn: what is read, what is passed over, what is refused."""

from __future__ import annotations

import gzip
import os

import numpy as np
import pytest
from PIL import Image

from cxrzero.errors import NoInputError, UsageError
from cxrzero.train.data.layouts import read_source
from cxrzero.train.data.layouts.reportfile import MAX_REPORT_BYTES
from cxrzero.train.data.pairs import gather_pairs, read_pairs
from cxrzero.train.data.split import is_held_out


def draw(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8)).save(path, format="PNG")


def say(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))


def texts_of(pairs):
    return {image: [pairs.texts[t] for t in true] for image, true in zip(pairs.images, pairs.true_texts, strict=True)}


# --- table


def test_a_table_of_reports_as_text_and_as_files(tmp_path):
    for name in "abc":
        draw(tmp_path / f"{name}.png")
    say(tmp_path / "r" / "b.txt", "IMPRESSION: Schüttere Dichte.", "cp1252")
    (tmp_path / "p.csv").write_text(
        "image,report,patient_id,study_id,weight\n"
        'a.png,"FINDINGS: Old.\nIMPRESSION: Small effusion. No mass.",1,s1,2\n'
        "b.png,r/b.txt,2,s2,1\n"
        "c.png,INDICATION: cough,3,s3,1\n",
        "utf-8",
    )
    pairs = read_pairs(tmp_path / "p.csv")
    assert texts_of(pairs) == {
        "a.png": ["Small effusion. No mass.", "Small effusion.", "No mass."],
        "b.png": ["Schüttere Dichte."],
    }
    assert pairs.weights[0].tolist() == [2, 1, 1]
    assert pairs.intake.layout == "table"
    assert pairs.intake.sections == {"impression": 2, "nothing": 1}
    assert pairs.intake.encodings == {"cp1252": 1}
    assert pairs.intake.silent == [f"{tmp_path / 'p.csv'}, line 5"]
    assert read_pairs(tmp_path / "p.csv", text_rule="chexzero").texts == [
        "Small effusion. No mass.",
        "Schüttere Dichte.",
    ]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("image,text,report", "both a column text and a column report"),
        ("image,text,text", "column text twice"),
        ("path,caption", r"lacks the column image and text \(or report\); its first line has: path, caption"),
    ],
)
def test_wrong_headers(tmp_path, header, message):
    (tmp_path / "p.csv").write_text(f"{header}\n", "utf-8")
    with pytest.raises(UsageError, match=message):
        read_pairs(tmp_path / "p.csv")


def test_everything_that_is_missing_is_named_at_once(tmp_path):
    for name in "ab":
        draw(tmp_path / f"{name}.png")
    say(tmp_path / "nul.txt", b"\0\0")
    (tmp_path / "p.csv").write_text(
        "image,report\na.png,Clear.\nb.png,Clear too.\nno1.png,x\nno2.png,y\na.png,gone.txt\nb.png,nul.txt\n", "utf-8"
    )
    with pytest.raises(UsageError) as raised:
        read_pairs(tmp_path / "p.csv")
    for part in (
        "2 image files",
        "no1.png",
        "no2.png",
        "2 reports cannot be read",
        "gone.txt: No such file",
        "nul.txt: it holds NUL",
    ):
        assert part in str(raised.value)
    assert "--skip-unreadable" in str(raised.value)
    assert read_pairs(tmp_path / "p.csv", skip_unreadable=True).images == ["a.png", "b.png"]


# --- folder


def test_a_folder_of_images_and_texts(tmp_path):
    draw(tmp_path / "x" / "a.png")
    draw(tmp_path / "x" / "b.v2.PNG")
    draw(tmp_path / "y" / "a")  # no suffix: an image by its content
    draw(tmp_path / "y" / "lonely.png")
    say(tmp_path / "x" / "a.txt", "IMPRESSION: One.")
    say(tmp_path / "x" / "b.v2.txt", "a caption without headers")
    say(tmp_path / "y" / "a.txt", "Three")
    say(tmp_path / "y" / "readme.txt", "Not a report.")
    pairs = read_pairs(tmp_path)
    assert texts_of(pairs) == {"x/a.png": ["One."], "x/b.v2.PNG": ["a caption without headers"], "y/a": ["Three"]}
    assert pairs.intake.layout == "folder"
    assert pairs.intake.counts == {"images without a text file": 1, "text files without an image": 1}


def test_links_that_lead_back_end(tmp_path):
    for name in "ab":
        draw(tmp_path / f"{name}.png")
        say(tmp_path / f"{name}.txt", name)
    os.symlink(tmp_path, tmp_path / "again")
    assert read_pairs(tmp_path).images == ["a.png", "b.png"]


# --- MIMIC-CXR


def mimic(root, patients=("10000001", "10000002", "11000003")):
    for number, patient in enumerate(patients):
        folder = root / "files" / f"p{patient[:2]}" / f"p{patient}"
        say(folder / f"s5000000{number}.txt", f" FINAL REPORT\n\n IMPRESSION:\n\n Study {number}.\n")
        draw(folder / f"s5000000{number}" / "one.jpg")
        draw(folder / f"s5000000{number}" / "two.jpg")
    return root


def test_the_layout_of_mimic(tmp_path):
    root = mimic(tmp_path)
    draw(root / "files" / "p10" / "p10000001" / "s50000000" / "one.dcm")
    say(root / "files" / "p10" / "p10000001" / "s59999999.txt", "IMPRESSION: No image.")
    pairs = read_pairs(root)
    assert pairs.intake.layout == "mimic"
    assert pairs.images[:2] == ["p10/p10000001/s50000000/one.dcm", "p10/p10000001/s50000000/two.jpg"]
    assert pairs.patients == ["p10000001"] * 2 + ["p10000002"] * 2 + ["p11000003"] * 2
    assert pairs.texts == ["Study 0.", "Study 1.", "Study 2."]
    assert pairs.intake.counts == {"reports without an image": 1}
    assert pairs.intake.sections == {"impression": 3}
    assert read_pairs(root / "files").images == pairs.images


def test_mimic_s_images_below_another_root_and_its_own_split(tmp_path):
    root, images = mimic(tmp_path / "reports"), tmp_path / "jpg"
    (root / "files").rename(tmp_path / "all")
    mimic(root)
    for study in (root / "files").glob("p*/p*/s*/"):
        target = images / study.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        study.rename(target)
    with gzip.open(images / "mimic-cxr-2.0.0-split.csv.gz", "wt") as file:
        file.write("dicom_id,study_id,subject_id,split\n")
        file.write("one,50000000,10000001,train\none,50000001,10000002,validate\none,50000002,11000003,test\n")
    pairs = read_pairs(root, images)
    assert pairs.validation.tolist() == [False, False, True, True]
    assert pairs.intake.split_by == "source"
    assert pairs.intake.counts == {"studies of the archive's test split, left out": 1}
    with pytest.raises(UsageError, match="states a split"):
        read_pairs(root, images, val_fraction=0.1)


# --- Open-I

XML = """<?xml version="1.0" encoding="utf-8"?>
<eCitation><uId id="CXR{n}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="COMPARISON">None.</AbstractText><AbstractText Label="INDICATION"/>
<AbstractText Label="FINDINGS">Lungs &lt; clear.</AbstractText><AbstractText Label="IMPRESSION">{text}</AbstractText>
</Abstract></Article></MedlineCitation>{images}</eCitation>"""


def openi(root, n, text, *images):
    named = "".join(f'<parentImage id="{image}"><caption>Chest</caption></parentImage>' for image in images)
    say(root / "ecgen-radiology" / f"{n}.xml", XML.format(n=n, text=text, images=named))


def test_the_layout_of_open_i(tmp_path):
    openi(tmp_path, 1, "Normal chest x-XXXX.", "CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001")
    openi(tmp_path, 2, "", "CXR2_IM-0652-1001")
    openi(tmp_path, 3, "Nothing to see.")
    draw(tmp_path / "png" / "CXR1_1_IM-0001-3001.png")
    draw(tmp_path / "dcm" / "1" / "1_IM-0001-4001.dcm")  # named so in the archive of DICOM files
    draw(tmp_path / "png" / "CXR2_IM-0652-1001.png")
    pairs = read_pairs(tmp_path)
    assert pairs.intake.layout == "openi"
    assert texts_of(pairs) == {
        "CXR1_1_IM-0001-3001": ["Normal chest x-ray."],
        "CXR1_1_IM-0001-4001": ["Normal chest x-ray."],
        "CXR2_IM-0652-1001": ["Lungs < clear."],
    }
    assert pairs.patients == ["CXR1", "CXR1", "CXR2"]
    assert pairs.intake.counts == {"reports without an image": 1}
    assert pairs.intake.sections == {"impression": 1, "findings": 1}


def test_open_i_images_that_are_nowhere_are_named(tmp_path):
    openi(tmp_path, 1, "One.", "CXR1_a", "CXR1_b")
    with pytest.raises(UsageError, match=r"(?s)2 image files that do not exist:.*CXR1_a\.png.*CXR1_b\.png"):
        read_pairs(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><eCitation>&b;</eCitation>',
            "document type or entities",
        ),
        ("<!doctype x><eCitation/>", "document type or entities"),
        ('<?xml version="1.0"?><!DOCTYPE x SYSTEM "file:///etc/passwd"><eCitation/>', "document type or entities"),
        ("<eCitation><a></eCitation>", "not well-formed"),
        ('<?xml version="1.0" encoding="klingon"?><eCitation/>', "not well-formed"),
        ("<eCitation>" + "x" * MAX_REPORT_BYTES + "</eCitation>", "over 1 MB"),
        ("<eCitation>\0</eCitation>", "UTF-16"),
    ],
)
def test_hostile_xml_is_refused_and_named(tmp_path, data, message):
    for n in (1, 2):
        openi(tmp_path, n, "One.", f"CXR{n}_a")
        draw(tmp_path / f"CXR{n}_a.png")
    say(tmp_path / "bad.xml", data)
    with pytest.raises(UsageError, match=message) as raised:
        read_pairs(tmp_path)
    assert "bad.xml" in str(raised.value)
    assert len(read_pairs(tmp_path, skip_unreadable=True).images) == 2


def test_deeply_nested_xml_does_no_harm(tmp_path):
    openi(tmp_path, 1, "One.", "CXR1_a")
    draw(tmp_path / "CXR1_a.png")
    say(tmp_path / "deep.xml", "<eCitation>" + "<a>" * 100_000 + "</a>" * 100_000 + "</eCitation>")
    assert gather_pairs(tmp_path).images == ["CXR1_a"]


# --- recognition


def test_a_folder_with_the_marks_of_two_layouts_is_refused(tmp_path):
    mimic(tmp_path)
    draw(tmp_path / "a.png")
    say(tmp_path / "a.txt", "Clear.")
    with pytest.raises(UsageError, match="layouts mimic and folder; choose one with --layout"):
        read_pairs(tmp_path)
    assert len(read_pairs(tmp_path, layout="mimic").images) == 6


@pytest.mark.parametrize("make", ["nothing", "images", "texts", "csv"])
def test_a_folder_that_is_no_layout(tmp_path, make):
    if make == "images":
        draw(tmp_path / "a.png")
    elif make != "nothing":
        say(tmp_path / ("a.txt" if make == "texts" else "pairs.csv"), "image,text\n")
    with pytest.raises(NoInputError, match=r"the layout of .* is not known") as raised:
        read_source(tmp_path)
    assert ("pairs.csv" in str(raised.value)) == (make == "csv")


def test_sources_that_are_not_there(tmp_path):
    with pytest.raises(NoInputError, match="does not exist"):
        read_source(tmp_path / "gone")
    draw(tmp_path / "a.png")
    say(tmp_path / "a.txt", "x")
    with pytest.raises(NoInputError, match="is not a folder"):
        read_source(tmp_path, tmp_path / "a.txt")
    with pytest.raises(UsageError, match="that of a folder"):
        read_source(tmp_path / "a.txt", layout="mimic")
    with pytest.raises(NoInputError, match=r"in the layout mimic"):
        read_source(tmp_path, layout="mimic")


def test_reports_that_all_say_nothing(tmp_path):
    for name in "ab":
        draw(tmp_path / f"{name}.png")
        say(tmp_path / f"{name}.txt", "INDICATION: cough")
    with pytest.raises(UsageError, match=r"0 training images \(2 reports say nothing\)"):
        read_pairs(tmp_path)


# --- validation by patient


def test_the_validation_part_is_by_patient_and_stable(tmp_path):
    rows = "".join(f"{n}.png,t{n},p{n // 2}\n" for n in range(40))
    for n in range(40):
        draw(tmp_path / f"{n}.png")
    (tmp_path / "p.csv").write_text("image,text,patient_id\n" + rows, "utf-8")
    few, more = (read_pairs(tmp_path / "p.csv", val_fraction=f) for f in (0.2, 0.6))
    assert few.validation.any()
    assert not (few.validation & ~more.validation).any()  # a larger fraction keeps those that were held out
    assert np.array_equal(few.validation[::2], few.validation[1::2])
    assert few.intake.split_by == "patient"
    assert few.rows_sha256 != more.rows_sha256
    assert not read_pairs(tmp_path / "p.csv").validation.any()


def test_the_held_out_fraction():
    keys = [f"patient {n}" for n in range(4000)]
    held = [is_held_out(key, 0.25) for key in keys]
    assert 0.22 < sum(held) / len(held) < 0.28
    assert held != [is_held_out(key, 0.25, seed=1) for key in keys]
    assert not any(is_held_out(key, 0) for key in keys)
    assert is_held_out("patient 3", 0.5) is is_held_out("patient 3", 0.5)


def test_without_patients_studies_or_images_are_held_out(tmp_path):
    for name in "abcdefgh":
        draw(tmp_path / f"{name}.png")
        say(tmp_path / f"{name}.txt", "Clear.")
    assert read_pairs(tmp_path, val_fraction=0.4).intake.split_by == "image"
    with pytest.raises(UsageError, match="val_fraction"):
        read_pairs(tmp_path, val_fraction=1)


def test_what_systems_leave_beside_films_is_neither_film_nor_report(tmp_path):
    for name in "ab":
        draw(tmp_path / "in" / f"{name}.png")
        say(tmp_path / "in" / f"{name}.txt", "IMPRESSION: Small effusion.")
    for name in ("._a.png", "._a.txt", "__MACOSX/in/._a.png", "__MACOSX/in/._a.txt"):
        say(tmp_path / "in" / name, b"\0\5\x16\7")
    draw(tmp_path / "in" / "@eaDir" / "a.png")
    say(tmp_path / "in" / "@eaDir" / "a.txt", "IMPRESSION: Large effusion.")
    pairs = read_pairs(tmp_path / "in")
    assert texts_of(pairs) == {"a.png": ["Small effusion."], "b.png": ["Small effusion."]}
    assert pairs.intake.counts.get("text files without an image", 0) == 0
    assert pairs.intake.counts.get("images without a text file", 0) == 0
