"""BioViL-T by its authors' code with random weights; all of it is in biovil.py."""

from __future__ import annotations

from benchmarks.oracles.biovil import main

if __name__ == "__main__":
    main("biovil-t")
