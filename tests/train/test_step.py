"""The gradient does not depend on how a batch is divided: into micro-batches, or over processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
from open_clip.loss import ClipLoss  # noqa: E402

from cxrzero.cli import app  # noqa: E402
from cxrzero.clip.architecture import build_model, load_arch  # noqa: E402
from cxrzero.train.data.batches import Batch, step_seed  # noqa: E402
from cxrzero.train.data.pixels import EncoderInput  # noqa: E402
from cxrzero.train.distributed import World, join  # noqa: E402
from cxrzero.train.model.weights import freeze_tower  # noqa: E402
from cxrzero.train.options import TrainOptions  # noqa: E402
from cxrzero.train.step.backward import Encoders, _Chunks, backward  # noqa: E402
from cxrzero.train.step.loss import contrastive_loss  # noqa: E402
from cxrzero.train.step.optimise import clip_gradients, make_optimiser, set_rate  # noqa: E402
from tests.support import REPO  # noqa: E402
from tests.support.pairs import TINY_CLIP, draw, tiny_clip  # noqa: E402

CPU = torch.device("cpu")
IMAGES, TEXTS = 7, 5
STEPS: list[dict[str, Any]] = [
    {"step": "rescale", "factor": 1 / 255},
    {"step": "normalize", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]},
]


def whole_batch():
    """7 images of 5 texts, some of them shared."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.zeros(TEXTS, 77, dtype=torch.int64)
    ids[:, :4] = torch.randint(1, 40000, (TEXTS, 4), generator=generator)
    ids[:, 4] = 49407
    shown = torch.zeros(IMAGES, TEXTS, dtype=torch.bool)
    shown[torch.arange(IMAGES), torch.arange(IMAGES) % TEXTS] = True
    pixels = torch.rand(IMAGES, 32, 32, generator=generator)
    return Batch(0, np.arange(IMAGES), shown, shown, torch.zeros(IMAGES, dtype=torch.int64), pixels, ids)


def gradients(world, micro_batch=None, batch=None, dropout=0.0):
    torch.manual_seed(0)
    model = build_model(TINY_CLIP)
    if dropout:
        model.visual.patch_dropout = torch.nn.Dropout(dropout)
    batch = batch or whole_batch()
    mine = Batch(
        batch.step, batch.images, batch.truth, batch.shown, batch.groups,
        batch.pixels[world.part(len(batch.pixels))], batch.ids[world.part(len(batch.ids))],
    )  # fmt: skip
    torch.manual_seed(1)
    loss = backward(Encoders(model, EncoderInput(STEPS), CPU, bf16=False), mine, world, micro_batch)
    return {"loss": loss} | {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-5, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("micro_batch", [1, 3, 7, 100])
def test_micro_batches_give_the_gradient_of_the_whole_batch(micro_batch):
    world = World(0, 1, CPU)
    expected = gradients(world)
    assert len(expected) > 20
    assert_same(gradients(world, micro_batch), expected)


def test_the_second_pass_repeats_the_first_one_s_dropout():
    """With other dropout in the two passes a gradient would belong to another loss: compared with one graph."""
    world = World(0, 1, CPU)
    torch.manual_seed(0)
    model = build_model(TINY_CLIP)
    model.visual.patch_dropout = torch.nn.Dropout(0.5)
    encoders, batch = Encoders(model, EncoderInput(STEPS), CPU, bf16=False), whole_batch()
    torch.manual_seed(1)
    images = torch.cat([encoders.images(part) for part in batch.pixels.split(3)])
    texts = torch.cat([encoders.texts(part) for part in batch.ids.split(3)])
    torch.autograd.backward(contrastive_loss(images, texts, batch.truth, model.logit_scale.exp()))
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    found = gradients(world, 3, dropout=0.5)
    found.pop("loss")
    assert_same(found, expected)


def test_the_second_pass_counts_no_batch_statistics_twice():
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(1), torch.nn.Flatten())
    images = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    chunks = _Chunks(model, images, 2, model)
    assert torch.equal(model[0].running_mean, torch.zeros(1))
    chunks.backward(torch.ones_like(chunks.embeds))
    once = torch.nn.BatchNorm2d(1)
    for part in images.split(2):
        once(part)
    torch.testing.assert_close(model[0].running_mean, once.running_mean)
    torch.testing.assert_close(model[0].running_var, once.running_var)


def test_one_text_an_image_is_open_clip_s_loss():
    batch = whole_batch()
    eye = torch.eye(TEXTS, dtype=torch.bool)
    batch = Batch(0, np.arange(TEXTS), eye, eye, batch.groups[:TEXTS], batch.pixels[:TEXTS], batch.ids)
    torch.manual_seed(0)
    model = build_model(TINY_CLIP)
    encoders = Encoders(model, EncoderInput(STEPS), CPU, bf16=False)
    reference = ClipLoss()(encoders.images(batch.pixels), encoders.texts(batch.ids), model.logit_scale.exp())
    assert gradients(World(0, 1, CPU), 2, batch)["loss"].item() == pytest.approx(reference.item(), abs=1e-6)


def test_two_processes_give_the_gradient_of_one(tmp_path):
    """Gloo between two processes with 4 + 3 images and 3 + 2 texts, in micro-batches too."""
    run_two(["-c", f"import runpy; runpy.run_path({str(__file__)!r}, run_name='worker')", str(tmp_path)])
    expected = gradients(World(0, 1, CPU))
    for rank in (0, 1):
        for micro_batch in (None, 2):
            assert_same(torch.load(tmp_path / f"{rank}-{micro_batch}.pt", weights_only=True), expected)


def run_two(arguments):
    """The same Python command in two processes that meet as torchrun's would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    common |= {"PYTHONPATH": str(REPO), "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    outputs = [process.communicate(timeout=180)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    return outputs


def worker(folder):
    with join("cpu") as world:
        for micro_batch in (None, 2):
            torch.save(gradients(world, micro_batch), f"{folder}/{world.rank}-{micro_batch}.pt")
        assert world.any(world.rank == 1)
        assert not world.any(False)
        assert world.from_main(world.rank) == 0


def test_two_processes_train_as_one(tmp_path):
    pairs, arch = draw(tmp_path / "films", 18, held_out=4), tiny_clip(tmp_path)
    command = ["-m", "cxrzero", "train", str(pairs), "--arch", arch, "--batch-size", "7", "--epochs", "2"]
    command += ["--no-augment", "--device", "cpu", "--threads", "1", "--lr", "1e-3"]
    outputs = run_two([*command, "--out", str(tmp_path / "two")])
    assert outputs[1] == ""  # only the first speaks
    assert CliRunner().invoke(app, [*command[2:], "--out", str(tmp_path / "one")]).exit_code == 0
    losses = [
        [json.loads(line).get("loss") for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    assert len(losses[0]) == 4 + 3  # steps, and validations at the start and after each epoch
    steps = [[loss for loss in each if loss is not None] for each in losses]
    np.testing.assert_allclose(steps[1], steps[0], atol=1e-4)


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_fused_steps_are_plain_steps(optimiser, tmp_path):
    """A fused optimiser takes weight and gradient as flat arrays: right only if both lie in memory alike.

    Compared with plain steps over plain arrays by the same gradients: Adam divides a gradient by its own size, so that
    of two models that each compute theirs, one near zero may step either way by its last digit.
    """
    options = TrainOptions(tmp_path, tmp_path, optimiser=optimiser)
    torch.manual_seed(0)
    model = build_model(load_arch("cxrzero-tiny")).to(memory_format=torch.channels_last)
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    plain = build_model(load_arch("cxrzero-tiny"))
    plain.load_state_dict(model.state_dict())
    optimisers = [make_optimiser(each, options) for each in (model, plain)]
    assert all(group["fused"] for group in optimisers[0].param_groups)
    for group in optimisers[1].param_groups:
        group["fused"] = False
    for _ in range(3):
        optimisers[0].zero_grad()
        pixels = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        embeds = model.encode_image(pixels.contiguous(memory_format=torch.channels_last))
        torch.autograd.backward((embeds * torch.arange(32)).sum())
        for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
            assert theirs.is_contiguous()
            if mine.grad is not None:
                assert mine.grad.stride() == mine.stride()
                theirs.grad = mine.grad.contiguous()
        for each in optimisers:
            set_rate(each, 1e-3)
            each.step()
    expected = dict(plain.named_parameters())
    moved = [name for name, value in model.named_parameters() if not torch.equal(value, start[name])]
    assert any(not expected[name].is_contiguous(memory_format=torch.channels_last) for name in moved)
    for name, value in model.named_parameters():
        torch.testing.assert_close(value, expected[name], atol=1e-7, rtol=1e-6, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("largest", [0.5, 1e9, float("inf")])
def test_clipping_is_torch_s(largest):
    models = [build_model(TINY_CLIP) for _ in range(2)]
    for model in models:
        model.text.text_projection.requires_grad_(False)  # without a gradient
        for number, parameter in enumerate(model.parameters()):
            if parameter.requires_grad:
                parameter.grad = torch.full_like(parameter, number / 100)
    expected = torch.nn.utils.clip_grad_norm_(models[0].parameters(), largest)
    assert clip_gradients(models[1], largest) == expected.item()
    for (name, value), other in zip(models[1].named_parameters(), models[0].parameters(), strict=True):
        assert (value.grad is None and other.grad is None) or torch.equal(value.grad, other.grad), name


def test_every_step_of_every_process_has_a_seed_of_its_own():
    seeds = {step_seed(seed, step, rank) for seed in range(3) for step in range(50) for rank in range(3)}
    assert len(seeds) == 450


if __name__ == "worker":
    worker(sys.argv[1])


def test_a_frozen_text_tower_reads_each_text_once(monkeypatch):
    torch.manual_seed(0)
    model = build_model(TINY_CLIP)
    freeze_tower(model, "text")
    encoders = Encoders(model, EncoderInput(STEPS), CPU, bf16=False)
    ids = whole_batch().ids
    expected = torch.nn.functional.normalize(model.encode_text(ids), dim=-1)
    seen, encode = [], model.encode_text
    monkeypatch.setattr(model, "encode_text", lambda rows: seen.extend(rows.tolist()) or encode(rows))
    torch.testing.assert_close(encoders.texts(ids[:3]), expected[:3])
    torch.testing.assert_close(encoders.texts(ids), expected)
    assert seen == ids.tolist()
    monkeypatch.setattr("cxrzero.train.step.backward.MAX_KNOWN", TEXTS)
    torch.testing.assert_close(encoders.texts(ids.clone()), expected)
    other = ids.clone()
    other[:, 0] += 1
    encoders.texts(other)
    assert len(seen) == 2 * TEXTS
