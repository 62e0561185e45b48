from collections.abc import Callable
from pathlib import Path

import pytest

from cxrzero import Screener
from cxrzero.errors import LabelError, NoInputError
from tests.support.needs import optional

pd = optional("pandas")

Draw = Callable[..., Path]


@pytest.fixture(scope="module")
def screener(tiny_bundle: Path) -> Screener:
    return Screener(tiny_bundle, device="cpu")


def test_three_lines_give_a_frame(screener: Screener, png: Draw, tmp_path: Path) -> None:
    for seed in range(3):
        png(f"in/{seed}.png", seed)
    (tmp_path / "in/broken.png").write_bytes(b"")
    frame = pd.DataFrame(screener.predict(tmp_path / "in", labels=["pneumonia", "edema"]))
    assert list(frame.columns[-2:]) == ["pneumonia", "edema"]
    assert list(frame.status) == ["ok", "ok", "ok", "failed"]
    assert frame.pneumonia.dtype == float
    assert frame.pneumonia.isna().tolist() == [False, False, False, True]


def test_several_paths_and_default_labels(screener: Screener, png: Draw) -> None:
    rows = screener.predict([png("a.png", 1), png("b.png", 2)])
    assert [Path(row.path).name for row in rows] == ["a.png", "b.png"]
    assert list(rows[0].scores) == list(screener.member.bundle.labels)


def test_wrong_requests_raise(screener: Screener, png: Draw, tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="does not exist"):
        screener.predict(tmp_path / "nowhere")
    with pytest.raises(NoInputError, match="no image"):
        screener.predict(tmp_path)
    with pytest.raises(LabelError):
        screener.predict(png("a.png"), labels=["edema", " edema"])


def test_prompts_of_the_built_in_bank(screener: Screener, png: Draw) -> None:
    film = png("a.png", 1)
    plain, banked = (screener.predict(film, ["pneumonia"], prompts=prompts)[0] for prompts in (None, "default"))
    sentences = screener.prompts(["pneumonia"], "default")[0].positive
    assert len(sentences) > 1
    assert plain.scores["pneumonia"] != banked.scores["pneumonia"]
