"""The card: its name and driver, its memory in use, and what its data sheet promises."""

from __future__ import annotations

import subprocess

# Dense TFLOP/s without sparsity: (fp32 outside tensor cores, fp16 and bf16 in them). NVIDIA's data sheets.
PEAKS = {"NVIDIA H100 80GB HBM3": (67, 989), "NVIDIA H200": (67, 989), "NVIDIA L4": (30.3, 121), "Tesla T4": (8.1, 65)}


class Card:
    """The first GPU, as nvidia-smi knows it.

    Raises:
        OSError: there is no driver, or it does not answer.
    """

    def __init__(self) -> None:
        self.name, self.driver = self._ask("name"), self._ask("driver_version")
        self.total_mb = int(self._ask("memory.total"))

    @property
    def used_mb(self) -> int:
        """Of all processes."""
        return int(self._ask("memory.used"))

    def _ask(self, query: str) -> str:
        command = ["nvidia-smi", "--id=0", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError((done.stdout + done.stderr).strip()[:200] or f"nvidia-smi ended with {done.returncode}")
        return done.stdout.splitlines()[0].strip()


def card(device: str) -> Card | None:
    """The GPU that is measured; None in a rehearsal on the CPU."""
    return Card() if device == "cuda" else None


def share_of_peak(tflops: float, precision: str, gpu: Card | None) -> float | None:
    """Of the data sheet's peak; None for a card that is not in PEAKS."""
    peaks = PEAKS.get(gpu.name) if gpu else None
    return None if peaks is None else tflops / peaks[precision != "fp32"]
