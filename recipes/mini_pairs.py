"""Turns the labels of the open chest X-ray subsets into pairs.csv for training cxrzero-mini.

    python recipes/mini_pairs.py --data ../shared/data --out runs/mini

writes pairs.csv (image paths relative to --data) and tokenizer_texts.txt. A label becomes several true statements
("pleural effusion", "chest radiograph with effusion", "no pneumothorax"); every statement that follows from an image's
labels is a row of that image, so that training never takes a true statement for a false one. `weight` says how
often a statement is drawn: findings that are there more often than those that are not, rare ones more than common ones.
Sources are groups: children against adults, or one source's picture size against another's, must not become a finding.
Only train splits are used; some patients of the adult films are kept out as validation rows.

Phantoms (invented films, see cxrzero.phantom) join as a group of their own, drawn into <out>/phantoms: they alone state
sides and sizes exactly. Bedside (AP) phantoms are never drawn here, so that they can test what was learned of sides.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cxrzero.phantom import NAMES, Finding, draw, sample_findings
from cxrzero.phantom.findings import DEVICES, SIDED

# Words for each label of ChestX-ray14. The first is the label as users type it. Some everyday paraphrases are left out
# on purpose, so that they can test whether the model understands words that it never saw together.
FINDINGS: dict[str, tuple[str, ...]] = {
    "Atelectasis": ("atelectasis", "atelectatic change", "volume loss"),
    "Cardiomegaly": ("cardiomegaly", "large heart", "enlarged cardiac silhouette"),
    "Effusion": ("pleural effusion", "effusion", "pleural fluid"),
    "Infiltration": ("infiltration", "infiltrate", "pulmonary infiltrates"),
    "Mass": ("mass", "lung mass"),
    "Nodule": ("nodule", "lung nodule", "pulmonary nodule"),
    "Pneumonia": ("pneumonia",),
    "Pneumothorax": ("pneumothorax", "air in the pleural space"),
    "Consolidation": ("consolidation", "airspace consolidation"),
    "Edema": ("edema", "pulmonary edema", "oedema"),
    "Emphysema": ("emphysema", "pulmonary emphysema"),
    "Fibrosis": ("fibrosis", "pulmonary fibrosis", "fibrotic change"),
    "Pleural_Thickening": ("pleural thickening", "thickened pleura"),
    "Hernia": ("hernia", "hiatal hernia"),
}
NORMAL = ("no finding", "normal", "normal chest radiograph", "no abnormality", "unremarkable chest x-ray")
ABNORMAL = ("abnormal", "abnormal chest radiograph", "finding", "abnormality")
RESERVED = ("fluid around the lung", "collapsed lung", "enlarged heart")  # must not occur in any caption
VIEWS = {"AP": ("ap view", "anteroposterior chest radiograph"), "PA": ("pa view", "posteroanterior chest radiograph")}

HELD_OUT_IN = 16  # one patient in so many is kept out of training
RAREST = 8.0  # largest weight of a rare finding
CHILDREN = 0.4  # weight of the children's films: many, and easy; adult films are what counts
ABSENT = 0.12  # weight of one "no X"; there are thirteen or so to an image
PHANTOMS = 1500
PHANTOM_SIDE = 160  # pixels; more than the encoder sees, so that augmentation has something to lose
PHANTOM_WEIGHT = 0.5  # of a phantom's statements beside those of a film
FIRST_SEED = 100_000  # of the phantoms here; examples, tests and benchmarks take others
COLUMNS = ("image", "text", "patient_id", "split", "group", "weight")
Statements = dict[str, float]  # text → weight


def adult_statements(row: dict[str, str], rarity: dict[str, float]) -> Statements:
    """What follows from one row of ChestX-ray14 labels. A blank label counts as absent, as in the published lists."""
    present = [label for label in FINDINGS if row[label] == "1"]
    texts: Statements = {}
    for label, words in FINDINGS.items():
        if label in present:
            for word in words:
                for form, share in ((word, 1.0), (f"chest radiograph with {word}", 0.25), (f"{word} is present", 0.25)):
                    texts[form] = rarity[label] * share
        else:
            for i, word in enumerate(words):
                texts[f"no {word}"] = ABSENT if i == 0 else ABSENT / 2
                texts[f"there is no {word}"] = ABSENT / 4
    if not present:
        texts |= dict.fromkeys(NORMAL, 0.5)
        texts["the heart is normal in size. the lungs are clear. no pleural effusion or pneumothorax."] = 0.2
    else:
        texts |= dict.fromkeys(ABNORMAL, 0.1)
        names = [FINDINGS[label][0] for label in present]
        for a, b in itertools.permutations(names, 2):
            texts[f"{a} and {b}"] = 0.3
        absent = [FINDINGS[label][0] for label in ("Effusion", "Pneumothorax", "Cardiomegaly") if label not in present]
        if absent:
            texts[f"{', '.join(names)}. no {' or '.join(absent)}."] = 0.3
    for text in VIEWS.get(row.get("view", ""), ()):
        texts[text] = 0.1
    return texts


def rarities(rows: list[dict[str, str]]) -> dict[str, float]:
    """Weight of each finding: the square root of how much rarer it is than the most common one, at most RAREST."""
    counts = Counter(label for row in rows for label in FINDINGS if row[label] == "1")
    most = max(counts.values())
    return {label: min(RAREST, math.sqrt(most / max(1, counts[label]))) for label in FINDINGS}


def child_statements(finding: str) -> Statements:
    """Kermany: normal, bacterial pneumonia or viral pneumonia; nothing else is known of these films."""
    if finding == "normal":
        texts = dict.fromkeys(NORMAL, 0.4)
        return texts | {
            "no pneumonia": 1.0,
            "there is no pneumonia": 0.4,
            "no bacterial pneumonia": 0.3,
            "no viral pneumonia": 0.3,
            "the lungs are clear. no pneumonia.": 0.3,
        }
    kind = finding.removesuffix(" pneumonia")
    other = {"bacterial": "viral", "viral": "bacterial"}[kind]
    texts = dict.fromkeys(ABNORMAL, 0.1)
    return texts | {
        "pneumonia": 1.0,
        "chest radiograph with pneumonia": 0.4,
        "pneumonia is present": 0.4,
        f"{kind} pneumonia": 0.8,
        f"chest radiograph with {kind} pneumonia": 0.3,
        f"no {other} pneumonia": 0.3,
    }


def tuberculosis_statements(row: dict[str, str]) -> Statements:
    """Shenzhen: the reader's own words, and the sides and zones that they name."""
    if row["finding"] == "normal":
        texts = dict.fromkeys(NORMAL, 0.4)
        return texts | {"no tuberculosis": 1.0, "no pulmonary tuberculosis": 0.6, "there is no tuberculosis": 0.3}
    reading = " ".join(row["text"].lower().replace(",", ", ").split())
    texts = dict.fromkeys(ABNORMAL, 0.1)
    if "tb" in reading:
        texts |= {
            "tuberculosis": 1.0,
            "pulmonary tuberculosis": 0.7,
            "chest radiograph with tuberculosis": 0.3,
            "tuberculosis is present": 0.3,
        }
        spelled = reading.replace("ptb", "pulmonary tuberculosis").replace("stb", "secondary tuberculosis")
        texts[spelled] = 0.5
        if "," not in reading and ";" not in reading and " with " not in reading:
            side = next((side for side in ("bilateral", "right", "left") if side in reading), None)
            zone = next((zone for zone in ("upper", "lower") if zone in reading), None)
            if side:
                texts[f"{side} tuberculosis"] = 0.4
            if side and zone and "middle" not in reading:
                texts[f"{side} {zone} tuberculosis"] = 0.4
    else:
        texts |= {reading: 1.0, "no tuberculosis": 0.5}
    return texts


def phantom_statements(findings: Sequence[Finding]) -> Statements:
    """Everything that is true of a phantom, with sides; nothing that its own report would not say."""
    names = {finding.name for finding in findings}
    texts: Statements = {}
    for name in (name for name in NAMES if name not in DEVICES):
        sides = {finding.side for finding in findings if finding.name == name}
        if name in names:
            texts |= {name: 1.0, f"{name} is present": 0.25, f"chest radiograph with {name}": 0.25}
        else:
            texts |= {f"no {name}": ABSENT * 2, f"there is no {name}": ABSENT / 2}
        for side in ("left", "right") if name in SIDED else ():
            texts |= {f"{side} {name}": 1.0} if side in sides else {f"no {side} {name}": ABSENT}
    texts |= {finding.sentence(i).rstrip(".").lower(): 0.3 for finding in findings for i in (0, 1)}
    texts |= dict.fromkeys(ABNORMAL, 0.1) if names - DEVICES else dict.fromkeys(NORMAL, 0.3)
    return {text: weight for text, weight in texts.items() if not any(phrase in text for phrase in RESERVED)}


def phantoms(folder: Path, count: int = PHANTOMS) -> Iterator[tuple[str, str, str, str, Statements]]:
    """Draw phantoms as PNG files and yield them as `images` does; each is a patient of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        findings = sample_findings(np.random.default_rng(seed))
        film = draw(seed, PHANTOM_SIDE, findings, marker=seed % 2 == 0)
        path = folder.resolve() / f"{seed}.png"
        Image.fromarray(film.to_uint8()).save(path)
        split = "val" if held_out(str(seed)) else "train"
        yield str(path), f"phantom-{seed}", split, "phantom", scaled(phantom_statements(findings), PHANTOM_WEIGHT)


def scaled(texts: Statements, factor: float) -> Statements:
    """The same statements, drawn `factor` times as often."""
    return {text: weight * factor for text, weight in texts.items()}


def read(path: Path) -> list[dict[str, str]]:
    """The rows of one subset's CSV that may be trained on."""
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == "train"]


def held_out(patient: str) -> bool:
    """Whether a patient is kept out of training; the same patient in every subset."""
    return hashlib.sha256(patient.encode()).digest()[0] % HELD_OUT_IN == 0


def images(data: Path) -> Iterator[tuple[str, str, str, str, Statements]]:
    """Yield (image, patient_id, split, group, statements) for every training image."""
    # nih was picked as "Pneumonia versus No Finding" and comes at another size: a group of its own.
    for subset, group in (("nih128", "adult"), ("nih64", "adult"), ("nih", "adult-pneumonia")):
        rows = read(data / subset / f"{subset}.csv")
        rarity = rarities(rows)
        for row in rows:
            patient = row["patient_id"]
            split = "val" if held_out(patient) else "train"
            yield f"{subset}/{row['image']}", f"nih-{patient}", split, group, adult_statements(row, rarity)
    for row in read(data / "kermany" / "kermany.csv"):
        # Names do not say reliably who is who, so whole names are held out, not patients.
        split = "val" if held_out(row["image"]) else "train"
        yield f"kermany/{row['image']}", "", split, "child", scaled(child_statements(row["finding"]), CHILDREN)
    for row in read(data / "shenzhen" / "shenzhen.csv"):
        split = "val" if held_out(row["image"]) else "train"
        yield f"shenzhen/{row['image']}", "", split, "tuberculosis", tuberculosis_statements(row)


def write(data: Path, out: Path) -> tuple[int, int]:
    """Write pairs.csv and tokenizer_texts.txt; returns (images, rows)."""
    out.mkdir(parents=True, exist_ok=True)
    count = rows = 0
    with (out / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for image, patient, split, group, statements in itertools.chain(images(data), phantoms(out / "phantoms")):
            count += 1
            for text, weight in statements.items():
                if any(phrase in text for phrase in RESERVED):
                    raise ValueError(f"{image}: the caption {text!r} uses a reserved phrase")
                writer.writerow((image, text, patient, split, group, f"{weight:.4g}"))
                rows += 1
    captions = [" ".join(row["text"].split()) for row in read(data / "roco" / "roco.csv")]
    (out / "tokenizer_texts.txt").write_text("\n".join(captions) + "\n", "utf-8")
    return count, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder that holds kermany/, nih/, nih64/, nih128/, roco/, shenzhen/"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for pairs.csv and tokenizer_texts.txt")
    args = parser.parse_args()
    count, rows = write(args.data, args.out)
    print(f"{args.out / 'pairs.csv'}: {count} images, {rows} rows")


if __name__ == "__main__":
    main()
