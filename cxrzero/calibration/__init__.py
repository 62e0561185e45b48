"""Thresholds and calibrators bound to a model: file.py reads and writes them, applied.py gives them to a run, worth.py
says what they are worth, bundled.py puts them into the model's bundle.
"""
