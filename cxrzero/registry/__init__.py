"""Known models, the user's models, and what `--model` means. Torch-free; only `registry.pull` uses the network.

Importing this package loads nothing: the command line imports the options in `own.py`, and --help should come at once.
"""
