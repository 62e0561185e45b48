"""How fast this machine screens, what holds it back, and which settings to take.

options.py   what is asked
films.py     the pictures: given files, or drawn ones
stopwatch.py images per second and processor time of something repeated
stages.py    decoding, preprocessing and encoding, each alone
whole.py     the pipeline from files to scores
advice.py    what bounds a run, and what to set
machine.py   where it was measured
run.py       all of it, in order
"""
