"""The run in pictures: loss, learning rate, AUROC and recall over the steps, as one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cxrzero._version import __version__
from cxrzero.display.page import escape, page
from cxrzero.files import write_whole
from cxrzero.report.svg import Plot, Point, nice_ticks
from cxrzero.train.measure import metricslog

FILE = "curves.html"
MAX_POINTS = 400  # of a curve: more cannot be told apart at this size


def write_curves(folder: Path, remarks: Sequence[str] = ()) -> Path:
    """Draw metrics.jsonl of a run folder into curves.html.

    Args:
        remarks: sentences to put above the pictures.
    """
    plots = "".join(_plots(metricslog.read(folder)))
    said = "".join(f"<p><strong>{escape(remark)}</strong></p>" for remark in remarks)
    body = f"""<header><h1>Training</h1></header>
<main><section>{said}<div class="grid-of-plots">{plots}</div></section></main>
<footer>cxrzero {__version__}. All numbers are in metrics.jsonl beside this page.
Research use only: not a medical device.</footer>"""
    path = folder / FILE
    write_whole(path, page("Training", body))
    return path


def _plots(records: Sequence[dict[str, Any]]) -> list[str]:
    steps = [record for record in records if record.get("loss") is not None]
    found = [(record["step"], record["validation"]) for record in records if "validation" in record]
    plots = [
        _plot("Loss of each step", "loss", _thin([(r["step"], r["loss"]) for r in steps])),
        _plot("Learning rate × 1,000", "rate", _thin([(r["step"], 1000 * r["lr"]) for r in steps])),
        _plot("Logit scale", "scale", _thin([(r["step"], r["logit_scale"]) for r in steps])),
    ]
    auroc = [(step, v["auroc"]) for step, v in found if "auroc" in v]
    if auroc:
        value, low, high = ([(step, each[i]) for step, each in auroc] for i in range(3))
        plots.append(_plot("Zero-shot AUROC, 95% interval; chance is 0.5", "AUROC", value, (low, high)))
    statements = [(step, v["statement_auroc"]) for step, v in found if "statement_auroc" in v]
    plots.append(_plot("AUROC of held-out statements; chance is 0.5", "AUROC", statements))
    for direction in ("image_to_text", "text_to_image"):
        first, fifth = (
            [(step, v["retrieval"][f"{direction}_r{k}"]) for step, v in found if "retrieval" in v] for k in (1, 5)
        )
        chance: dict[str, float] = next((v["retrieval_chance"] for _, v in found if "retrieval_chance" in v), {})
        by_chance = [f" (chance {chance[f'{direction}_r{k}']:.3f})" if chance else "" for k in (1, 5)]
        title = f"Held-out retrieval, {direction.replace('_', ' ')}: R@5{by_chance[1]}, and dashed R@1{by_chance[0]}"
        plots.append(_plot(title, "recall", fifth, (first,)))
    return [plot for plot in plots if plot]


def _plot(title: str, y_label: str, points: list[Point], others: Sequence[list[Point]] = ()) -> str:
    everything = [*points, *(point for other in others for point in other)]
    values = [y for _, y in everything if y == y]
    if not points or not values:
        return ""
    left, right = points[0][0], max(points[-1][0], points[0][0] + 1)
    low, high = min(values), max(values)
    if high <= low:
        low, high = low - 0.5 * abs(low) - 1e-9, high + 0.5 * abs(high) + 1e-9
    plot = Plot(
        title, "step", y_label, (left, right), (low, high), nice_ticks(left, right, 4), nice_ticks(low, high, 5)
    )
    for other in others:
        plot.line([point for point in other if point[1] == point[1]], "chance")
    plot.line(points, "curve")
    if len(points) <= 50:
        for point in points:
            plot.dot(point, "model", f"step {point[0]}: {point[1]:.4g}")
    return f"<div><h3>{escape(title)}</h3>{plot.render()}</div>"


def _thin(points: list[Point]) -> list[Point]:
    """Keep at most MAX_POINTS, each the mean of its neighbours, so that noise does not hide the course."""
    width = -(-len(points) // MAX_POINTS) if points else 1
    blocks = [points[i : i + width] for i in range(0, len(points), width)]
    return [(block[-1][0], sum(y for _, y in block) / len(block)) for block in blocks]
