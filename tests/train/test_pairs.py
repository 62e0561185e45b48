"""Reading and checking pairs, and what is drawn from them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from cxrzero.errors import UsageError
from cxrzero.train.data.pairs import default_labels, read_pairs
from cxrzero.train.data.sampler import Sampler


@pytest.fixture
def folder(tmp_path):
    for name in "abcdefgh":
        Image.new("L", (8, 8)).save(tmp_path / f"{name}.png")
    return tmp_path


def write(folder, text):
    path = folder / "pairs.csv"
    path.write_text(text, "utf-8")
    return path


def test_rows_are_gathered_by_image(folder):
    pairs = read_pairs(write(folder, "image,text\na.png,effusion\nb.png,no  effusion\na.png,large heart\n"))
    assert pairs.images == ["a.png", "b.png"]
    assert [[pairs.texts[t] for t in true] for true in pairs.true_texts] == [
        ["effusion", "large heart"],
        ["no effusion"],
    ]
    assert not pairs.validation.any()
    assert default_labels(pairs) == ["effusion"]


def test_relative_paths_start_at_the_image_root(folder):
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    csv = write(elsewhere, "image,text\na.png,x\nb.png,y\n")
    assert read_pairs(csv, folder).paths == [folder / "a.png", folder / "b.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,caption\na.png,x\n", "lacks the column text"),
        ("", "lacks the column image and text"),
        ("image,text\na.png,x\n", "at least two"),
        ("image,text\n", "at least two"),
        ("image,text\na.png,\nb.png,x\n", r"1 training image \(1 report says nothing\)"),
        ("image,text\n,x\nb.png,x\n", "line 2: image must not be empty"),
        ("image,text,split\na.png,x,test\nb.png,x,train\n", "split must be one of train, val"),
        ("image,text,weight\na.png,x,0\nb.png,x,1\n", "weight must be a number greater than 0"),
        ("image,text,weight\na.png,x,nan\nb.png,x,1\n", "weight must be a number greater than 0"),
        ("image,text,truth\na.png,x,1.5\nb.png,x,1\n", "truth must be a number greater than 0 and at most 1"),
        ("image,text,split\na.png,x,train\na.png,y,val\n", "another split, group, source or patient_id"),
        ("image,text,split,patient_id\na.png,x,train,7\nb.png,y,val,7\nc.png,z,train,8\n", "both train and val"),
    ],
)
def test_wrong_files_are_usage_errors(folder, text, message):
    with pytest.raises(UsageError, match=message):
        read_pairs(write(folder, text))


def test_a_text_that_only_says_no_impression_is_left_out_and_counted(folder):
    pairs = read_pairs(write(folder, "image,text\na.png,Clear.\nb.png,NO IMPRESSION\nc.png,Mass.\n"))
    assert pairs.texts == ["Clear.", "Mass."]
    assert pairs.intake.sections == {"text": 2, "nothing": 1}
    assert len(pairs.intake.silent) == 1


def test_all_absent_images_are_named(folder):
    with pytest.raises(UsageError) as raised:
        read_pairs(write(folder, "image,text\na.png,x\nnot1.png,y\nnot2.png,z\n"))
    assert "2 image files" in str(raised.value)
    assert "not1.png" in str(raised.value)
    assert "not2.png" in str(raised.value)


def test_not_utf8_is_a_usage_error(folder):
    path = folder / "pairs.csv"
    path.write_bytes(b"image,text\na.png,\xff\xfe\n")
    with pytest.raises(UsageError, match="UTF-8"):
        read_pairs(path)


def test_the_fingerprint_of_the_rows_follows_every_column(folder):
    base = "image,text,weight\na.png,x,1\nb.png,y,1\n"
    same, other = read_pairs(write(folder, base)), read_pairs(write(folder, base.replace("y,1", "y,2")))
    assert same.rows_sha256 == read_pairs(write(folder, base)).rows_sha256
    assert same.rows_sha256 != other.rows_sha256


def sampler(folder, rows, **options):
    header = "image,text,weight,split\n"
    return Sampler(
        read_pairs(write(folder, header + rows)), **({"batch_size": 2, "texts_per_image": 1, "seed": 0} | options)
    )


def test_an_epoch_shows_every_image_once_and_no_validation_image(folder):
    drawn = sampler(folder, "".join(f"{n}.png,t,1,{'val' if n in 'ab' else 'train'}\n" for n in "abcdefgh"))
    seen = Counter(int(i) for images, _ in drawn.epoch(0) for i in images)
    assert seen == dict.fromkeys(range(2, 8), 1)


def test_weights_decide_how_often_images_and_texts_are_drawn(folder):
    drawn = sampler(
        folder, "a.png,rare,6,train\na.png,common,2,train\n" + "".join(f"{n}.png,t,1,train\n" for n in "bcdefg")
    )
    seen: Counter[int] = Counter()
    texts: Counter[int] = Counter()
    for epoch in range(100):
        for images, chosen in drawn.epoch(epoch):
            seen.update(int(i) for i in images)
            texts.update(int(t[0]) for i, t in zip(images, chosen, strict=True) if i == 0)
    assert 2.7 < seen[0] / 100 < 3.3  # 6 of the 12 units of weight, 6 images an epoch
    assert 0.65 < texts[0] / (texts[0] + texts[1]) < 0.85


def test_draws_depend_on_seed_and_epoch_only(folder):
    rows = "".join(f"{n}.png,t{n},1,train\n{n}.png,u{n},1,train\n" for n in "abcdefgh")

    def images(seed, epoch):
        return np.concatenate([i for i, _ in sampler(folder, rows, seed=seed).epoch(epoch)]).tolist()

    assert images(0, 0) == images(0, 0)
    assert images(0, 0) != images(0, 1)
    assert images(0, 0) != images(1, 0)
