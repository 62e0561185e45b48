"""Films on many processes and machines: one run, cut into slices that an engine has carried out.

- `plan.py`: the walk, once, cut into slices on disk; `slices.py`: a slice's file; `asked.py`: options as text
- `engine.py`: what an engine is (`Engine`), what it is given (`Task`) and what it says (`Ended`)
- `task.py`: a task, carried out on a node by the code of `--shard`
- `results.py`: what tasks leave, each whole or not at all
- `driver.py`: has every slice done: starts, counts, tries again; `run.py`: a whole run, from the walk to the record
- `open.py`: `--engine`; `local.py`: processes of this machine, `inprocess.py`: none, for tests;
  `ray/`, `slurm/`: clusters

An engine never reads a film and never writes a table: `predict.run` and `predict.join` do.
"""
