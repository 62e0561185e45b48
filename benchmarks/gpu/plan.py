"""The rows to measure, most important first, and what each needs. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# What a job may lack, as `probe.py` says it: "cuda", and the names of what is imported.
MODELS = ("vit-b-32", "mini", "vit-b-16", "vit-l-14-336")


@dataclass(frozen=True)
class Job:
    """One process and the rows that it is to tell.

    Attributes:
        rows: their names.
        program: module of this folder; of a job that says lines, what Python is given first.
        keeps: a regular expression of the lines that it says; None for a program that tells rows.
        marks: what must have been made: films and models, see `worker.mark`.
        needs: what the machine must have, see `probe.py`.
        least: seconds without which it is not worth starting.
        limit: seconds after which it is ended.
        quiet: it is given all cores: what makes models stands still meanwhile, and nothing is loaded ahead.
    """

    rows: tuple[str, ...]
    program: str
    arguments: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    least: float = 8.0
    limit: float = 60.0
    quiet: bool = False
    keeps: str | None = None

    @property
    def name(self) -> str:
        return " ".join((self.program, *self.arguments))


@dataclass(frozen=True)
class Scale:
    """How much is measured: all of it on a GPU, little in a rehearsal on the CPU."""

    device: str
    models: tuple[str, ...]
    all_calls: tuple[int, ...]
    two_calls: tuple[int, ...]
    seconds: float
    whole_seconds: float
    matrix: int
    films: tuple[str, ...]
    host: tuple[str, ...]


FULL = Scale("cuda", MODELS, (64, 128, 256, 512), (64, 256), 1.0, 6.0, 8192, (), ("--films", "10000"))
REHEARSAL = Scale(
    "cpu",
    ("tiny",),
    (4, 8),
    (4,),
    0.05,
    0.5,
    128,
    ("--films", "12", "--dicom-films", "4", "--shrink", "8"),
    ("--films", "4400", "--side", "128"),
)


def makers(scale: Scale) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """(program, arguments, marks) of what is made beside the measuring, in the order in which it is needed."""
    yield "films", scale.films, ("png", "jpeg", "explicit", "jpeg2000")
    for model in scale.models:
        yield "models", (model,), (model, f"{model}.fp16")


def jobs(scale: Scale) -> list[Job]:
    first, others = scale.models[:2], scale.models[2:]
    found = [
        Job(
            tuple(f"ceiling {each}" for each in ("fp32", "fp16", "bf16")),
            "ceiling",
            ("--side", str(scale.matrix)),
            needs=("torch",),
        )
    ]
    for model in first:
        for backend, precision in (
            ("torch", "fp32"),
            ("onnxruntime", "fp32"),
            ("torch", "fp16"),
            ("onnxruntime", "fp16"),
            ("torch", "bf16"),
        ):
            found.append(encode(scale, model, backend, precision, scale.all_calls))
    found += wholes(scale)
    for model in others:
        for precision in ("fp32", "fp16"):
            for backend in ("torch", "onnxruntime"):
                found.append(encode(scale, model, backend, precision, scale.two_calls))
    model = scale.models[0]
    calls = str(scale.two_calls[-1])
    arguments = ("--model", model, "--precision", "fp16", "--calls", calls)
    found.append(Job((f"compiled {model} fp16 {calls}",), "compiled", arguments, (model,), ("torch",), 40.0, 120.0))
    found.append(
        Job(("before film", "before value steps"), "before", ("--model", model), (model,), ("torch",), 10.0, 45.0)
    )
    found += others_say(scale)
    return found


def encode(scale: Scale, model: str, backend: str, precision: str, calls: tuple[int, ...]) -> Job:
    sizes = ",".join(map(str, calls))
    arguments = ("--model", model, "--backend", backend, "--precision", precision, "--calls", sizes)
    if scale is REHEARSAL:
        arguments += ("--rows", "16")
    mark = f"{model}.fp16" if (backend, precision) == ("onnxruntime", "fp16") else model
    rows = tuple(f"encode {model} {backend} {precision} {each}" for each in calls)
    limit = 150.0 if model == "vit-l-14-336" else 75.0
    return Job(rows, "encode", arguments, (mark,), (backend,), 12.0, limit)


def wholes(scale: Scale) -> Iterator[Job]:
    """Films to scores: each form of film with the backend that `auto` takes; PNG also in other ways."""
    model = scale.models[0]
    for form, precision, options in (
        ("png", "fp32", ()),
        ("png", "fp32", ("--fitted",)),
        ("jpeg", "fp32", ()),
        ("jpeg2000", "fp32", ()),
        ("jpeg2000", "fp32", ("--fast-decode",)),
        ("explicit", "fp32", ()),
        ("jpeg2000", "fp32", ("--gpu-decode",)),
        ("png", "fp16", ()),
        ("png", "fp32", ("--backend", "onnxruntime")),
    ):
        name = " ".join(
            ("whole", form, *(each.lstrip("-") for each in options if each != "--backend"), model, precision)
        )
        arguments = ("--model", model, "--form", form, "--precision", precision, "--row", name, *options)
        marks = (form, f"{model}.fp16" if precision == "fp16" else model)
        needs = ["cuda"] + ["dicom"] * (form in ("jpeg2000", "explicit")) + ["nvimgcodec"] * ("--gpu-decode" in options)
        yield Job((name,), "whole", arguments, marks, tuple(needs), 30.0, 90.0, quiet=True)


def others_say(scale: Scale) -> Iterator[Job]:
    """Programs that print for people: what they say is their row."""
    tests = ("pytest", "tests/backends/test_gpu.py", "-q", "-p", "no:cacheprovider")
    told = r"^(FAILED|ERROR|SKIPPED)|\d (passed|failed|skipped|errors?)\b"
    yield Job(("pytest",), "-m", tests, (), ("pytest",), 25.0, 120.0, keeps=told)
    for name, needs, arguments in (
        ("gpu_decode", ("cuda", "dicom", "nvimgcodec"), ("--seconds", "30")),
        ("fit", ("torch",), ("--device", scale.device)),
        ("host", (), (*scale.host, "--encoder", "0", "--no-cache")),
    ):
        yield Job((name,), f"benchmarks/{name}.py", arguments, (), needs, 45.0, 100.0, quiet=True, keeps=r"\S")
