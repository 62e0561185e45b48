"""BioViL-T by its authors' code with random weights; all of it is in biovil.py.

    python benchmarks/oracles/biovil_t.py --code CHECKOUT --films FOLDER --out FOLDER [--tiny]

CHECKOUT is https://github.com/microsoft/hi-ml at b67c1d2.
"""

from __future__ import annotations

from benchmarks.oracles.biovil import main

if __name__ == "__main__":
    main("biovil-t")
