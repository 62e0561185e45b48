"""torch as a backend: encoder.py is the `Encoder`, graph.py runs an ONNX file, ops.py knows its operators."""
