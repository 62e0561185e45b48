"""Encoders that run a bundle: one file each, all behind the `Encoder` protocol.

    open.py         the protocol, and which backend runs a bundle
    base.py         what they share: batches, checks of what comes out
    calls.py        on a GPU: two calls under way
    precision.py    which number formats a backend offers, and what `auto` takes
    gpus.py         the GPUs that CUDA shows
    processor.py    what a processor is called where something was measured
    measured.py     which of them `auto` takes on a GPU
    onnxruntime.py  CPU, CUDA; in every installation
    ort_session.py  how it opens a file, and what it tells each provider
    ort_install.py  whether the installation can use CUDA, and what is missing
    ort_cuda.py     its calls on CUDA: two under way, recorded as a graph
    cudart.py       CUDA's runtime: memory, streams, events
    prelude.py      the value steps as a graph that runs on the GPU
    openvino.py     CPU; extra [openvino]
    torch/          CPU, CUDA; extra [torch]

Importing this package loads none of the three.
"""

from cxrzero.backends.open import REQUIRED, Encoder, missing_module, open_encoder, require_device

__all__ = ["REQUIRED", "Encoder", "missing_module", "open_encoder", "require_device"]
