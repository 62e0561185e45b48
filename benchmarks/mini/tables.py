"""What mini_understanding.py measured, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.mini.intervals import told


def understanding(report: Mapping[str, Any]) -> str:
    """Tables and lines in the order of the report."""
    return "\n\n".join(
        (
            _words(report["words"]),
            _sides(report["sides of phantoms"], report["sides of boxes"], report["sides of captions"]),
            _shortcuts(report["masked"], report["sources"]),
            _calibration(report["calibration"]),
        )
    )


def rows(heads: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    table = [heads, ["---"] * len(heads), *lines]
    return "\n".join(
        f"| {' | '.join(map(str, line))} |".replace("| --- ", "|---").replace("--- |", "---|") for line in table
    )


def _words(words: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        [each["finding"], each["asked as"], told(each["auroc"]), told(each["difference"], signed=True)]
        for each in words
    ]
    mean = sum(each["difference"][0] for each in words) / len(words)
    lines.append(["mean", "", "", f"{mean:+.3f}".replace("-", "−")])
    return rows(["finding", "asked as", "AUROC", "difference"], lines)


def _sides(
    phantoms: Sequence[Mapping[str, Any]], boxes: Sequence[Mapping[str, Any]], captions: Mapping[str, Any]
) -> str:
    lines = [["phantoms", each["finding"], each["phantoms"], "", told(each["auroc"])] for each in phantoms]
    lines += [
        [f"boxes, {each['question']}", each["finding"], each["boxes"], each["patients"], told(each["auroc"])]
        for each in boxes
    ]
    share = told([captions["share"], *captions["interval"]])
    lines.append(["captions, share nearer", "all", captions["captions"], "", share])
    return rows(["sides of", "finding", "n", "patients", "left against right"], lines)


def _shortcuts(masked: Mapping[str, Any], sources: Mapping[str, Any]) -> str:
    lines = [
        ["macro AUROC, whole film", told(masked["whole"])],
        ["outer eighth black", told(masked["masked"])],
        ["difference", told(masked["difference"], signed=True)],
        *([f"{name}: recognised by finding scores", f"{share:.1%}"] for name, share in sources["recall"].items()),
        ["mean over the sources", f"{sources['mean']:.1%}"],
        ["chance", f"{sources['chance']:.0%}"],
    ]
    return rows(["shortcut", "measured"], lines)


def _calibration(calibration: Sequence[Mapping[str, Any]]) -> str:
    lines = [[each["finding"], *(f"{each[key]:.3f}" for key in ("common", "mean p", "ece"))] for each in calibration]
    return rows(["finding", "share of films", "mean p", "expected calibration error"], lines)
