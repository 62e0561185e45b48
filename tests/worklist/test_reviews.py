"""A reader's verdicts come in again, and are labels for `eval` and `prompts search`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cxrzero.errors import ConfigError, UsageError
from cxrzero.evaluate.options import EvalOptions
from cxrzero.evaluate.run import evaluate
from cxrzero.search.prompts import read_films
from cxrzero.worklist.reviews import Review, key_of, read_reviews
from cxrzero.worklist.run import Made
from tests.support.worklists import data_of

HEAD = "path,frame,study_instance_uid,series_instance_uid,sop_instance_uid"
KEYS = {key_of("in/a.png", 1): 0, key_of("'=b.png", 2): 1}
LABELS = ("pneumonia", "-mass")


@pytest.fixture
def reviews(tmp_path: Path) -> Callable[[str], Path]:
    def written(text: str) -> Path:
        path = tmp_path / "reviews.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_verdicts_comment_and_reviewer_are_read(reviews: Callable[[str], Path]) -> None:
    path = reviews(
        f"{HEAD},pneumonia,'-mass,effusion,comment,reviewer\n"
        'in/a.png,1,,,,1,-1,0,"\'=1+1, ""so""\nand so",R\n'
        "'=b.png,2.0,,,,,0,,,\n"
        "other.png,1,,,,0,,,,\n"
    )
    found = read_reviews(path, KEYS, LABELS)
    assert found.by_place == {
        0: Review({"pneumonia": 1, "-mass": -1}, '=1+1, "so"\nand so', "R"),
        1: Review({"-mass": 0}),
    }
    assert (found.elsewhere, found.unknown) == (1, ("effusion",))


def test_of_two_reviews_of_a_film_the_later_counts(reviews: Callable[[str], Path]) -> None:
    path = reviews("path,pneumonia,comment,reviewer\nin/a.png,1,,A\nin/a.png,0,,B\n")
    assert read_reviews(path, KEYS, LABELS).by_place == {0: Review({"pneumonia": 0}, "", "B")}


def test_reviews_of_another_table_and_what_is_none(reviews: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match=r"none of its 1 reviews is of a film shown here; it belongs to another table"):
        read_reviews(reviews("path,pneumonia,comment,reviewer\nx.png,1,,\n"), KEYS, LABELS)
    with pytest.raises(ConfigError, match="no table of reviews, which has a column 'comment'"):
        read_reviews(reviews("path,pneumonia\nin/a.png,1\n"), KEYS, LABELS)
    with pytest.raises(ConfigError, match=r"column 'pneumonia', data row 1: '0\.4' is none of 1, 0, -1 and blank"):
        read_reviews(reviews("path,pneumonia,comment,reviewer\nin/a.png,0.4,,\n"), KEYS, LABELS)


def test_a_page_starts_from_reviews(
    predict: Callable[..., Path],
    worklist: Callable[..., Made],
    png: Callable[..., Path],
    reviews: Callable[[str], Path],
) -> None:
    png("in/a.png", 1)
    png("in/b.png", 2)
    path = reviews("path,frame,edema,comment,reviewer\nin/b.png,1,-1,</script>,me\ngone.png,1,1,,\n")
    made = worklist(predict("in"), reviews=path)
    data = data_of(made)
    (place,) = data["reviews"]
    assert data["films"][int(place)]["path"] == "in/b.png"
    assert data["reviews"][place] == {"verdicts": {"1": -1}, "comment": "</script>", "reviewer": "me"}
    assert made.notes == ("1 review is of films that this list does not have; what you export will not have them.",)


def test_a_blank_in_reviews_is_a_label_that_nobody_judged(
    predict: Callable[..., Path], png: Callable[..., Path], reviews: Callable[[str], Path]
) -> None:
    """In a label table of the same cells a blank is negative, because the column has −1 (CheXpert's rule)."""
    for seed in range(6):
        png(f"in/{seed}.png", seed)
    table = predict("in")
    cells = ["1", "0", "-1", "", "1", ""]
    rows = "".join(f"in/{n}.png,1,{cell},0,,R\n" for n, cell in enumerate(cells))
    path = reviews(f"path,frame,pneumonia,edema,comment,reviewer\n{rows}")
    result = evaluate(EvalOptions(str(table), str(path), n_resamples=0))
    by_label = {each.label: (each.n_positive, each.n_negative) for each in result.scores}
    assert by_label == {"pneumonia": (2, 1), "edema": (0, 6)}
    assert not any("frame" in warning.text for warning in result.warnings)
    plain = path.with_name("labels.csv")
    rows = "".join(f"in/{n}.png,{cell},0\n" for n, cell in enumerate(cells))
    plain.write_text(f"path,pneumonia,edema\n{rows}", encoding="utf-8")
    (first, _) = evaluate(EvalOptions(str(table), str(plain), n_resamples=0)).scores
    assert (first.n_positive, first.n_negative) == (2, 3)


def test_prompts_search_takes_reviews_as_labels(reviews: Callable[[str], Path]) -> None:
    """The frame, which is 1 everywhere, and a reviewer called 1 are no findings."""
    path = reviews("path,frame,pneumonia,edema,comment,reviewer\na.png,1,1,1,,1\nb.png,1,0,-1,,1\n")
    films = read_films(path, "", None, None)
    assert films.labels == ("pneumonia", "edema")
    np.testing.assert_array_equal(films.truth, [[1, 1], [0, np.nan]])
    assert [str(each) for each in films.paths] == ["a.png", "b.png"]
