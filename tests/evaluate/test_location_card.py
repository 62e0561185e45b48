"""`cxrzero models location`: what an evaluation of maps found, in the card of the model that made them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cxrzero.cli import app
from cxrzero.errors import UsageError
from cxrzero.evaluate.boxes.card import put_into
from cxrzero.evaluate.boxes.outputs import location_json
from cxrzero.evaluate.boxes.run import evaluate_boxes
from cxrzero.evaluate.options import EvalOptions
from cxrzero.model import own
from cxrzero.model.bundle import load_bundle
from cxrzero.prompts.location import better_method, location_validated
from cxrzero.registry.verify import verify
from tests.support.maps import film_maps, write_folder

N = 24


def invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["models", *map(str, arguments)], env={"COLUMNS": "300"})


@pytest.fixture
def place(tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle `mine`, and location.json of both methods: `patch` finds effusions, `occlusion` nothing."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_bundle, "mine")
    rows = [f"{i}.png,Effusion,{140 if i % 2 else 20},30,40,40" for i in range(N)]
    Path("boxes.csv").write_text("\n".join(["image,finding,x,y,width,height", *rows]), encoding="utf-8")
    for method in ("patch", "occlusion"):
        write_result(method, load_bundle(Path("mine")).fingerprint)
    return tmp_path


def write_result(method: str, fingerprint: str, **options: Any) -> None:
    places = [(0.8, 0.5) if i % 2 and method == "patch" else (0.2, 0.5) for i in range(N)]
    films = [
        film_maps(f"{i}.png", {"pleural effusion": at}, method=method, fingerprint=fingerprint)
        for i, at in enumerate(places)
    ]
    maps = write_folder(Path(method), films)
    asked = EvalOptions(str(maps), boxes=Path("boxes.csv"), **{"n_resamples": 200, "unseen": True} | options)
    Path(f"{method}.json").write_text(location_json(evaluate_boxes(asked)), encoding="utf-8")


def test_it_is_in_the_card_and_the_model_is_the_same(place: Path) -> None:
    before = load_bundle(Path("mine"))
    result = invoke("location", "mine", "patch.json", "occlusion.json", "--dataset", "boxes of ours")
    assert result.exit_code == 0, result.output
    told = "pleural effusion: validated: patch hits 1.00 of 24 films, the best fixed point of other films 0.00"
    assert told in result.output
    assert "pleural effusion: not validated: occlusion hits 0.50 of 24 films" in result.output
    bundle = load_bundle(Path("mine"))
    assert bundle.fingerprint == before.fingerprint
    assert {key: value for key, value in bundle.card.items() if key != "location"} == dict(before.card)
    checks = {check.name: check for check in verify(bundle)}
    assert (checks["location"].ok, checks["location"].detail[:19]) == (True, "2 of 2 measurements")
    field = bundle.card["location"]
    assert location_validated(field, "effusion", "patch") is True
    assert location_validated(field, "effusion", "occlusion") is False
    assert location_validated(field, "mass", "patch") is None
    assert better_method(field) == "patch"
    assert "location of pleural effusion: validated: patch hits 1.00 of 24 films" in invoke("info", "mine").output


def test_what_cannot_be_read_of_it_fails_verification(place: Path) -> None:
    put_into(load_bundle(Path("mine")), [Path("patch.json")])
    card = json.loads(Path("mine/model.json").read_text("utf-8"))
    for field, words in (([*card["location"], {"label": "mass"}], "1 of 2"), ("patch", "0 of 1"), ([], "0 of 0")):
        Path("mine/model.json").write_text(json.dumps(card | {"location": field}), "utf-8")
        (check,) = (check for check in verify(load_bundle(Path("mine"))) if check.name == "location")
        assert (check.ok, check.detail[:6]) == (words == "0 of 0", words)


def test_it_replaces_what_was_measured_before_and_keeps_the_rest(place: Path) -> None:
    put_into(load_bundle(Path("mine")), [Path("patch.json"), Path("occlusion.json")])
    write_result("patch", load_bundle(Path("mine")).fingerprint, seed=7, n_resamples=0)
    put_into(load_bundle(Path("mine")), [Path("patch.json")])
    field = load_bundle(Path("mine")).card["location"]
    assert [each["method"] for each in field] == ["occlusion", "patch"]
    assert field[1]["gain"]["low"] is None  # of the second time, without intervals
    assert location_validated(field, "effusion", "patch") is False
    put_into(load_bundle(Path("mine")), [Path("patch.json")], "others")
    assert len(load_bundle(Path("mine")).card["location"]) == 3


def test_what_is_not_of_this_model_on_new_films_stays_out(place: Path) -> None:
    before = Path("mine/model.json").read_bytes()
    record = json.loads(Path("patch.json").read_text(encoding="utf-8"))
    wrong: dict[str, Any] = {
        "is of the model abc": record | {"model": {"fingerprint": "abc"}},
        "only on films that it was not trained on": record
        | {"labels": [label | {"training": "unknown"} for label in record["labels"]]},
        "evaluate with --seen or --unseen": record | {"labels": []},
        "has schema version 9": record | {"schema_version": 9},
        "is not the location.json": record | {"schema": "cxrzero.metrics"},
        "is not a whole file": {key: value for key, value in record.items() if key != "method"},
        "(KeyError)": record | {"labels": [{"training": "not seen"}]},
    }
    for words, content in wrong.items():
        Path("wrong.json").write_text(json.dumps(content), encoding="utf-8")
        result = invoke("location", "mine", "patch.json", "wrong.json")
        assert result.exit_code == 2, result.output
        assert words in result.output
    for content in ("", "[1]", "{"):
        Path("wrong.json").write_text(content, encoding="utf-8")
        assert "is not the location.json" in invoke("location", "mine", "wrong.json").output
    assert "no such file" in invoke("location", "mine", "none.json").output
    assert Path("mine/model.json").read_bytes() == before


def test_what_is_not_the_users_own_is_not_changed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(own, "bundled_folder", lambda: place)
        with pytest.raises(UsageError, match="comes with cxrzero"):
            put_into(load_bundle(Path("mine")), [Path("patch.json")])
    Path("mine/model.json").rename("blob")
    Path("mine/model.json").symlink_to(place / "blob")
    with pytest.raises(UsageError, match=r"mine/model\.json is a link"):
        put_into(load_bundle(Path("mine")), [Path("patch.json")])
    assert "location" not in load_bundle(Path("mine")).card
