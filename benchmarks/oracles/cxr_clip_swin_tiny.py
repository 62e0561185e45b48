"""CXR-CLIP with its Swin Transformer, by its authors' code: see cxr_clip_by_authors.py."""

from benchmarks.oracles.cxr_clip_by_authors import main

if __name__ == "__main__":
    main("swin")
