"""Each shown film is read and scored again, and where it is not what the table says, the page says so instead."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxrzero.errors import ConfigError, OutputError, OutputExistsError, RunError, UsageError
from cxrzero.images import decode
from cxrzero.worklist.names import Names
from cxrzero.worklist.options import WorklistOptions
from cxrzero.worklist.run import Made, make_worklist
from tests.support.bundle import write_bundle
from tests.support.dicomfile import dicom_bytes
from tests.support.films import film
from tests.support.pictures import picture
from tests.support.worklists import data_of

Draw = Callable[..., Path]
Predict = Callable[..., Path]
Worklist = Callable[..., Made]


def pixels(made: Made, name: str) -> Any:
    """A picture of the folder: (H, W) float64 grey."""
    with Image.open(made.page.parent / "films" / name) as shown:
        assert shown.mode == "L"
        return np.asarray(shown, float)


def test_a_film_that_is_what_the_table_says_has_its_pictures(predict: Predict, worklist: Worklist, png: Draw) -> None:
    for seed in range(3):
        png(f"in/{seed}.png", seed, (400, 300))
    made = worklist(predict("in"), pixels=256)
    assert (made.films, made.faults, made.notes) == (3, (), ())
    assert "3 of 3 films have the table&#x27;s probabilities within 0.00001" in made.page.read_text(encoding="utf-8")
    for place, each in enumerate(data_of(made)["films"], start=1):
        shown = pixels(made, f"{place:06d}.jpg")
        assert shown.shape == (256, 192)
        (whole,) = decode(each["path"])
        wanted = np.asarray(Image.fromarray(whole.pixels).resize((192, 256), Image.Resampling.LANCZOS), float)
        assert np.abs(shown - wanted).mean() < 6  # JPEG's loss on noise
        assert pixels(made, f"{place:06d}-small.jpg").shape == (192, 144)


def test_moved_changed_and_broken_films_have_no_picture_and_say_why(
    predict: Predict, worklist: Worklist, png: Draw
) -> None:
    for seed in range(4):
        png(f"in/{seed}.png", seed)
    film("in/a.dcm", 1)
    film("in/b.dcm", 2)
    table = predict("in")
    Path("in/0.png").unlink()
    png("in/1.png", 77)
    Path("in/2.png").write_bytes(b"no picture any more")
    film("in/a.dcm", 3)  # another film, another UID
    made = worklist(table)
    faults = {Path(each["path"]).name: each["fault"] for each in data_of(made)["films"]}
    assert faults["0.png"] == "there is no file at this path now"
    assert faults["1.png"].startswith("scored again, ")
    assert faults["1.png"].endswith("as in the table: film or table have changed")
    assert faults["2.png"].startswith("not_an_image")
    assert faults["a.dcm"] == "another film is at this path now: its SOP Instance UID is not the table's"
    assert faults["3.png"] == faults["b.dcm"] == ""
    assert len(list((made.page.parent / "films").iterdir())) == 4  # two films, two pictures each
    assert "1 film has no picture: there is no file at this path now." in made.notes


def test_a_probability_that_is_off_by_more_than_a_hundred_thousandth_is_found(
    predict: Predict, worklist: Worklist, png: Draw
) -> None:
    png("in/a.png", 1)
    png("in/b.png", 2)
    table = predict("in")
    lines = table.read_text(encoding="utf-8").splitlines()
    for row, change in ((1, 5e-6), (2, 2e-5)):
        cells = lines[row].split(",")
        cells[-1] = str(float(cells[-1]) + change)
        lines[row] = ",".join(cells)
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    faults = {each["path"]: each["fault"] for each in data_of(worklist(table))["films"]}
    assert faults["in/a.png"] == ""
    assert faults["in/b.png"].startswith("scored again, edema has 0.")


def test_frames_are_films_of_their_own(predict: Predict, worklist: Worklist, tmp_path: Path) -> None:
    frames = [picture(seed, (64, 48)) for seed in range(3)]
    (tmp_path / "many.dcm").write_bytes(dicom_bytes(frames))
    table = predict("many.dcm")
    made = worklist(table)
    assert made.faults == ()
    films = data_of(made)["films"]
    assert sorted(each["frame"] for each in films) == [1, 2, 3]
    for place, each in enumerate(films, start=1):
        shown = pixels(made, f"{place:06d}.jpg")
        gaps = [np.abs(shown - other).mean() for other in frames]
        assert int(np.argmin(gaps)) == each["frame"] - 1
    (tmp_path / "many.dcm").write_bytes(dicom_bytes(frames[:2]))
    faults = {each["frame"]: each["fault"] for each in data_of(worklist(table, overwrite=True))["films"]}
    assert (faults[1], faults[2], faults[3]) == ("", "", "the file has no such frame now")


def test_of_a_file_of_many_frames_some_are_in_memory_at_a_time(
    predict: Predict, worklist: Worklist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "many.dcm").write_bytes(dicom_bytes([picture(seed, (64, 48)) for seed in range(5)]))
    table = predict("many.dcm")
    monkeypatch.setattr("cxrzero.worklist.look.FRAMES_AT_ONCE", 2)
    made = worklist(table)
    assert (made.films, made.faults) == (5, ())
    assert len(list((made.page.parent / "films").iterdir())) == 10


def test_what_a_decoder_should_not_raise_is_a_fault_of_its_film(
    predict: Predict, worklist: Worklist, png: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(2):
        png(f"in/{seed}.png", seed)
    table = predict("in")

    def strange(path: str, *options: Any) -> Any:
        if path.endswith("1.png"):
            raise ZeroDivisionError("of PATIENT^NAME")
        return decode(path, *options)

    monkeypatch.setattr("cxrzero.sources.reader.decode", strange)
    made = worklist(table)
    assert made.faults == ("unexpected: ZeroDivisionError while the file was decoded",)


def test_an_ensemble_is_scored_again_as_one(predict: Predict, worklist: Worklist, png: Draw, tmp_path: Path) -> None:
    models = [str(write_bundle(tmp_path / f"model{seed}", seed)) for seed in (1, 2)]
    png("in/a.png", 1)
    png("in/b.png", 2)
    table = predict("in", model=tuple(models))
    made = worklist(table, model=tuple(models))
    assert (made.faults, made.notes) == ((), ())
    assert all(len(each["sd"]) == 2 for each in data_of(made)["films"])
    with pytest.raises(UsageError, match="made by 2 models, these are 1"):
        worklist(table, model=(models[0],), overwrite=True)


def test_what_fast_decode_scored_is_scored_so_again_and_shown_in_full(
    predict: Predict, worklist: Worklist, tmp_path: Path
) -> None:
    Image.fromarray(picture(1, (1800, 1500))).save(tmp_path / "large.jpg", quality=95)
    made = worklist(predict("large.jpg", fast_decode=True), pixels=1800)
    assert made.faults == ()
    assert pixels(made, "000001.jpg").shape == (1800, 1500)


def test_without_a_record_or_its_model_nothing_is_checked_and_that_is_said(
    predict: Predict, worklist: Worklist, png: Draw, tmp_path: Path
) -> None:
    png("in/a.png", 1)
    table = predict("in")
    made = worklist(table, model=())  # "tiny" is the name of no model that is known here
    assert made.faults == ()
    assert "not checked: the model of the run's record does not open by its name; name it with --model" in made.notes[0]
    with pytest.raises(UsageError, match="--model is not what made the table: the model tiny here is another one"):
        worklist(table, model=(str(write_bundle(tmp_path / "other", 5)),), overwrite=True)
    record = Path("predictions.run.json")
    record.write_text('{"models": 3}', encoding="utf-8")
    with pytest.raises(ConfigError, match="not as predict writes it"):
        worklist(table, overwrite=True)
    record.unlink()
    made = worklist(table, overwrite=True)
    assert made.notes == ("The probabilities were not checked: there is no record of the run beside the table.",)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_names_with_quotes_markup_line_ends_and_bytes_that_are_not_utf_8(
    predict: Predict, worklist: Worklist, png: Draw
) -> None:
    names = [
        b"a\"b'c.png", b"</script><script>alert(1)</script>.png", b"line\nend.png", b"caf\xe9.png", b"=1+1.png",
        b"<!--.png", "\u2028\u202e.png".encode(), b"back\\xe9.png",
    ]  # fmt: skip
    Path("in").mkdir()
    for seed, name in enumerate(names):
        shutil.copy(os.fsencode(png(f"{seed}.png", seed)), os.path.join(b"in", name.replace(b"/", b"\xe2\x81\x84")))
    png("=2.png", 50)
    made = worklist(predict("in", "=2.png"))
    assert (made.films, made.faults) == (9, ())
    text = made.page.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "\u2028" not in text
    assert "\u202e" not in text
    films = data_of(made)["films"]
    assert {each["shown"] for each in films} >= {r"in/line\nend.png", r"in/caf\xe9.png", r"in/\u2028\u202e.png"}
    links = {each["link"] for each in films}
    assert f"{Path.cwd().as_uri()}/in/caf%E9.png" in links
    assert f"{Path.cwd().as_uri()}/%3D2.png" in links


def test_a_film_of_12000_pixels_is_shown_small(predict: Predict, worklist: Worklist, tmp_path: Path) -> None:
    large = np.zeros((12_000, 4_000), np.uint8)
    large[4_000:8_000] = 200
    Image.fromarray(large).save(tmp_path / "large.png", compress_level=1)
    made = worklist(predict("large.png"))
    assert made.faults == ()
    shown = pixels(made, "000001.jpg")
    assert shown.shape == (1536, 512)
    assert shown[[100, 768, 1436], 256].tolist() == [0, 200, 0]


def test_blind_pages_have_no_score_and_no_overlay_anywhere(predict: Predict, worklist: Worklist, png: Draw) -> None:
    for seed in range(12):
        png(f"in/{seed}.png", seed)
    Path("in/broken.png").write_bytes(b"nothing")
    table = predict("in")
    png("in/3.png", 99)  # even its fault tells no score
    made = worklist(table, blind=True, seed=7, top=10)
    rows = [line.split(",") for line in table.read_text(encoding="utf-8").splitlines()[1:]]
    written = b"".join(path.read_bytes() for path in made.page.parent.rglob("*") if path.is_file())
    text = made.page.read_text(encoding="utf-8")
    scores = [cell for row in rows for cell in row[-2:] if cell]
    assert len(scores) == 24
    assert not any(score[:6].encode() in written for score in scores)
    data = data_of(made)
    assert not {"p", "calibrated", "decision", "sd", "reason", "overlays", "waited"} & {
        k for f in data["films"] for k in f
    }
    assert data["thresholds"] == []
    assert sorted(path.name for path in made.page.parent.iterdir()) == ["films", "index.html"]
    assert "10 of 12 films, drawn and ordered by chance with seed 7." in text
    assert "broken.png" not in text
    paths = [each["path"] for each in data["films"]]
    assert paths == [
        each["path"] for each in data_of(worklist(table, blind=True, seed=7, top=10, overwrite=True))["films"]
    ]
    assert paths != [
        each["path"] for each in data_of(worklist(table, blind=True, seed=8, top=10, overwrite=True))["films"]
    ]


def test_pseudonyms_leave_no_path_uid_or_name_in_the_folder(
    predict: Predict, worklist: Worklist, tmp_path: Path
) -> None:
    for seed in (1, 2):
        film(f"SMITH_JOHN/{seed}.dcm", seed, study="2.25.777")
    Path("SMITH_JOHN/DOE_JANE.dcm").write_bytes(b"nothing")
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    table = predict("SMITH_JOHN", out="SMITH.csv")
    hidden = predict("SMITH_JOHN", out="hidden.csv", pseudonymise=True, pseudonym_key=key)
    made = worklist(table, pseudonymise=True, pseudonym_key=key, top=1)
    written = made.page.read_text(encoding="utf-8") + "".join(path.name for path in made.page.parent.rglob("*"))
    for secret in ("SMITH", "DOE", "2.25.777", "2.25.1001", "2.25.1002", "2.25.8", ".dcm", str(tmp_path), "file:///"):
        assert secret not in written, secret
    # They are the pseudonyms that predict writes with the same key, so that reviews join that table.
    (shown,) = data_of(made)["films"]
    assert shown["path"] in hidden.read_text(encoding="utf-8")
    assert all(uid in hidden.read_text(encoding="utf-8") for uid in shown["uids"])
    assert shown["link"] is None
    made = worklist(hidden, overwrite=True)
    assert made.films == len(made.faults) == 2
    assert made.notes == (
        "The table has pseudonyms, which lead to no file: there are no pictures. Give the original table.",
    )
    assert data_of(made)["films"][0]["path"] in hidden.read_text(encoding="utf-8")


def test_films_are_looked_for_from_another_folder(predict: Predict, worklist: Worklist, png: Draw) -> None:
    png("in/a.png", 1)
    table = predict("in")
    Path("elsewhere").mkdir()
    shutil.move("in", "elsewhere/in")
    assert worklist(table).faults == ("there is no file at this path now",)
    assert worklist(table, images=Path("elsewhere"), overwrite=True).faults == ()


def test_a_name_that_no_file_can_have_is_just_not_found() -> None:
    for cell in ("x" * 5000, "nul\0byte", "\ud800"):
        assert not os.path.lexists(Path("nowhere"))
        assert Names(Path("nowhere")).received(cell) != Names(Path("nowhere")).received(cell)


def test_flags_come_with_their_meaning_and_studies_with_their_views(predict: Predict, worklist: Worklist) -> None:
    film("in/a.dcm", 1, "PA", "2.25.5")
    film("in/b.dcm", 2, "LL", "2.25.5")
    film("in/c.dcm", 3, "PA", "2.25.6")
    data = data_of(worklist(predict("in"), top=2))
    assert data["flags"]["low_resolution"] == "The shorter side has fewer than 224 pixels."
    numbers = {each["study"] for each in data["films"]}
    assert data["beside"] == {} or {int(number) for number in data["beside"]} <= numbers
    seen = [(Path(each["path"]).name, each["view"]) for each in data["films"]]
    seen += [(Path(each["shown"]).name, each["view"]) for group in data["beside"].values() for each in group["films"]]
    assert ("b.dcm", "DX LL") in seen


def test_the_folder_is_whole_or_not_there_and_nothing_else_is_replaced(
    predict: Predict, worklist: Worklist, png: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    png("in/a.png", 1)
    table = predict("in")
    with monkeypatch.context() as patch:
        patch.setattr("cxrzero.worklist.run.render", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            worklist(table)
    assert sorted(os.listdir()) == ["in", "predictions.csv", "predictions.run.json"]
    made = worklist(table)
    with pytest.raises(OutputExistsError, match="has a worklist already"):
        worklist(table)
    (made.page.parent / "reviews.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match=r"other files in it, such as reviews\.csv"):
        worklist(table, overwrite=True)
    with pytest.raises(OutputError, match="is a file"):
        worklist(table, out=Path("predictions.csv"), overwrite=True)


def test_a_table_of_failed_rows_only(predict: Predict, worklist: Worklist) -> None:
    Path("in").mkdir()
    Path("in/a.png").write_bytes(b"nothing")
    with pytest.raises(RunError, match="no row can be shown; all 1 failed or were skipped"):
        worklist(predict("in"))


def test_the_defaults_are_the_record_s_model_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, png: Draw
) -> None:
    """The bundled model is found by its name; nothing has to be typed."""
    monkeypatch.chdir(tmp_path)
    png("in/a.png", 1, (300, 260))
    from cxrzero.predict.options import PredictOptions
    from cxrzero.predict.plan import prepare
    from cxrzero.predict.run import run

    run(prepare(PredictOptions(("in",), labels=("pneumonia",), out="t.csv", device="cpu", cache=False)))
    made = make_worklist(WorklistOptions(Path("t.csv"), device="cpu"))
    assert (made.faults, made.notes) == ((), ())
    record: dict[str, Any] = json.loads(Path("t.run.json").read_text(encoding="utf-8"))
    assert record["models"][0]["fingerprint"][:12] in made.page.read_text(encoding="utf-8")
