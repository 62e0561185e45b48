from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cxrzero.errors import LabelError
from cxrzero.model.model_json import Templates
from cxrzero.prediction import FIXED_COLUMNS
from cxrzero.prompts import LabelPrompts, build_prompts, parse_labels
from cxrzero.prompts.labels import listed


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("pneumonia,edema", ("pneumonia", "edema")),
        (" pneumonia , edema ", ("pneumonia", "edema")),
        ('"mass, left",edema', ("mass, left", "edema")),
        ('edema, "mass, left"', ("edema", "mass, left")),
        ('"say ""hilum"""', ('say "hilum"',)),
        ("Lungenödem", ("Lungenödem",)),
        ("pneumonia; edema", ("pneumonia", "edema")),
        ("pneumonia\tedema", ("pneumonia", "edema")),
        ("pneumonia\r\nedema\n\nmass\n", ("pneumonia", "edema", "mass")),
        ("Atelectasis|Effusion", ("Atelectasis", "Effusion")),
        ("肺炎、胸水，気胸；結節", ("肺炎", "胸水", "気胸", "結節")),
        ('"mass; left";edema', ("mass; left", "edema")),
        ("“mass, left”,edema", ("mass, left", "edema")),
        ("„mass; left“;edema", ("mass; left", "edema")),
        ("edema,“quoted” lung", ("edema", "“quoted” lung")),
        ('5" tube,edema', ('5" tube', "edema")),
        ("pneumonia/edema", ("pneumonia/edema",)),
    ],
)
def test_comma_lists(text: str, labels: tuple[str, ...]) -> None:
    assert parse_labels(text) == labels


@given(st.lists(st.text(st.sampled_from("ab \"',;|，；“”x"), min_size=1), min_size=1, max_size=4))
def test_what_is_listed_is_read_again(labels: list[str]) -> None:
    wanted = tuple(label.strip() for label in labels)
    assume(all(wanted) and len(set(wanted)) == len(wanted))
    assert parse_labels(listed(wanted)) == wanted


def test_label_file_takes_lines_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("\ufeffpneumonia\n\nmass, left\r\n  edema  \n", encoding="utf-8")
    assert parse_labels(f"@{file}") == ("pneumonia", "mass, left", "edema")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no labels"),
        ("edema,,mass", "empty"),
        ("edema,", "empty"),
        ("edema;;mass", "empty"),
        ("edema;", "empty"),
        ("edema, ,mass", "empty"),
        ("edema, edema", "more than once"),
        ("status", "fixed column"),
        ('"edema', "not closed"),
        ("@nowhere.txt", "cannot be read"),
        ("a\x07b", "control character"),
    ],
)
def test_labels_that_cannot_be_columns(text: str, complaint: str) -> None:
    with pytest.raises(LabelError, match=complaint):
        parse_labels(text)


def test_every_fixed_column_is_refused() -> None:
    for column in FIXED_COLUMNS:
        with pytest.raises(LabelError):
            parse_labels(column)


def test_what_is_said_of_a_source_decides_nothing() -> None:
    (own,) = build_prompts(["edema"], Templates(("{}",), ("no {}",)))
    assert own.is_from_model
    assert not LabelPrompts("edema", ("wet lungs",), ("dry lungs",), own.source).is_from_model


def test_templates_take_labels_with_braces() -> None:
    (prompts,) = build_prompts(["a {b} {}"], Templates(("{}", "signs of {}"), ("no {}",)))
    assert prompts.positive == ("a {b} {}", "signs of a {b} {}")
    assert prompts.negative == ("no a {b} {}",)
