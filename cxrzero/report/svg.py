"""Plots as inline SVG: axes, lines, dots and bars in data coordinates. display/page.css colours them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from cxrzero.display.page import escape

WIDTH, HEIGHT = 280, 240  # user units; CSS scales the picture
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 10, 36  # margins that hold ticks and axis titles

Point = tuple[float, float]


class Plot:
    """One picture.

    Args:
        title: what it shows, read out by screen readers.
        x_label, y_label: axis titles.
        x_range, y_range: data coordinates of the frame.
        x_ticks, y_ticks: positions of grid lines, written with as many digits as they need.
    """

    def __init__(
        self,
        title: str,
        x_label: str,
        y_label: str,
        x_range: Point = (0.0, 1.0),
        y_range: Point = (0.0, 1.0),
        x_ticks: Sequence[float] = (0, 0.25, 0.5, 0.75, 1),
        y_ticks: Sequence[float] = (0, 0.25, 0.5, 0.75, 1),
    ) -> None:
        self._title = title
        self._x_range, self._y_range = x_range, y_range
        self._parts: list[str] = []
        self._axes(x_label, y_label, x_ticks, y_ticks)

    def line(self, points: Iterable[Point], css: str) -> None:
        """A polyline through data points."""
        path = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in points)
        self._parts.append(f'<polyline class="{css}" points="{path}"/>')

    def dot(self, point: Point, css: str, name: str, shape: str = "circle") -> None:
        """A marker with a tooltip; shapes: circle, square, diamond."""
        x, y = self._x(point[0]), self._y(point[1])
        if shape == "circle":
            drawn = f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="4"'
        else:
            turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if shape == "diamond" else ""
            drawn = f'<rect class="{css}" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"{turn}'
        self._parts.append(f"{drawn}><title>{escape(name)}</title></{'circle' if shape == 'circle' else 'rect'}>")

    def bar(self, low: float, high: float, top: float, css: str) -> None:
        """A bar from y = 0 to `top` between two x."""
        x, y = self._x(low), self._y(top)
        width, height = max(self._x(high) - x - 0.6, 0.4), self._y(self._y_range[0]) - y
        self._parts.append(f'<rect class="{css}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>')

    def whisker(self, x: float, low: float, high: float, css: str) -> None:
        """An interval in y."""
        self.line([(x, low), (x, high)], f"{css} whisker")

    def note(self, point: Point, words: str) -> None:
        """Small words above a point."""
        x, y = self._x(point[0]), max(self._y(point[1]) - 4, TOP + 7)
        self._parts.append(f'<text class="note middle" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>')

    def vertical(self, x: float, css: str) -> None:
        """A line from bottom to top, where x lies within the frame."""
        if self._x_range[0] <= x <= self._x_range[1]:
            self.line([(x, self._y_range[0]), (x, self._y_range[1])], css)

    def render(self, heading: str = "") -> str:
        """The picture, under a heading (plain text) if one is given."""
        title = escape(self._title)
        picture = (
            f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">'
            f"<title>{title}</title>{''.join(self._parts)}</svg>"
        )
        return (
            f'<figure class="titled"><figcaption>{escape(heading)}</figcaption>{picture}</figure>'
            if heading
            else picture
        )

    def _axes(self, x_label: str, y_label: str, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> None:
        left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM
        for tick in x_ticks:
            x = self._x(tick)
            self._parts.append(f'<line class="grid" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>')
            self._parts.append(f'<text class="tick middle" x="{x:.1f}" y="{bottom + 13}">{tick:g}</text>')
        for tick in y_ticks:
            y = self._y(tick)
            self._parts.append(f'<line class="grid" x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
            self._parts.append(f'<text class="tick end" x="{left - 4}" y="{y + 3.5:.1f}">{tick:g}</text>')
        middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
        self._parts.append(f'<text class="axis middle" x="{middle_x}" y="{HEIGHT - 6}">{escape(x_label)}</text>')
        self._parts.append(
            f'<text class="axis middle" transform="rotate(-90)" x="{-middle_y}" y="10">{escape(y_label)}</text>'
        )

    def _x(self, value: float) -> float:
        low, high = self._x_range
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def _y(self, value: float) -> float:
        low, high = self._y_range
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def interval_bar(value: float, low: float, high: float, start: float) -> str:
    """A small horizontal interval with its point for a table cell, from `start` to 1; the grey line is at 0.5."""
    width, height = 120, 14
    y = height / 2

    def place(x: float) -> float:
        return 4 + (x - start) / (1 - start) * (width - 8)

    whisker = ""
    if math.isfinite(low) and math.isfinite(high):
        whisker = f'<line class="whisker" x1="{place(low):.1f}" y1="{y}" x2="{place(high):.1f}" y2="{y}"/>'
    return (
        f'<svg class="interval" viewBox="0 0 {width} {height}" aria-hidden="true">'
        f'<line class="grid" x1="{place(0.5):.1f}" y1="1" x2="{place(0.5):.1f}" y2="{height - 1}"/>{whisker}'
        f'<circle class="point" cx="{place(value):.1f}" cy="{y}" r="3.2"/></svg>'
    )


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """Choose at most `most` + 1 positions within [low, high] at steps of 1, 2 or 5 times a power of ten."""
    size = (high - low) / most
    power = 10.0 ** math.floor(math.log10(size))
    step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= size * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]
