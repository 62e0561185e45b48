"""What a processor is called where a measurement was made: its model or its instruction sets, never the machine."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np

# Of the flags that Linux lists, those that decide in which order and width products are summed.
DECISIVE = (
    "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16",
    "amx_int8", "amx_fp16", "asimd", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip


def instruction_sets() -> tuple[str, ...]:
    """The architecture, then what Linux says of this processor; elsewhere what numpy found."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        extensions = np.show_config(mode="dicts") or {}
        found = extensions.get("SIMD Extensions", {}).get("found", [])
        return (platform.machine(), *map(str, found))
    lines = (line.partition(":") for line in text.splitlines())
    flags = {flag for key, _, value in lines if key.strip() in ("flags", "Features") for flag in value.split()}
    return (platform.machine(), *(name for name in DECISIVE if name in flags))


def processor_name() -> str:
    """The model's name where Linux tells it, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
