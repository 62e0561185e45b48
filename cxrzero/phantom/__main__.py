"""`python -m cxrzero.phantom FOLDER` draws the examples folder anew."""

from __future__ import annotations

import argparse

from cxrzero.phantom.examples import write_examples

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m cxrzero.phantom", description="Draw the example radiographs.")
    parser.add_argument("folder", help="where to write them, e.g. examples")
    write_examples(parser.parse_args().folder)
