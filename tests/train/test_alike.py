"""--alike: the groups of a kind of film become alike in the weights that are exported, once, and it is said."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
from cxrzero.clip.architecture import build_model, load_arch  # noqa: E402
from cxrzero.errors import UsageError  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from cxrzero.train import TrainOptions, resume, train  # noqa: E402
from cxrzero.train import alike as alike_module  # noqa: E402
from cxrzero.train import finish as finish_module  # noqa: E402
from cxrzero.train.data.grouped import films_saying  # noqa: E402
from cxrzero.train.data.pairs import read_pairs  # noqa: E402
from cxrzero.train.measure import metricslog  # noqa: E402
from cxrzero.train.model import checkpoint  # noqa: E402
from cxrzero.train.provenance import command_of  # noqa: E402
from cxrzero.train.runfolder import RunFolder  # noqa: E402
from tests.support.pairs import tiny_clip  # noqa: E402
from tests.support.runs import weights  # noqa: E402
from tests.train.test_resume import Stop, stop_after  # noqa: E402

NORMAL = 24  # films without a finding in each group


def draw_groups(folder):
    """Two sources, one of which has a bright frame; as many normal films and some with a spot; six are held out."""
    folder.mkdir()
    rows = ["image,text,split,group,patient_id"]
    for number in range(2 * (NORMAL + 12)):
        group, sick = "ab"[number % 2], number >= 2 * NORMAL
        pixels = np.random.default_rng(number).integers(0, 90, (32, 32), np.uint8)
        if group == "b":
            pixels[:3] = 200
        if sick:
            pixels[10:20, 10:20] = 255
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
        split = "val" if number % 12 >= 10 and sick else "train"
        rows.append(f"{number:03}.png,{'pleural effusion' if sick else 'No finding.'},{split},{group},P{number}")
    for number in range(200, 212):  # held out, and not to be learned from
        Image.fromarray(np.full((32, 32), number, np.uint8)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,No finding.,val,a,P{number}")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return folder / "pairs.csv"


@pytest.fixture
def options(tmp_path):
    arch = load_arch("cxrzero-tiny")
    arch["vision_cfg"]["timm_proj_bias"] = True
    (tmp_path / "arch.json").write_text(json.dumps(arch), "utf-8")
    return TrainOptions(
        draw_groups(tmp_path / "films"), tmp_path / "run", arch=str(tmp_path / "arch.json"), epochs=2, batch_size=16,
        threads=1, device="cpu", seed=1, alike="no finding",
    )  # fmt: skip


@torch.no_grad()
def difference(run, options):
    """Between the groups' mean projections of the normal training films, in standard deviations."""
    content = checkpoint.load(run / "checkpoints" / checkpoint.load(RunFolder(run).last)["best"][0]["file"])
    model = build_model(load_arch(options.arch)).eval()
    model.load_state_dict(content["model"])
    numeric = content["preprocess"][-1]
    means = []
    for group in (0, 1):
        pixels = [np.asarray(Image.open(options.pairs.parent / f"{n:03}.png")) for n in range(group, 2 * NORMAL, 2)]
        values = (torch.from_numpy(np.stack(pixels)).float() / 255 - numeric["mean"][0]) / numeric["std"][0]
        means.append(model.visual(values[:, None].expand(-1, 3, -1, -1)))
    spread = torch.cat(means).std(dim=0)
    return float(((means[0].mean(dim=0) - means[1].mean(dim=0)) / spread).abs().max())


def test_the_groups_become_alike_in_what_is_exported_and_it_is_said(options, tmp_path):
    seen: list[Any] = []
    run = train(replace(options, ensemble=2, keep=2), seen.append)
    plain = train(replace(options, out=tmp_path / "plain", alike=None))
    assert difference(plain, options) > 0.5
    assert difference(run, options) < 1e-3
    before = weights(plain)
    changed = {name for name, value in weights(run).items() if not torch.equal(value, before[name])}
    assert changed == {"visual.head.proj.weight", "visual.head.proj.bias"}

    provenance = load_bundle(run).card["provenance"]
    facts = provenance["alike"]
    assert (facts["text"], facts["images"], facts["groups"]) == ("no finding", 2 * NORMAL, 2)
    assert facts["before"] > 0.9
    assert facts["after"] < 0.75
    assert "--alike 'no finding'" in provenance["command"]
    assert load_bundle(plain).card["provenance"]["alike"] is None
    assert load_bundle(plain).card["name"] != load_bundle(run).card["name"]
    for member in sorted((run / "ensemble").iterdir()):
        assert load_bundle(member).card["provenance"]["alike"]["groups"] == 2

    said = [each.message for each in seen if each.stage == "note" and "apart" in each.message]
    assert said == [
        f"A linear classifier told the 2 groups of 48 films of --alike apart with a balanced accuracy of "
        f"{facts['before']:.3f}, and does with {facts['after']:.3f} now (chance 0.500)."
    ]
    last = metricslog.read(run)[-1]
    assert last["alike"] == {name: facts[name] for name in ("images", "groups", "before", "after")}
    assert last["validation"] == provenance["validation"]
    assert [name for record in metricslog.read(run)[:-1] for name in record if name == "alike"] == []


def files(run):
    content = dict(load_bundle(run).files) | {"metrics": (run / "metrics.jsonl").read_text("utf-8")}
    return content | {"alike": load_bundle(run).card["provenance"]["alike"]}


def without_speed(content):
    records = [json.loads(line) for line in content["metrics"].splitlines()]
    return content | {"metrics": [record | {"images_per_second": None} for record in records]}


@pytest.mark.parametrize("where", ["before", "between the films", "after", "at the end"])
def test_a_run_that_stops_anywhere_ends_in_the_same_model(options, tmp_path, monkeypatch, where):
    whole = train(replace(options, out=tmp_path / "whole"))
    if where == "at the end":
        train(options)
    else:
        if where == "between the films":
            monkeypatch.setattr(alike_module, "told_apart", None)
        if where == "after":
            monkeypatch.setattr("cxrzero.train.loop.judge", None)
        with pytest.raises((Stop, TypeError)):
            train(options, stop_after(3) if where == "before" else None)
        monkeypatch.undo()
    assert without_speed(files(resume(options.out))) == without_speed(files(whole))


def test_an_interrupt_while_the_films_are_encoded_is_heeded(options, monkeypatch):
    seen: list[Any] = []

    def interrupt(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return films_saying(*arguments)

    monkeypatch.setattr(finish_module, "films_saying", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(options, seen.append)
    assert "Go on with: cxrzero train --resume" in seen[-1].message
    monkeypatch.undo()
    assert load_bundle(resume(options.out)).card["provenance"]["alike"]["groups"] == 2


def test_films_are_found_by_what_the_text_says_in_training_only(options):
    films = films_saying(read_pairs(options.pairs), "no  finding")
    assert films.count == 2
    assert sorted(films.images) == list(range(2 * NORMAL))
    assert all(films.groups == films.images % 2)
    assert [np.bincount(films.parts[films.groups == group]).tolist() for group in (0, 1)] == [[6] * 4] * 2


def test_films_of_one_group_are_told_apart_by_their_source(options):
    """Sources that are asked the same share a group."""
    lines = options.pairs.read_text("utf-8").replace(",a,P", ",film,P").replace(",b,P", ",film,P").splitlines()
    named = [f"{line},{'xyz'[n % 3]}" for n, line in enumerate(lines[1:])]
    options.pairs.write_text("\n".join([f"{lines[0]},source", *named]), "utf-8")
    with pytest.raises(UsageError, match="here 0 groups"):  # 16 of each
        films_saying(read_pairs(options.pairs), "no finding")
    two = [f"{line},{'xy'[n % 2]}" for n, line in enumerate(lines[1:])]
    options.pairs.write_text("\n".join([f"{lines[0]},source", *two]), "utf-8")
    films = films_saying(read_pairs(options.pairs), "no finding")
    assert films.count == 2
    assert all(films.groups == films.images % 2)
    # A third source in a group of its own is not compared with them.
    drawn = [f"d{n}.png,No finding.,train,drawn,D{n},z" for n in range(30)]
    for n in range(30):
        Image.fromarray(np.full((32, 32), n, np.uint8)).save(options.pairs.parent / f"d{n}.png")
    options.pairs.write_text("\n".join([f"{lines[0]},source", *two, *drawn]), "utf-8")
    assert films_saying(read_pairs(options.pairs), "no finding").count == 2


def test_a_patient_s_films_are_in_one_part(tmp_path):
    path = draw_groups(tmp_path / "films")
    lines = path.read_text("utf-8").splitlines()
    shared = [line.rsplit(",P", 1)[0] + f",Q{n // 6}" for n, line in enumerate(lines[1:])]
    path.write_text("\n".join([lines[0], *(line.replace(",val,", ",train,") for line in shared)]), "utf-8")
    pairs = read_pairs(path)
    films = films_saying(pairs, "no finding")
    parts: dict[Any, set[int]] = {}
    for image, group, part in zip(films.images, films.groups, films.parts, strict=True):
        parts.setdefault((pairs.patients[image], group), set()).add(int(part))
    assert all(len(each) == 1 for each in parts.values())
    assert set.union(*parts.values()) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pleural effusion", r"needs two with at least 20 training images .* here 0 groups have so many"),
        ("no such words", r"here 0 groups have so many"),
    ],
)
def test_too_few_films_are_said_before_training(options, text, message):
    with pytest.raises(UsageError, match=message):
        train(replace(options, alike=text))
    assert not options.out.exists()


def test_one_group_is_not_enough_and_a_projection_needs_a_bias(options, tmp_path):
    rows = options.pairs.read_text("utf-8")
    options.pairs.write_text(rows.replace(",b,P", ",a,P"), "utf-8")
    with pytest.raises(UsageError, match="here 1 group has so many"):
        train(options)
    options.pairs.write_text(rows, "utf-8")
    for arch in ("cxrzero-tiny", tiny_clip(tmp_path)):
        with pytest.raises(UsageError, match="needs a timm trunk with timm_proj: linear and timm_proj_bias: true"):
            train(replace(options, arch=arch))
    with pytest.raises(UsageError, match="leave out --freeze image"):
        replace(options, freeze="image")
    assert not options.out.exists()


def test_a_text_that_the_bank_does_not_list_is_in_no_bundle(options, tmp_path):
    rows = options.pairs.read_text("utf-8")
    options.pairs.write_text(rows.replace("No finding.", "Seen by Dr Przybylski"), "utf-8")
    named = replace(options, alike="seen by Dr Przybylski", epochs=1)
    assert "--alike TEXT" in command_of(named)
    run = train(named)
    assert load_bundle(run).card["provenance"]["alike"]["text"] is None
    for name in ("model.json", "metrics.jsonl", "curves.html"):
        assert "Przybylski" not in (run / name).read_text("utf-8")
