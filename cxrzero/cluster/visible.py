"""Whether a node sees the films of a task, asked before each of them becomes a failed row."""

from __future__ import annotations

import os
import socket

from cxrzero.cluster.engine import NodeError, Task
from cxrzero.cluster.slices import readable_of
from cxrzero.places.kind import is_file

# Films of a slice that are looked for, at even distances.
LOOKED_FOR = 8


def check_visible(task: Task) -> None:
    """Look for some of a task's films; those that were no files of this kind when they were found are not looked for.

    Raises:
        NodeError: none of them is there, though all were when the walk was made.
    """
    films = [path for path in readable_of(task) if is_file(path)]
    if len(films) < LOOKED_FOR:  # so few may really have been deleted since: then they are failed rows
        return
    looked_for = films[:: len(films) // LOOKED_FOR]
    if not any(map(os.path.lexists, looked_for)):
        example = "" if task.options.get("pseudonymise") else f" (such as {looked_for[0]})"
        raise NodeError(
            f"{socket.gethostname()} sees none of the films of task {task.number}{example}: they have to be at the "
            "same place on every machine of a cluster; if they are gone everywhere, delete the plan's folder"
        )
