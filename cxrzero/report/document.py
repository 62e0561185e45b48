"""The frame of a page that loads nothing: everything before its content."""

from __future__ import annotations

from importlib.resources import files

from cxrzero.display.page import escape

# A page may run its own script and style and load nothing at all.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def opening(title: str) -> str:
    """Write a page's beginning, from the doctype to <body>.

    Args:
        title: plain text.
    """
    style = files("cxrzero.report").joinpath("style.css").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
"""
