"""torch as a backend: encoder.py is the `Encoder`.

graph.py    an ONNX file, operator by operator; ops.py knows its operators
program.py  a graph for inputs of one shape; what is left of it is computed on a GPU
fuse.py     operators that belong together, found in a program; moves.py and layout.py, moves that are one view
half.py     a program in half precision
tower.py    one encoder on a GPU; calls.py, its calls, recorded and double-buffered; cuda.py, streams and memory
exactly.py  settings of the process by which a GPU computes what it is told to
values.py   the steps after the geometry, on the device
"""
