"""A run that was killed, interrupted or out of disk goes on as if nothing had happened, or says why it cannot."""

from __future__ import annotations

import errno
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from benchmarks import train_kill  # noqa: E402
from cxrzero.errors import OutputError, OutputExistsError, TrainingError, UsageError  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from cxrzero.train import TrainOptions, recipe_options, resume, train  # noqa: E402
from cxrzero.train.measure import metricslog  # noqa: E402
from cxrzero.train.model import checkpoint  # noqa: E402
from cxrzero.train.runfolder import RunFolder  # noqa: E402
from tests.support import REPO  # noqa: E402
from tests.support.pairs import draw, tiny_clip  # noqa: E402


@pytest.fixture
def options(tmp_path):
    pairs = draw(tmp_path / "films", 20, held_out=4)
    return TrainOptions(
        pairs, tmp_path / "run", arch="cxrzero-tiny", epochs=3, batch_size=8, threads=1, device="cpu", seed=7
    )


def losses(folder):
    return [(record["step"], record["loss"]) for record in metricslog.read(folder) if "loss" in record]


class Stop(Exception):
    pass


def stop_after(step):
    def watch(progress):
        if progress.stage == "step" and progress.done == step:
            raise Stop

    return watch


def test_three_kills_and_an_interrupt_change_no_loss(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    found = train_kill.trial(
        tmp_path, [signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGKILL], epochs=12, seed=1
    )
    assert found["equal"], found
    assert found["exit_codes"][2] == 130
    assert found["exit_codes"].count(-signal.SIGKILL) == 3


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_a_run_that_stops_anywhere_ends_in_the_same_model(options, tmp_path, step):
    """Also before the first checkpoint, and between two of them: two steps an epoch, one checkpoint each."""
    whole = train(replace(options, out=tmp_path / "whole"))
    with pytest.raises(Stop):
        train(options, stop_after(step))
    run = resume(options.out)
    assert losses(run) == losses(whole)
    for name in load_bundle(whole).files:
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    assert len(RunFolder(run).description()["resumed"]) == 1


def test_an_interrupt_saves_the_step_in_progress(options):
    def interrupt(progress):
        if progress.stage == "step" and progress.done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(options, interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    assert checkpoint.load(RunFolder(options.out).last)["step"] == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": 0.5}, "lr is 0.5 but the run .* was started with its default"),
        ({"batch_size": 4}, "batch-size is 4"),
        ({"seed": 8}, "seed is 8"),
        ({"arch": "ViT-B-32"}, "arch is 'ViT-B-32'"),
        ({"precision": "bf16"}, "precision is 'bf16'"),
    ],
)
def test_other_options_are_refused_by_name(options, given, message):
    with pytest.raises(Stop):
        train(options, stop_after(1))
    with pytest.raises(UsageError, match=message):
        resume(options.out, given)


def test_how_it_is_carried_out_may_change(options):
    with pytest.raises(Stop):
        train(options, stop_after(1))
    resume(options.out, {"save_every": 1, "epochs": 3, "lr": None})


def test_other_data_are_refused(options):
    with pytest.raises(Stop):
        train(options, stop_after(1))
    text = options.pairs.read_text("utf-8")
    options.pairs.write_text(text.replace("film 1,", "film one,"), "utf-8")
    with pytest.raises(UsageError, match="data_fingerprint"):
        resume(options.out)


def test_a_refused_resumption_leaves_the_finished_bundle_whole(options):
    train(replace(options, epochs=1))
    options.pairs.write_text(options.pairs.read_text("utf-8").replace("film 1,", "another film,"), "utf-8")
    with pytest.raises(UsageError, match="data_fingerprint"):
        resume(options.out)
    load_bundle(options.out)  # compares every file with its hash


@pytest.mark.parametrize(
    ("changed", "message"), [("words.txt", "tokenizer_sha256"), ("val.png", "val_labels_fingerprint")]
)
def test_whatever_else_it_learns_from_is_refused_when_changed(options, tmp_path, changed, message):
    for number, name in enumerate(("val.png", "val2.png")):
        Image.new("L", (32, 32), 90 * number).save(tmp_path / name)
    (tmp_path / "labels.csv").write_text("image,spot\nval.png,1\nval2.png,0\n", "utf-8")
    (tmp_path / "words.txt").write_text("effusion\n" * 9, "utf-8")
    options = replace(options, val_labels=tmp_path / "labels.csv", tokenizer_texts=tmp_path / "words.txt")
    with pytest.raises(Stop):
        train(options, stop_after(1))
    if changed == "val.png":
        Image.new("L", (32, 32), 200).save(tmp_path / changed)
    else:
        (tmp_path / changed).write_text("pneumothorax\n" * 9, "utf-8")
    with pytest.raises(UsageError, match=message):
        resume(options.out)


def test_an_architecture_file_that_changed_is_refused(options, tmp_path):
    arch = Path(tiny_clip(tmp_path))
    with pytest.raises(Stop):
        train(replace(options, arch=str(arch)), stop_after(1))
    arch.write_text(arch.read_text("utf-8").replace('"quick_gelu": true', '"quick_gelu": false'), "utf-8")
    with pytest.raises(UsageError, match="arch_sha256"):
        resume(options.out)


def test_nothing_to_resume(tmp_path):
    with pytest.raises(UsageError, match="no run to resume"):
        resume(tmp_path)


def test_a_started_run_is_not_replaced_unasked(options):
    with pytest.raises(Stop):
        train(options, stop_after(1))
    with pytest.raises(OutputExistsError, match="unfinished run; continue it with --resume"):
        train(options)
    train(replace(options, overwrite=True))
    assert len(losses(options.out)) == 6


def test_two_processes_do_not_share_a_folder(options):
    holder = RunFolder(options.out)
    holder.claim(resume=False, overwrite=False)
    with pytest.raises(OutputError, match="another process is training"):
        train(options)
    holder.release()
    train(replace(options, epochs=1))


def test_a_full_disk_is_said_and_the_checkpoint_before_stays(options, monkeypatch):
    real, saved = torch.save, []

    def full(content, file):
        if "optimiser" in content:
            saved.append(1)
            if len(saved) == 2:
                file.write(b"half")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(content, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match=r"No space left.*the one before it is kept.*--resume"):
        train(options)
    assert checkpoint.load(RunFolder(options.out).last)["step"] == 2
    assert not list(options.out.glob("checkpoints/*.partial"))
    monkeypatch.undo()
    resume(options.out)
    assert [step for step, _ in losses(options.out)] == [1, 2, 3, 4, 5, 6]


def test_a_disk_that_is_full_at_the_end_is_said_and_the_run_ends_later(options, monkeypatch):
    real = os.fsync

    def full(number):
        if any(options.out.glob(".bundle-*/image_weights.bin")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(number)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"(\.onnx|\.json|\.bin) cannot be written: No space left.*--resume"):
        train(options)
    monkeypatch.undo()
    load_bundle(resume(options.out))


def test_an_image_that_goes_bad_in_epoch_3_changes_nothing(options, tmp_path):
    whole = train(replace(options, out=tmp_path / "whole"))

    def spoil(progress):
        if progress.stage == "step" and progress.done == 5:
            for path in options.pairs.parent.glob("*.png"):
                path.write_bytes(b"spoilt")

    assert losses(train(options, spoil)) == losses(whole)


def test_a_damaged_checkpoint_is_named(options):
    with pytest.raises(Stop):
        train(options, stop_after(3))
    last = RunFolder(options.out).last
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"last\.pt cannot be read"):
        resume(options.out)


def test_a_pickle_that_runs_code_does_not_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "owned"),))

    torch.save({"model": Attack()}, tmp_path / "attack.pt")
    with pytest.raises(TrainingError):
        checkpoint.load(tmp_path / "attack.pt")
    assert not (tmp_path / "owned").exists()


def test_the_recipe_of_the_paper_and_what_the_user_states(tmp_path):
    paper = recipe_options("chexzero", pairs=tmp_path, out=tmp_path, epochs=None, batch_size=64)
    assert (paper.optimiser, paper.lr, paper.momentum, paper.schedule) == ("sgd", 1e-4, 0.9, "constant")
    assert (paper.arch, paper.epochs, paper.batch_size, paper.augment) == ("ViT-B-32-quickgelu", 4, 64, False)
    with pytest.raises(UsageError, match="choose from default, chexzero"):
        recipe_options("clip", pairs=tmp_path, out=tmp_path)


def test_training_outside_the_main_thread_leaves_signals_alone(options):
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=train, args=(replace(options, epochs=1),))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
    assert (options.out / "model.json").exists()
