"""How fast this machine screens, what holds it back, and which settings to take.

films.py     the pictures: given files, or drawn ones
stopwatch.py images per second and processor time of something repeated
stages.py    decoding, preprocessing and encoding, each alone
whole.py     the pipeline from files to scores
advice.py    what bounds a run, and what to set
machine.py   where it was measured
run.py       all of it, in order
"""

from cxrzero.bench.run import BenchConfig, BenchReport, run_bench

__all__ = ["BenchConfig", "BenchReport", "run_bench"]
