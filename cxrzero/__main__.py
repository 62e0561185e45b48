"""`python -m cxrzero` and the `cxrzero` command."""

import sys

INTERRUPTED = 130  # as of every command, see `cxrzero.cli.failures`


def main() -> None:
    """Ctrl-C may come while modules are still being loaded, or twice."""
    try:
        from cxrzero.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        # A Ctrl-C that passes through `exec` of a string, in which dataclasses are made, has CPython end by the signal,
        # handled or not, unless such a string was run to its end since.
        exec("")


if __name__ == "__main__":
    main()
