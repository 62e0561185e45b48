"""`--engine slurm`: tasks are jobs of a Slurm cluster, submitted through submitit; nodes share the plan's folder.

- `engine.py`: the engine, as the driver has it; `queue.py`: what Slurm says of our jobs, by its own commands
- `job.py`: a job on a node, which carries one slice out

Slurm starts nothing again (`--no-requeue`): a job that was preempted, out of time or on a node that failed is over, and
the driver counts another try. States come from squeue, since not every cluster has the database that sacct reads.
"""

from cxrzero.cluster.slurm.engine import open_slurm

__all__ = ["open_slurm"]
