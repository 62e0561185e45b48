"""Self-contained HTML pages: no network, no external resource, readable on a phone and on paper."""

from __future__ import annotations

from cxrzero.report.page import render_evaluation

__all__ = ["render_evaluation"]
