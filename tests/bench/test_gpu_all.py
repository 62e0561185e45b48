"""The script that measures a GPU, without one: its order, its clock, and what it says of what it could not measure."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if sys.platform == "win32":
    pytest.skip("gpu_all.sh is for Linux", allow_module_level=True)

from benchmarks.gpu import device, encode, plan, probe, table, whole
from benchmarks.gpu.child import Child, reason
from benchmarks.gpu.log import Log, read
from benchmarks.gpu.models import differences
from benchmarks.gpu.plan import FULL, REHEARSAL, Job
from benchmarks.gpu.run import Runner, keep_errors, wanted
from benchmarks.gpu.worker import mark
from tests.support import REPO
from tests.test_figures import unfounded

GO = 'import json, sys; print(json.dumps({"ready": True}), flush=True); sys.stdin.readline(); '
TELL = 'print(json.dumps({"row": sys.argv[1], "at": open(sys.argv[2]).read().count(chr(10))}), flush=True); '
# What a stub does after telling its rows.
STUBS = {
    "ends": "",
    "fails": "raise ValueError('of a reason')",
    "hangs": "import time; time.sleep(60)",
}


class StubRunner(Runner):
    """Programs are a few lines of Python: each tells its first row, and how many lines the log has by then."""

    def _start(self, program: str, arguments: Sequence[str], name: str) -> Child:
        telling = [] if program == "tells nothing" else ["-c", GO + TELL + STUBS.get(program, ""), *arguments]
        command = [*(telling or ["-c", "raise RuntimeError('too early')"]), str(self._work / "out" / "log.jsonl")]
        return Child(command, self._environment, self._work / re.sub(r"\W", "-", name))


def measured(tmp_path: Path, jobs: list[Job], seconds: float = 60.0, **lacks: str) -> list[dict[str, Any]]:
    """What a log says after a run of stubs."""
    log = Log(tmp_path / "out" / "log.jsonl")
    log.add({"note": "start"})
    scale = replace(REHEARSAL, models=())
    StubRunner(scale, tmp_path, log, time.monotonic() + seconds, dict(os.environ), lacks).run(jobs)
    return read(tmp_path / "out" / "log.jsonl")[1:]


def job(name: str, program: str = "ends", **more: Any) -> Job:
    return Job((name,), program, (name,), least=more.pop("least", 0.0), **more)


def test_each_row_is_in_the_log_before_the_next_is_told(tmp_path: Path) -> None:
    entries = measured(tmp_path, [job("a"), job("b"), job("c", quiet=True)])
    assert entries == [{"row": "a", "at": 1}, {"row": "b", "at": 2}, {"row": "c", "at": 3}]


def test_a_program_that_fails_or_hangs_ends_alone(tmp_path: Path) -> None:
    failing = Job(("a", "b"), "fails", ("a",), least=0.0)
    hanging = Job(("c", "d"), "hangs", ("c",), least=0.0, limit=1.0)
    entries = measured(tmp_path, [failing, hanging, job("e", "tells nothing"), job("f")])
    assert [entry.get("row") for entry in entries] == ["a", None, "c", None, None, "f"]
    assert [(entry["missing"], entry["why"]) for entry in entries if "missing" in entry] == [
        ("b", "ended with 1: ValueError: of a reason"),
        ("d", "took longer than 1 s"),
        ("e", "ended with 1: RuntimeError: too early"),
    ]


def test_what_a_program_says_for_people_is_taken_down(tmp_path: Path) -> None:
    class Saying(StubRunner):
        def _start(self, program: str, arguments: Sequence[str], name: str) -> Child:
            says = "print('....'); print('FAILED a'); print(); print('1 failed, 2 passed in 3s'); raise SystemExit(1)"
            return Child(["-c", says], self._environment, self._work / "errors")

    log = Log(tmp_path / "out" / "log.jsonl")
    (tests,) = wanted(plan.jobs(FULL), "^pytest$")
    Saying(replace(REHEARSAL, models=()), tmp_path, log, time.monotonic() + 60.0, {}, {}).run([tests])
    entries = read(tmp_path / "out" / "log.jsonl")
    assert [entry.get("says") for entry in entries] == ["FAILED a", "1 failed, 2 passed in 3s", None]
    assert entries[2]["note"].endswith("ended with 1: it said nothing")


def test_what_the_machine_lacks_is_the_reason(tmp_path: Path) -> None:
    entries = measured(tmp_path, [job("a", needs=("dicom",)), job("b")], dicom="pydicom cannot be imported")
    assert entries == [{"missing": "a", "why": "pydicom cannot be imported"}, {"row": "b", "at": 2}]


def test_no_row_is_started_for_which_no_time_is_left(tmp_path: Path) -> None:
    entries = measured(tmp_path, [job("a", least=500.0), job("b")])
    assert re.match(r"no time is left: 5\d s, at least 500 s are needed", entries[0]["why"])
    assert entries[1]["row"] == "b"


def test_the_end_of_the_time_ends_what_runs(tmp_path: Path) -> None:
    started = time.monotonic()
    entries = measured(tmp_path, [job("a", "hangs"), job("b", least=1.0)], seconds=9.0)
    assert time.monotonic() - started < 20.0, "it would have slept for a minute"
    assert "the time was over" in (entries[-2].get("note") or entries[-2]["why"])
    assert entries[-1]["why"].startswith("no time is left")


def test_another_row_goes_first_while_a_model_is_made(tmp_path: Path) -> None:
    jobs = [job("a", marks=("made",)), job("b"), job("c")]

    class Making(StubRunner):
        def _measure(self, job: Job, waiting: Sequence[Job]) -> None:
            mark(tmp_path, "made")
            super()._measure(job, waiting)

    log = Log(tmp_path / "out" / "log.jsonl")
    log.add({"row": "start"})
    Making(replace(REHEARSAL, models=()), tmp_path, log, time.monotonic() + 60.0, {}, {}).run(jobs)
    assert [entry["row"] for entry in read(tmp_path / "out" / "log.jsonl")] == ["start", "b", "a", "c"]


def test_a_model_that_cannot_be_made_is_the_reason(tmp_path: Path) -> None:
    class Breaking(StubRunner):
        def _plan_making(self, wanted: set[str]) -> None:
            self._makers["m"] = self._start("tells nothing", (), "models")

    log = Log(tmp_path / "out" / "log.jsonl")
    runner = Breaking(replace(REHEARSAL, models=()), tmp_path, log, time.monotonic() + 60.0, {}, {})
    runner.run([job("a", marks=("m",))])
    (entry,) = read(tmp_path / "out" / "log.jsonl")
    assert entry == {"missing": "a", "why": "m could not be made: ended with 1: RuntimeError: too early"}


def test_what_an_earlier_run_has_made_is_not_made_again(tmp_path: Path) -> None:
    for name in ("png", "jpeg", "explicit", "jpeg2000", "vit-b-32", "vit-b-32.fp16"):
        mark(tmp_path, name)
    runner = Runner(FULL, tmp_path, Log(tmp_path / "log.jsonl"), 0.0, {}, {})
    runner._plan_making({"png", "vit-b-32", "mini"})
    assert [arguments for _, arguments, _ in runner._to_make] == [("mini",)]


def test_the_rows_are_in_the_order_of_their_importance() -> None:
    names = [name for each in plan.jobs(FULL) for name in each.rows]
    assert len(set(names)) == len(names)
    places = [
        min(index for index, name in enumerate(names) if name.startswith(start))
        for start in (
            "ceiling", "encode vit-b-32", "encode mini", "whole png", "encode vit-b-16", "encode vit-l-14-336",
            "compiled", "before", "pytest",
        )
    ]  # fmt: skip
    assert places == sorted(places)
    asked = {
        f"encode {model} {backend} {precision} {calls}"
        for model in ("vit-b-32", "mini")
        for backend, precision in (
            ("torch", "fp32"), ("torch", "fp16"), ("torch", "bf16"), ("onnxruntime", "fp32"), ("onnxruntime", "fp16"),
        )
        for calls in (64, 128, 256, 512)
    }  # fmt: skip
    assert asked <= set(names)


@pytest.mark.parametrize("scale", [FULL, REHEARSAL], ids=["full", "rehearsal"])
def test_what_rows_need_is_made_and_looked_for(scale: plan.Scale) -> None:
    made = {name for _, _, marks in plan.makers(scale) for name in marks}
    jobs = plan.jobs(scale)
    assert {name for each in jobs for name in each.marks} <= made
    assert {need for each in jobs for need in each.needs} <= {*probe.MODULES, "onnxruntime", "cuda"}
    assert all((Path(plan.__file__).parent / f"{each.program}.py").exists() for each in jobs if each.keeps is None)


def test_only_some_rows_can_be_asked_for() -> None:
    assert {each.program for each in wanted(plan.jobs(FULL), "^whole|^before")} == {"whole", "before"}
    assert wanted(plan.jobs(FULL), None) == plan.jobs(FULL)


def test_a_log_that_a_kill_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    (tmp_path / "log").write_text('{"row": "a"}\n{"row": "b", "ima', encoding="utf-8")
    assert read(tmp_path / "log") == [{"row": "a"}]


def test_why_a_program_ended_is_the_error_of_its_traceback() -> None:
    text = "Traceback (most recent call last):\n  File\ntorch.cuda.OutOfMemoryError: all is full\n\nSet MORE=1\n"
    assert reason(text) == "torch.cuda.OutOfMemoryError: all is full"
    assert reason("Killed\n") == "Killed"
    assert reason("") == "it said nothing"


def test_what_programs_wrote_last_is_kept(tmp_path: Path) -> None:
    (tmp_path / "errors").mkdir()
    (tmp_path / "errors" / "quiet").write_text("\n", encoding="utf-8")
    (tmp_path / "errors" / "loud").write_text("a" * 9000 + "the reason", encoding="utf-8")
    keep_errors(tmp_path / "errors", tmp_path / "errors.txt")
    text = (tmp_path / "errors.txt").read_text(encoding="utf-8")
    assert text.startswith("== loud\naaa")
    assert text.endswith("the reason\n")
    assert len(text) < 5000
    assert "quiet" not in text


ENTRIES: list[dict[str, Any]] = [
    {"machine": {"processor": "Any", "cores": 16}, "gpu": "NVIDIA H200", "driver": "580.1", "lacks": {}},
    {
        "row": "encode vit-b-32 torch fp16 64", "images_per_second": 2887.4, "share_of_peak": 0.02403,
        "max_abs_d_over_sd": 0.00887, "spearman": 0.99991, "gpu_mb": 2073,
    },
    {
        "row": "whole jpeg2000 fast-decode vit-b-32 fp32", "backend": "torch 2.11.0", "images_per_second": 41.61,
        "decoders_alone": 44.2, "encoder_alone": 3084.0, "share_of_bound": 0.9414, "start_seconds": 9.26,
        "core_ms": 384.2, "peak_mb": 2081.4, "gpu_mb": None,
    },
    {"row": "ceiling fp32", "tflops": 51.23},
    {"missing": "pytest", "why": "the time was over"},
]  # fmt: skip


def test_a_log_becomes_tables() -> None:
    text = table.tables(ENTRIES)
    assert "| vit-b-32 | torch | fp16 | 64 | 2887 | 2% | 0.00887 | 0.9999 | 2073 |" in text
    whole = "| jpeg2000 fast-decode | vit-b-32 | fp32 | torch | 42 | 44 | 3084 | 94% | 9.3 | 384.2 | 2081 |  |"
    assert whole in text
    assert "gpu NVIDIA H200; driver 580.1" in text
    assert "- ceiling fp32: tflops 51.23\n" in text
    assert text.endswith("- not measured: pytest: the time was over\n")
    assert unfounded("\n".join(line for line in text.splitlines() if "|" in line), json.dumps(ENTRIES)) == []


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> device.Card:
    """A card that a small program pretends."""
    answers = {"name": "NVIDIA H200", "driver_version": "580.159.03", "memory.total": "143771", "memory.used": "2349"}
    program = tmp_path / "nvidia-smi"
    cases = "\n".join(f'*--query-gpu={query}*) echo "{answer}";;' for query, answer in answers.items())
    program.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}\nesac\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return device.Card()


def test_the_share_is_of_the_peak_of_that_precision(card: device.Card) -> None:
    assert (card.name, card.driver, card.total_mb, card.used_mb) == ("NVIDIA H200", "580.159.03", 143_771, 2349)
    assert device.share_of_peak(6.7, "fp32", card) == pytest.approx(0.1)
    assert device.share_of_peak(98.9, "bf16", card) == pytest.approx(0.1)
    assert device.share_of_peak(98.9, "bf16", None) is None


def test_a_driver_that_does_not_answer_is_no_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="nvidia-smi"):
        device.Card()
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho NVIDIA-SMI has failed; exit 9\n", encoding="utf-8")
    program.chmod(0o755)
    with pytest.raises(OSError, match="NVIDIA-SMI has failed"):
        device.Card()


def test_the_rate_of_a_run_is_that_of_its_rows_after_the_first() -> None:
    times = [10.0] * 4 + [12.0] * 4 + [14.0] * 4  # batches of 4, one every 2 s, after a start of 10 s
    assert whole.rate_between(times, 4) == 2.0
    # 16 workers with groups of 4 have 64 files out, and two batches are under way.
    assert whole.batches_of(7700.0, 256, 16) == (256, 30)
    assert whole.batches_of(100.0, 256, 16) == (16, 4 * (64 + 32) // 16)
    assert whole.batches_of(1000.0, 256, 2) == (16, 62)


def test_d_is_between_two_directions_for_each_label() -> None:
    embeds = np.eye(16, dtype=np.float32)
    d = differences(embeds, labels=3)
    assert d.shape == (16, 3)
    # Each column is cos⁺ − cos⁻ of unit vectors: its squares over an orthonormal basis sum to |p − n|², at most 4.
    assert ((d**2).sum(axis=0) < 4).all()
    np.testing.assert_array_equal(differences(embeds, labels=3), d)


def test_the_deviation_is_that_of_the_worst_label() -> None:
    exact = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]])
    other = np.add(exact, [[0.0, 0.0], [0.0, 0.2], [0.1, 0.0]])
    # Standard deviations √(2/3) and √(8/3): 0.1 / 0.8165 and 0.2 / 1.633 are equal; the order is the same.
    assert encode.deviation(exact, other) == pytest.approx({"max_abs_d_over_sd": 0.1 / (2 / 3) ** 0.5, "spearman": 1.0})
    worse = np.add(exact, [[0.0, 4.5], [0.0, 0.0], [0.0, 0.0]])
    assert encode.deviation(exact, worse)["max_abs_d_over_sd"] == pytest.approx(4.5 / (8 / 3) ** 0.5)
    assert encode.deviation(exact, worse)["spearman"] == pytest.approx(-0.5), "ranks 3, 1, 2 beside 1, 2, 3"


def test_encoding_with_one_backend_does_not_load_another() -> None:
    """ONNX Runtime must find CUDA's libraries itself, not loaded by torch."""
    code = "import sys; from benchmarks.gpu import encode, whole; raise SystemExit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, cwd=REPO, check=False).returncode == 0
