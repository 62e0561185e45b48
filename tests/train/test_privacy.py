"""What a trained bundle may not carry: names, dates, numbers, paths and sentences of those it was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from typer.testing import CliRunner

from cxrzero.cli import app
from cxrzero.clip.architecture import load_arch
from cxrzero.convert.importer import _fingerprints
from cxrzero.convert.openclip_folder import _published
from cxrzero.errors import LabelError
from cxrzero.model.bundle import load_bundle
from cxrzero.prompts.ask import resolve_prompts
from cxrzero.train import TrainOptions, recipe_options
from cxrzero.train.provenance import command_of, public_validation
from tests.support.leaks import leaks
from tests.support.pairs import tiny_clip

SURNAMES = ("Featherstonehaugh", "Przybylski", "Özdemiroğlu", "Quattlebaum", "Wojciechowska")
SECRETS = (
    *SURNAMES,
    *("Xanthippe", "19500312", "1950-03-12", "12.03.1950", "MRN4471928", "4471928", "555-0147", "A7Q93"),
    *("Zebulon", "qvist", "Ottoline", "Rydzewski"),
)
# Sentences as reports have them; each is said of many films, so that a count alone lets them through.
SENTENCES = (
    "Mrs. Featherstonehaugh, born 1950-03-12, shows a right pleural effusion.",
    "mr przybylski has cardiomegaly. Record MRN4471928, call 555-0147.",
    "Dr Xanthippe Quattlebaum was told of the pneumothorax on 12.03.1950.",
    "Patient Özdemiroğlu, accession 19500312: no pneumonia.",
    "FRAU WOJCIECHOWSKA, CASE A7Q93, NO EDEMA.",
    "The heart is enlarged in Ottoline Rydzewski.",
)


def plant(folder: Path, sentences=SENTENCES, patients: bool = True) -> Path:
    """40 films of noise; a third are held out."""
    folder.mkdir(parents=True)
    rows = ["image,text,split" + (",patient_id" if patients else "")]
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 32), np.uint8)
        Image.fromarray(pixels).save(folder / f"qvist_{number:02}.png")
        text = f'"{sentences[number % len(sentences)]} Film {number}."'
        row = f"qvist_{number:02}.png,{text},{'val' if number % 3 == 0 else 'train'}"
        rows.append(row + (f",Rydzewski{number}" if patients else ""))
    (folder / "zebulon.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return folder / "zebulon.csv"


def run(source: Path, out: Path, *options: str) -> str:
    arguments = ["train", str(source), "-o", str(out), "--arch", "cxrzero-tiny", "--epochs", "1", "--batch-size", "8"]
    result = CliRunner().invoke(app, [*arguments, "--threads", "1", *options])
    assert result.exit_code == 0, result.output
    return result.output


def shared(out: Path) -> list[Path]:
    """What docs/train.md calls the bundle, and what stands beside it without naming anyone."""
    bundle = [out / name for name in ("model.json", *json.loads((out / "model.json").read_text("utf-8"))["files"])]
    return [*bundle, out / "ensemble", out / "curves.html", out / "metrics.jsonl", out / "checkpoints"]


@pytest.mark.parametrize("patients", [True, False])
def test_nothing_that_names_a_patient_is_in_a_bundle(tmp_path, patients):
    source = plant(tmp_path / "Zebulon", patients=patients)
    out = tmp_path / "runs of Ottoline" / "Ottoline Rydzewski 1950-03-12"
    more = tmp_path / "Zebulon" / "Quattlebaum.txt"
    more.write_text("mrs featherstonehaugh\n" * 30, "utf-8")
    options = ("--ensemble", "2", "--tokenizer-texts", str(more), "--store", str(tmp_path / "Zebulon" / "store"))
    run(source, out, *options, "--val-labels", str(labelled(source)))
    assert [leak for path in shared(out) for leak in leaks(path, SECRETS)] == []
    card = load_bundle(out).card
    assert set(card["labels"]) == {"pleural effusion", "cardiomegaly", "pneumothorax", "pneumonia", "edema"}
    command = card["provenance"]["command"]
    assert command.startswith("cxrzero train SOURCE --out DIR --store DIR --arch cxrzero-tiny --epochs 1")
    assert "--tokenizer-texts TXT" in command


def labelled(source: Path) -> Path:
    """A column that lists findings, among them what is none."""
    rows = [
        f"qvist_{n:02}.png,{'Effusion' if n % 2 else 'Edema'}|{'Przybylski' if n % 4 else 'told'}"
        for n in range(40)
        if n % 3 == 0
    ]
    path = source.parent / "quattlebaum.csv"
    path.write_text("\n".join(["image,Finding Labels", *rows]) + "\n", "utf-8")
    return path


def test_a_bundle_whose_texts_name_no_finding_asks_for_labels(tmp_path):
    out = tmp_path / "run"
    run(plant(tmp_path / "films", ("Mrs Featherstonehaugh, born 1950, was seen.",)), out)
    bundle = load_bundle(out)
    assert bundle.labels == ()
    with pytest.raises(LabelError, match="say with --labels what to ask it"):
        resolve_prompts(bundle)
    film = str(tmp_path / "films" / "qvist_00.png")
    arguments = ["predict", film, "--model", str(out), "--out", str(tmp_path / "p.csv"), "--no-cache"]
    asked = CliRunner().invoke(app, arguments)
    assert asked.exit_code == 2
    assert "--labels" in asked.output
    assert CliRunner().invoke(app, [*arguments, "--labels", "pneumonia"]).exit_code == 0


def test_the_command_of_a_bundle_holds_numbers_and_words_of_lists_only(tmp_path):
    secret = tmp_path / "Przybylski" / "Ottoline"
    paths = ("image_root", "store", "init", "val_labels", "tokenizer_texts", "card")
    typed = {name: secret / name for name in paths} | {"pairs": secret, "out": secret}
    options = TrainOptions(
        **typed,
        arch=str(secret / "arch.json"),
        lineage="Przybylski",
        layout="folder",
        lr=1e-3,
        augment=False,
        skip_unreadable=True,
        freeze="text",
        command=f"cxrzero train {secret}",
        overwrite=True,
    )
    command = command_of(options)
    assert command == (
        "cxrzero train SOURCE --out DIR --image-root DIR --layout folder --skip-unreadable --store DIR --arch FILE "
        "--init MODEL --as CARD --lr 0.001 --freeze text --no-augment --val-labels CSV --tokenizer-texts TXT "
        "--card JSON --overwrite"
    )
    paper = recipe_options("chexzero", pairs=secret, out=secret, epochs=2, lineage="chexzero", init=secret)
    assert command_of(paper) == (
        "cxrzero train SOURCE --out DIR --recipe chexzero --init MODEL --as chexzero --epochs 2"
    )


def test_an_architecture_file_and_a_model_folder_are_called_by_what_they_say(tmp_path):
    secret = tmp_path / "Przybylski"
    secret.mkdir()
    path = Path(tiny_clip(secret))
    arch = load_arch(str(path))
    assert arch["name"] == "tiny CLIP"
    assert leaks_in(arch, ("Przybylski",)) == []


def leaks_in(content: object, secrets: tuple[str, ...]) -> list[str]:
    return [secret for secret in secrets if secret.lower() in json.dumps(content, ensure_ascii=False).lower()]


def test_a_user_s_own_labels_stay_with_the_table():
    found = {"auroc": [0.6, 0.5, 0.7], "labels": {"Pleural_Effusion": [0.7], "seen by Przybylski": [0.5]}}
    assert public_validation(found) == {
        "auroc": [0.6, 0.5, 0.7],
        "labels": {"pleural effusion": [0.7]},
        "unlisted_labels": 1,
    }


def test_what_else_lies_beside_a_published_model_is_not_told(tmp_path):
    names = ("open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json", "merges.txt")
    for name in (*names, "Przybylski 1950.txt", "README.md", "model-00001-of-00002.safetensors"):
        (tmp_path / name).write_text(name, "utf-8")
    assert set(_fingerprints(tmp_path)) == {*names, "model-00001-of-00002.safetensors"}
    assert set(_fingerprints(tmp_path / "README.md")) == {"README.md"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("dmis-lab/biobert", "dmis-lab/biobert"),
        ("bert", "bert"),
        ("/home/przybylski/bert", "bert"),
        ("./przybylski/bert", "bert"),
        ("C:\\przybylski\\bert", "bert"),
    ],
)
def test_a_path_of_a_published_configuration_is_not_passed_on(name, shown):
    assert _published(name) == shown
