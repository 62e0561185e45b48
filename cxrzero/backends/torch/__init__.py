"""torch as a backend: encoder.py is the `Encoder`, graph.py runs an ONNX file, ops.py knows its operators.

fit.py fits films on a device as preprocessing does with Pillow.
"""
