"""What the programs share: they load what takes long, wait for their turn, and tell each row when it is known."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

GO = "go"
# The libraries' own prints must not come between the rows.
_rows = sys.stdout


def parser(description: str | None) -> argparse.ArgumentParser:
    """Options that every program has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--work", type=Path, required=True, help="folder of films and models")
    made.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    made.add_argument("--seconds", type=float, default=1.0, help="of each rate")
    return made


def wait_for_turn() -> None:
    """Say that everything is loaded, and wait until the GPU is this program's; ends it where it is not wanted."""
    sys.stdout = sys.stderr
    tell({"ready": True})
    if sys.stdin.readline().strip() != GO:
        raise SystemExit(0)


def row(name: str, **found: Any) -> None:
    tell({"row": name, **found})


def tell(entry: dict[str, Any]) -> None:
    print(json.dumps(entry, ensure_ascii=False), file=_rows, flush=True)


def done(work: Path, name: str) -> Path:
    """The mark that something which others need is complete."""
    return work / "done" / name


def mark(work: Path, name: str) -> None:
    done(work, name).parent.mkdir(parents=True, exist_ok=True)
    done(work, name).touch()
