"""The teachers of the model in the box, in small: films without a meaning, a tiny trunk, two epochs."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from recipes import mini_teacher  # noqa: E402
from recipes.mini_films import LABELS, held_out  # noqa: E402
from tests.support.minidata import box, nih, write_data  # noqa: E402


@pytest.fixture
def teach(tmp_path, monkeypatch):
    """Run the program; its output folder."""
    patients = [f"{n:08}" for n in range(1, 400)]
    chosen = [p for p in patients if held_out(p)][:12] + [p for p in patients if not held_out(p)][:40]
    rows = [nih(f"{p}_000.jpg", *(["Effusion"] if n % 2 else [])) for n, p in enumerate(chosen)]
    rows.append(nih("00000500_000.jpg", "Mass", split="val"))
    data = write_data(tmp_path / "data", {"nih128": rows}, [box("nih128/00000500_000.jpg", "Mass", 1, 2, 3, 4)])

    def trunk(name, wheels):
        torch.manual_seed(3)
        return timm.create_model("test_efficientnet", num_classes=0)

    monkeypatch.setattr(mini_teacher, "imagenet_trunk", trunk)

    def run(name):
        out = tmp_path / name
        options = ["--data", data, "--wheels", tmp_path, "--out", out, "--side", 32, "--epochs", 2, "--batch-size", 8]
        monkeypatch.setattr(sys, "argv", ["mini_teacher.py", *map(str, options), "--device", "cpu"])
        mini_teacher.main()
        return out

    return run


def test_a_teacher_that_was_stopped_goes_on_and_ends_as_the_other(teach, monkeypatch):
    whole = teach("whole")
    save, saved = mini_teacher.Course._save, []

    def stop(course):
        save(course)
        saved.append(course)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(mini_teacher.Course, "_save", stop)
        with pytest.raises(KeyboardInterrupt):
            teach("stopped")
    assert len(saved) == 1
    stopped = teach("stopped")
    scores = [np.load(folder / "scores.npz") for folder in (whole, stopped)]
    assert scores[0]["scores"].shape == (52, len(LABELS))  # none of the validation film
    assert np.array_equal(scores[0]["scores"], scores[1]["scores"])
    lines = [json.loads(line) for line in (stopped / "held.jsonl").read_text("utf-8").splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert set(lines[0]) == {"epoch", "loss", "held_macro", "seconds", "Effusion"}


def test_a_label_that_the_source_does_not_state_teaches_nothing():
    logits = torch.zeros(2, 2, requires_grad=True)
    loss = mini_teacher.known_loss(logits, torch.tensor([[1.0, float("nan")], [float("nan"), 0.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(np.log(2))
    assert logits.grad.tolist() == [[-0.25, 0], [0, 0.25]]
