"""`--engine ray`: tasks on a Ray cluster, one of our own on this machine or one that is there.

    driver ─► engine.py ═pipe═► gateway.py ─► pool.py ─Ray─► worker.py, on nodes

- `engine.py`: the engine, as the driver has it; it does not import Ray
- `gateway.py`: a process that does. Ray ends the process that loses its cluster, takes over its signals and prints what
  it likes: so that is not the driver
- `joined.py`: a cluster is started or joined, and every reason why not is a sentence
- `pool.py`: the workers of a cluster, one for each task that it has room for; `needs.py`: what a worker needs of a node
- `worker.py`: a process on a node, which loads the model once and carries out one task after the other

Ray schedules processes. It reads no film, writes no table and tries nothing again: that is the task's and the driver's.
"""

from cxrzero.cluster.ray.engine import open_ray

__all__ = ["open_ray"]
