"""Screen a Hugging Face dataset of pictures: `python huggingface_datasets.py FOLDER` takes one of PNG and JPEG files.

Needs `pip install datasets pillow`. A dataset of the Hub, `datasets.load_dataset("name")`, is screened in the same way.
"""

from __future__ import annotations

import sys
from pathlib import Path

import datasets

from cxrzero import Screener

FINDINGS = ["pleural effusion", "pneumonia", "cardiomegaly", "pneumothorax"]


def dataset_of(folder: str) -> datasets.Dataset:
    """A dataset with an image column, and the files' names beside it."""
    files = sorted(str(path) for path in Path(folder).iterdir() if path.suffix in (".png", ".jpg"))
    columns = {"image": files, "name": [Path(file).name for file in files]}
    return datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())


def screened(dataset: datasets.Dataset) -> datasets.Dataset:
    """The dataset with a column more for each finding; None where a picture could not be read."""
    rows = Screener().predict(dataset, FINDINGS, column="image")
    for finding in FINDINGS:
        dataset = dataset.add_column(finding, [row[finding] for row in rows])
    return dataset


if __name__ == "__main__":
    for row in screened(dataset_of(sys.argv[1])).remove_columns("image"):
        print(row["name"], *(f"{finding} {row[finding]:.2f}" for finding in FINDINGS), sep="  ")
