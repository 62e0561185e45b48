"""Keep the warnings of file-format libraries from reaching the user: they may quote header values."""

from __future__ import annotations

import logging
import re
import warnings


def ignore_warnings_of(package: str) -> None:
    """Drop warnings and log records that the package issues, here and from now on.

    `warnings.catch_warnings` swaps process-wide state and is unsafe in threads; one filter, added once, is not. Cheap
    enough to be called before every file, since a caller may have reset the filters in the meantime.
    """
    wanted = ("ignore", None, Warning, re.compile(rf"{package}(\.|$)"), 0)
    if wanted not in warnings.filters:
        warnings.filterwarnings("ignore", module=rf"{package}(\.|$)")
    logger = logging.getLogger(package)
    if logger.level <= logging.CRITICAL:
        logger.setLevel(logging.CRITICAL + 1)
