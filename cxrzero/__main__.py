"""`python -m cxrzero` and the `cxrzero` command."""

from cxrzero.cli import main

if __name__ == "__main__":
    main()
