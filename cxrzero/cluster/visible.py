"""Whether a node sees the films of a task, asked before each of them becomes a failed row."""

from __future__ import annotations

import os
import socket

from cxrzero.cluster.engine import NodeError, Task
from cxrzero.cluster.slices import readable_of
from cxrzero.places import is_file

# Films of a slice that are looked for, at even distances.
LOOKED_FOR = 8


def check_visible(task: Task) -> None:
    """Look for some of a task's films; those that were no files of this kind when they were found are not looked for.

    Raises:
        NodeError: none of them is there, though all were when the walk was made.
    """
    films = [path for path in readable_of(task) if is_file(path)]
    looked_for = films[:: max(1, len(films) // LOOKED_FOR)]
    if looked_for and not any(map(os.path.lexists, looked_for)):
        raise NodeError(
            f"{socket.gethostname()} sees none of the films of task {task.number}, as {looked_for[0]}: they have to be "
            "at the same place on every machine of a cluster; if they are gone everywhere, delete the plan's folder"
        )
