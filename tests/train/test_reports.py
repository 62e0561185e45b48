"""From reports to texts. Every report here is made up; the real archive is only counted, where it is at hand."""

from __future__ import annotations

import collections
import re
import tarfile
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrzero.train.data.reports import decode_report, report_texts, split_sections, split_sentences
from cxrzero.train.data.reports.asides import is_aside, without_advice
from cxrzero.train.data.reports.marks import unmark

HOSPITAL = """\
                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old woman with cough  // pneumonia?

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  ___

 FINDINGS:

 The lungs are clear.  Heart size is normal.

 IMPRESSION:

 1.  Small left pleural effusion, 2.5 cm in depth.
 2.  No pneumothorax.

 RECOMMENDATION(S):  Repeat in 6 weeks.

 NOTIFICATION:  Dr. ___ was told at 3:15 p.m.
"""


def whole(report, rule="section"):
    return report_texts(report, rule).whole


def test_a_report_of_a_hospital_system():
    texts = report_texts(HOSPITAL)
    assert texts.section == "impression"
    assert texts.whole == "Small left pleural effusion, 2.5 cm in depth. No pneumothorax."
    assert texts.sentences == ("Small left pleural effusion, 2.5 cm in depth.", "No pneumothorax.")
    assert report_texts(HOSPITAL, "section").sentences == ()


def test_the_rule_of_the_paper():
    assert whole(HOSPITAL, "chexzero") == "1. Small left pleural effusion, 2.5 cm in depth. 2. No pneumothorax."
    twice = "IMPRESSION: Old. NOTIFICATION: x\nADDENDUM IMPRESSION:\n New  line. RECOMMENDATIONS: CT NOTIFICATION(S): y"
    assert whole(twice, "chexzero") == "New line."
    # A report without an impression is left out; it is not trained as the words "NO IMPRESSION".
    for report in ("FINDINGS: Clear lungs.", "", "Impression: Clear.", "IMPRESSION: RECOMMENDATION: CT."):
        assert report_texts(report, "chexzero").section is None


@pytest.mark.parametrize(
    "header",
    [
        "IMPRESSION:",
        "Impression:",
        "  IMPRESSION :",
        "IMPRESSION",
        "IMPRESSIONS:",
        "_IMPRESSION_:",
        "*** IMPRESSION ***:",
        "IMPRESSION/RECOMMENDATION:",
        "IMPRESSION AND RECOMMENDATION(S):",
        "Impression and plan:",
        "CONCLUSION:",
        "CONCLUSIONS:",
        "FINDINGS AND IMPRESSION:",
        "FINDINGS/IMPRESSION:",
        "FINAL IMPRESSION:",
        "OPINION:",
        "IMPRESSION (PA and lateral):",
        "IMPRESSION -",
        "CONCLUSION/RECOMMENDATION:",
    ],
)
def test_spellings_of_the_impression(header):
    for report in (f"FINDINGS: Wires.\n\n{header} Clear lungs.", f"FINDINGS:\nWires.\n{header}\n\n  Clear lungs.\n"):
        if report.endswith("lungs.") and header == "IMPRESSION":
            continue  # without a colon a header stands alone on its line
        assert report_texts(report).section == "impression"
        assert whole(report) == "Clear lungs."


@pytest.mark.parametrize(
    ("report", "text"),
    [
        # one line, as in a column of a table
        ("EXAM: CHEST. FINDINGS: Clear. IMPRESSION: Small effusion. NOTIFICATION: told.", "Small effusion."),
        ("Findings: Clear. Impression: Small effusion.", "Small effusion."),
        # the last impression that says something
        ("IMPRESSION: Mass.\nADDENDUM: On review\nIMPRESSION: Nipple shadow.", "Nipple shadow."),
        ("IMPRESSION: Mass.\n\nIMPRESSION:\n", "Mass."),
        ("IMPRESSION: Low volumes. IMPRESSION: EXAM: CHEST FINDINGS: Old. IMPRESSION: Effusion.", "Effusion."),
        # what is not the final reading
        ("WET READ: ___ 5 PM\n Pneumonia.\n____\n FINAL REPORT\n INDICATION: x\n\n IMPRESSION: Clear.", "Clear."),
        ("IMPRESSION: Clear.\nADDENDUM: The left side was meant.", "Clear."),
        ("IMPRESSION: Clear.\nElectronically signed by: A. Doctor", "Clear."),
        # fallback to the findings, by whatever header
        ("INDICATION: cough\nFINDINGS: Clear lungs.\nIMPRESSION:", "Clear lungs."),
        ("INDICATION: cough\n\nPA AND LATERAL CHEST, 5:30 A.M.: Clear lungs.", "Clear lungs."),
        ("HISTORY: cough\n\nTWO VIEWS OF THE CHEST:\n\nClear lungs.", "Clear lungs."),
        # fallback to prose without a header
        ("FINAL REPORT\n AP CHEST, 9:12\n\n HISTORY: cough.\n\n Lungs are clear.", "Lungs are clear."),
        ("Clear lungs", "Clear lungs"),
        ("small effusion. heart size 3.5 cm. no mass", "small effusion. heart size 3.5 cm. no mass"),
        # words that only look like headers
        ("IMPRESSION: Clear. The impression: of a mass is wrong.", "Clear. The impression: of a mass is wrong."),
        ("FINDINGS: Chest  Comparison: There is a mass.", "Chest Comparison: There is a mass."),
    ],
)
def test_sections(report, text):
    assert whole(report) == text


@pytest.mark.parametrize(
    "report",
    [
        "",
        " \n",
        "INDICATION: cough",
        "IMPRESSION:",
        "IMPRESSION: ___.",
        "WET READ: Mass.",
        "COMPARISON: None.\n\nINDICATION: TB",
    ],
)
def test_reports_that_say_nothing_are_skipped(report):
    assert report_texts(report) == report_texts("")
    assert report_texts(report).section is None
    assert report_texts(report).whole == ""


def test_line_ends_of_every_kind():
    assert whole(HOSPITAL.replace("\n", "\r\n")) == whole(HOSPITAL) == whole(HOSPITAL.replace("\n", "\r"))


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("A 2.5 cm mass. It grew 0.3 cm.", ["A 2.5 cm mass.", "It grew 0.3 cm."]),
        (
            "Scar vs. atelectasis, approx. 3 cm. in size. Seen by Dr. J. Smith.",
            ["Scar vs. atelectasis, approx. 3 cm. in size.", "Seen by Dr. J. Smith."],
        ),
        ("No effusion.Heart normal.", ["No effusion.", "Heart normal."]),
        ("1. First.\n2. Second, e.g. a scar.\n3.Third", ["First.", "Second, e.g. a scar.", "Third"]),
        ("1) One 2) Two", ["One", "Two"]),
        ("Fracture of rib 8. Heart normal.", ["Fracture of rib 8.", "Heart normal."]),
        ("Grade 1. Mild.", ["Grade", "Mild."]),  # a heading before "1." cannot be told from this
        ("Chest: 1. Clear. 2. Wires. Knee: 1. Effusion.", ["Chest:", "Clear.", "Wires.", "Knee:", "Effusion."]),
        ("Grade 1.", ["Grade 1."]),
        ("- Clear\n- Wires\n\nStable", ["Clear", "Wires", "Stable"]),
        ("Tubes\nare in place.", ["Tubes are in place."]),
        ("... . ", []),
    ],
)
def test_sentences(text, sentences):
    assert split_sentences(text) == sentences


@pytest.mark.parametrize(
    ("sentence", "readable"),
    [
        ("Normal chest x-XXXX.", "Normal chest x-ray."),
        ("Minimal XXXX scarring.", "Minimal scarring."),
        ("No XXXX of pleural effusion.", "No pleural effusion."),
        ("Wires of the XXXX and spine.", "Wires of the spine."),
        ("Stable since XXXX.", "Stable."),
        ("Enlargement of the XXXX, likely nodes.", "Enlargement, likely nodes."),
        ("In comparison with the study of ___, the effusion has grown.", "The effusion has grown."),
        ("As compared to chest radiograph from ___ at 5:30 a.m., lungs clear.", "Lungs clear."),
        ("Seen [**Name 12**] (XXXX) as a nodule on film.", "Seen as a nodule on film."),
        ("Small effusion<BR>on the left &amp; right", "Small effusion on the left & right"),
        ("AP chest compared to ___ through ___:", "AP chest"),
        ("[<Heart normal>].", "Heart normal."),
        ("The XXXX are intact.", ""),
        ("XXXX XXXX unremarkable.", ""),
        ("Comparison XXXX, XXXX.", ""),
        ("___", ""),
        ("A cross-shaped XX mark, 4X size.", "A cross-shaped XX mark, 4X size."),
    ],
)
def test_marks(sentence, readable):
    assert unmark(sentence) == readable


@pytest.mark.parametrize(
    "sentence",
    [
        "Recommend follow-up in 6 weeks.",
        "CT of the chest is recommended for further evaluation.",
        "Clinical correlation suggested.",
        "Please correlate clinically.",
        "If concern persists, consider CT.",
        "Dr. ___ was notified by telephone.",
        "Findings were discussed with the team.",
        "A message was left.",
        "I have personally reviewed the images.",
        "Critical result notification documented through a system.",
        "Findings were entered in the critical results dashboard.",
        "Short interval follow-up is advised.",
        "Followup radiographs after appropriate therapy are indicated to exclude an underlying abnormality.",
        "Consideration may be given to a followup film.",
        "These could be followed up in 6 months.",
    ],
)
def test_asides(sentence):
    assert is_aside(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "A nodule in the left apex, CT is recommended.",
        "Follow up of a nodule shows growth.",
        "Follow-up film demonstrates a nodule, CT is recommended.",
        "Consolidation is suggested in the left base.",
        "Suggestion of an effusion.",
        "The lungs and pleura are indicated on the film as clear.",
    ],
)
def test_findings_are_not_asides(sentence):
    assert not is_aside(sentence)


@pytest.mark.parametrize(
    ("sentence", "kept"),
    [
        ("Small effusion, clinical correlation recommended.", "Small effusion."),
        ("Suspected pneumonia, for which clinical correlation is recommended", "Suspected pneumonia"),
        ("Tube at the carina; recommend retraction.", "Tube at the carina."),
        ("Nodule of 2.5 cm, and further evaluation by CT may be helpful.", "Nodule of 2.5 cm."),
        ("Follow-up film, there is no change.", "Follow-up film, there is no change."),
        ("Edema, further improved.", "Edema, further improved."),
    ],
)
def test_advice_at_the_end_of_a_finding_is_cut(sentence, kept):
    assert without_advice(sentence) == kept


def test_advice_is_known_by_what_its_marks_leave():
    assert whole("IMPRESSION: Nodule. A XXXX CT is recommended. XXXX imaging would be helpful.") == "Nodule."


@pytest.mark.parametrize("rule", ["sentences", "section", "chexzero"])
def test_the_words_no_impression_are_never_trained(rule):
    for impression in ("NO IMPRESSION", "No impression.", "See above."):
        report = f"FINDINGS: Clear lungs.\nIMPRESSION: {impression}"
        assert whole(report, rule) == ("" if rule == "chexzero" else "Clear lungs.")


def test_sentences_that_mean_nothing_alone_are_not_sampled():
    texts = report_texts("IMPRESSION: Chest. Small effusion. Unchanged. No mass. No mass.")
    assert texts.whole == "Chest. Small effusion. Unchanged. No mass. No mass."
    assert texts.sentences == ("Small effusion.", "No mass.")


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("Ödem".encode(), "utf-8"),
        ("Ödem".encode("utf-8-sig"), "utf-8"),
        ("Ödem".encode("utf-16"), "utf-16"),
        ("Ödem".encode("utf-32"), "utf-32"),
        ("Ödem".encode("latin-1"), "cp1252"),
        ("Ödem – ’s".encode("cp1252"), "cp1252"),
    ],
)
def test_encodings(data, encoding):
    decoded = decode_report(data)
    assert decoded.encoding == encoding
    assert decoded.text.startswith("Ödem")


@pytest.mark.parametrize("data", [b"\x00\x01", b"\x81\x8d", b"\xff\xfe\x00", b"\xef\xbb\xbf\xff"])
def test_bytes_that_are_no_text(data):
    with pytest.raises(ValueError, match=r"text"):
        decode_report(data)


WORDS = st.sampled_from(
    [
        *(
            "IMPRESSION:",
            "FINDINGS:",
            "Findings:",
            "COMPARISON:",
            "FINAL",
            "REPORT",
            "AP",
            "CHEST:",
            "RECOMMENDATION(S):",
        ),
        *(
            "XXXX",
            "___",
            "x-XXXX",
            "The",
            "lungs",
            "are",
            "clear.",
            "normal",
            "effusion,",
            "if",
            "of",
            "in",
            "compared",
            "to",
        ),
        *("1.", "2.", "2.5", "cm", "Dr.", "\n", "\n\n", ":", ".", "(", ")", "&", "<", ">"),
    ]
)


@given(st.lists(WORDS, max_size=60).map(" ".join) | st.text(max_size=300))
def test_any_text_gives_clean_texts(report):
    for rule in ("sentences", "section", "chexzero"):
        texts = report_texts(report, rule)
        assert bool(texts.whole) == (texts.section is not None)
        assert texts.whole == texts.whole.strip()
        assert "NO IMPRESSION" not in texts.whole
        if rule != "chexzero":
            assert "XXXX" not in texts.whole
            assert "___" not in texts.whole
        assert all(any(letter.isalpha() for letter in sentence) for sentence in texts.sentences)
    assert sum(len(section.text) for section in split_sections(report)) <= len(report)


@given(
    st.lists(st.sampled_from(["Clear lungs", "Small left effusion", "No mass", "Heart is 12.5 cm wide"]), min_size=1)
)
def test_a_numbered_list_gives_its_items(items):
    numbered = "\n".join(f"{i}. {item}." for i, item in enumerate(items, 1))
    assert split_sentences(numbered) == [f"{item}." for item in items]


@pytest.mark.parametrize(
    "piece", ["IMPRESSION ", "chest ", "CHEST, ", "XXXX ", "the prior ", "1. ", "if ", "\n\n ", "(", "CT of the "]
)
def test_long_hostile_reports_end(piece):
    """A pattern that tries every way to read so much would run for hours."""
    assert report_texts("IMPRESSION: Clear. " + piece * 20_000).whole.startswith("Clear.")


def test_the_open_i_archive(shared_data):
    """3,955 real reports. Nothing of their text may stand here: counts only."""
    archive = shared_data / "openi_reports.tgz"
    if not archive.is_file():
        pytest.skip("no Open-I archive")
    found: collections.Counter[str | None] = collections.Counter()
    stated: collections.Counter[str | None] = collections.Counter()
    different = set()
    with tarfile.open(archive) as tar:
        for member in tar:
            if not member.name.endswith(".xml"):
                continue
            root = ElementTree.fromstring(tar.extractfile(member).read())
            parts = [(a.get("Label"), (a.text or "").strip()) for a in root.iter("AbstractText")]
            report = "\n\n".join(f"{label}: {text}" for label, text in parts if text)
            texts = report_texts(report)
            found[texts.section] += 1
            different |= {texts.whole, *texts.sentences} - {""}
            said = dict(parts)
            stated["impression"] += bool(said.get("IMPRESSION"))
            stated["findings"] += bool(said.get("FINDINGS"))
            stated["marked impression"] += "XXXX" in (said.get("IMPRESSION") or "")
            stated["paper"] += report_texts(report, "chexzero").section is not None
            stated["no image"] += root.find(".//parentImage") is None
            assert "XXXX" not in texts.whole
            assert not re.search(r"(?i)no impression|notification", texts.whole)
            assert not re.search(r"(?im)(?:^|\. )(?:clinical correlation|further (?:imaging|study))", texts.whole)
            # A report whose impression is there but not taken would be lost.
            assert texts.section == "impression" or not dict(parts).get("IMPRESSION")
    assert found == {"impression": 3922, "findings": 5, None: 28}
    assert stated == {"impression": 3921, "findings": 3425, "marked impression": 672, "paper": 3921, "no image": 104}
    assert len(different) == 4123
