"""benchmarks/mini_location.py on made films: whose boxes are used, and what is written into a bundle's card."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks import mini_location
from cxrzero.model.bundle import load_bundle
from cxrzero.prompts.location import read_location
from recipes.mini_films import kept_for_boxes
from tests.support.minidata import box, nih, write_data

NAMES = [f"{n:08d}_000.png" for n in range(1, 61)]
KEPT = [name for name in NAMES if kept_for_boxes(name.partition("_")[0])]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sixty boxed films, of which a third are kept for measuring, and one of val, which is not asked."""
    films = [nih(f"images/{name}", "Effusion", split="val" if name == KEPT[0] else "train") for name in NAMES]
    boxes = [box(f"nih_more/images/{name}", "Effusion", 100.0 + 10 * n, 300, 300, 400) for n, name in enumerate(NAMES)]
    return write_data(tmp_path / "data", {"nih_more": films}, boxes)


def test_only_films_that_are_kept_for_boxes_are_used(data: Path, tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    assert mini_location.gather(data, tmp_path, None) == len(KEPT) - 1
    assert sorted(path.name for path in tmp_path.glob("films/nih_more/images/*")) == KEPT[1:]
    head, *lines = (tmp_path / "boxes.csv").read_text("utf-8").splitlines()
    assert head == "image,finding,x,y,width,height,patient"
    assert [line.split(",")[0] for line in lines] == [f"nih_more/images/{name}" for name in KEPT[1:]]
    assert lines[0].split(",")[-1] == f"nih-{KEPT[1].partition('_')[0]}"
    assert mini_location.gather(data, tmp_path / "few", 5) == 5


def test_results_are_written_down_and_into_the_card(
    data: Path, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, log = Path(shutil.copytree(tiny_bundle, tmp_path / "tiny")), tmp_path / "log.json"
    asked = ["--data", data, "--model", bundle, "--methods", "occlusion", "--random", "0"]
    monkeypatch.setattr(sys, "argv", ["mini_location.py", *map(str, asked), "--record", str(bundle), "--out", str(log)])
    before = load_bundle(bundle).fingerprint
    mini_location.main()
    assert "tiny, occlusion: " in capsys.readouterr().out
    (run,) = json.loads(log.read_text("utf-8"))["runs"]
    assert (run["method"], run["unit"], run["labels"][0]["n_films"]) == ("occlusion", "patient", len(KEPT) - 1)
    assert str(tmp_path) not in log.read_text("utf-8")
    (entry,) = read_location(load_bundle(bundle).card["location"])
    assert (entry.method, entry.films, entry.dataset) == ("occlusion", len(KEPT) - 1, mini_location.DATASET)
    assert load_bundle(bundle).fingerprint == before
