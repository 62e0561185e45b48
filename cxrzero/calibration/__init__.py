"""Thresholds and calibrators bound to a model: file.py reads and writes them, applied.py gives them to a run."""
