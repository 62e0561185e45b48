"""Every form of an image, in a program that is never run: `test_typed.py` has a type checker read it."""

# mypy: ignore-errors

import io
from pathlib import Path
from typing import assert_type

import datasets  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
import numpy.typing as npt
import pydicom
import torch
from PIL import Image

from cxrzero import Embeddings, Hit, Prediction, Predictions, Screener

screener = Screener()
path = Path("a.png")
array: npt.NDArray[np.uint8] = np.zeros((4, 4), np.uint8)
tensor = torch.zeros(4, 4)
table: datasets.Dataset = datasets.load_from_disk("films")["train"]  # pyright: ignore
with Image.open(path) as picture, path.open("rb") as file:
    screener.predict(path)
    screener.predict("films/")
    screener.predict(b"x")
    screener.predict(bytearray(b"x"))
    screener.predict(memoryview(b"x"))
    screener.predict(io.BytesIO(b"x"))
    screener.predict(file)
    screener.predict(array)
    screener.predict(array / 255, value_range=(0, 1))
    screener.predict(picture)
    screener.predict(Image.new("L", (4, 4)))
    screener.predict(pydicom.dcmread("a.dcm"))  # pyright: ignore[reportUnknownMemberType]
    screener.predict(pydicom.Dataset())
    screener.predict(tensor)
    screener.predict(("x", array))
    screener.predict({"image": picture, "label": 1}, column="image")
    screener.predict(table[0])  # pyright: ignore[reportUnknownArgumentType]
    screener.predict(table)
    screener.predict(table.to_iterable_dataset())
    screener.predict(table["image"])  # pyright: ignore[reportUnknownArgumentType]
    screener.predict([path, array, picture, tensor, ("x", array)])
    screener.predict([array, array])
    screener.predict(["a.png", "b.png"])
    screener.predict([{"image": picture}])
    screener.predict(sorted(path.glob("*.png")))
    screener.predict(each for each in [array])
    screener.predict({"a": array, "b": array}.items())
    screener.predict(tensor.unbind())

rows = assert_type(screener.predict("films/", ["edema"]), Predictions)
assert_type(rows[0], Prediction)
assert_type(rows[:2], Predictions)
assert_type(rows[0].scores["edema"], float)
assert_type([row.path for row in screener.iter("films/")], list[str])
kept = assert_type(screener.embed("films/"), Embeddings)
assert_type(kept.numpy(), npt.NDArray[np.float32])
assert_type(screener.score(kept, ["edema"]), Predictions)
assert_type(screener.search(kept, like=path), list[Hit])

# What is no image is one for no type checker either.
screener.predict(5)  # pyright: ignore[reportArgumentType]
screener.predict([5])  # pyright: ignore[reportArgumentType]
screener.predict(object())  # pyright: ignore[reportArgumentType]
screener.predict({"a": 1}.values())  # pyright: ignore[reportArgumentType]
screener.predict(path, "edema", model="x")  # pyright: ignore[reportCallIssue]
