"""MedCLIP with its ResNet-50, by its authors' code: see medclip_by_authors.py.

CHECKOUT is https://github.com/RyanWangZf/MedCLIP at 9c3396f
"""

from benchmarks.oracles.medclip_by_authors import main

if __name__ == "__main__":
    main("resnet")
