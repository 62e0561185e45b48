"""Films on many processes and machines: one run, cut into slices that an engine has carried out.

run.py        a whole run: make a plan or go on with one, have it done, join what the tasks left
slicing.py    makes a plan: the walk, once, cut into slices
plan.py       its folder; slices.py: a slice's file; asked.py: options as JSON
driver.py     has every slice done: starts, counts, tries again; events.py: what was tried again
results.py    what tasks leave, each whole or not at all
engine.py     what an engine is, what it is given and what it says
open.py       from `--engine` to an engine; installed.py: whether its library is here
task.py       what a node does with a task; visible.py: whether it sees the films
local.py      processes of this machine; inprocess.py: none, for tests
ray/, slurm/  clusters

An engine never reads a film and never writes a table: `cxrzero.predict.run` and `cxrzero.predict.join` do.
"""
