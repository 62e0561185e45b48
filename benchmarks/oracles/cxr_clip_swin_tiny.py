"""CXR-CLIP with its Swin Transformer, by its authors' code: see cxr_clip_by_authors.py.

CHECKOUT is https://github.com/Soombit-ai/cxr-clip at 3118885
"""

from benchmarks.oracles.cxr_clip_by_authors import main

if __name__ == "__main__":
    main("swin")
