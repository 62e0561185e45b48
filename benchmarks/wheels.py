"""Wheels for a machine that has no network: cut into parts that travel, put together there, installed in a folder.

    python benchmarks/wheels.py split DIR [--part-size 20M]
    python benchmarks/wheels.py join DIR
    python benchmarks/wheels.py install DIR FOLDER

`split` replaces each wheel larger than a part by NAME.whl.part000 … and NAME.whl.parts.json, which has the SHA-256 of
each part and of the whole. Parts may then lie in any folders below DIR. `join` puts every wheel together again beside
its manifest, and refuses what is missing or is not what the manifest says. `install` joins, and unpacks all wheels with
pip into FOLDER, which is to stand first on PYTHONPATH: a package that the machine has already then does not shadow a
wheel's. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PART_SIZE = "20M"
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
MANIFEST = ".parts.json"
BLOCK = 2**20


class WheelsError(Exception):
    """Parts that are missing or do not fit together, or wheels that cannot be installed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("split", "join", "install"):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path, metavar="DIR")
        if name == "split":
            command.add_argument("--part-size", type=parse_size, default=parse_size(PART_SIZE), help="bytes, or 20M")
        if name == "install":
            command.add_argument("target", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    try:
        if not args.folder.is_dir():
            raise WheelsError(f"{args.folder} is no folder")
        if args.command == "install":
            print(*(wheel.name for wheel in install(args.folder, args.target)), sep="\n")
        else:
            done = split_all(args.folder, args.part_size) if args.command == "split" else join_all(args.folder)
            print(*(path.name for path in done), sep="\n")
    except WheelsError as error:
        raise SystemExit(str(error)) from None


def parse_size(text: str) -> int:
    """Bytes: "20M" is 20,000,000."""
    found = re.fullmatch(r"(\d+)([KMG]?)", text)
    if not found or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write for example 20M")
    return int(found[1]) * UNITS[found[2]]


def split_all(folder: Path, part_size: int) -> list[Path]:
    """Cut the wheels of a folder that are larger than a part; returns their manifests."""
    large = [wheel for wheel in sorted(folder.rglob("*.whl")) if wheel.stat().st_size > part_size]
    return [split(wheel, part_size) for wheel in large]


def split(wheel: Path, part_size: int) -> Path:
    """Cut one wheel, which goes when its parts are there and are read back as what they should be."""
    parts = []
    with wheel.open("rb") as file:
        while data := file.read(part_size):
            part = wheel.with_name(f"{wheel.name}.part{len(parts):03}")
            part.write_bytes(data)
            parts.append({"name": part.name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    manifest = wheel.with_name(wheel.name + MANIFEST)
    whole = {"wheel": wheel.name, "size": wheel.stat().st_size, "sha256": sha256(wheel), "parts": parts}
    manifest.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    joined = join(manifest, wheel.parent, wheel.with_name(wheel.name + ".partial"))
    joined.unlink()
    wheel.unlink()
    return manifest


def join_all(folder: Path) -> list[Path]:
    """Put every wheel together whose manifest is below the folder; returns the wheels."""
    return [join(manifest, folder) for manifest in sorted(folder.rglob("*" + MANIFEST))]


def join(manifest: Path, folder: Path, wheel: Path | None = None) -> Path:
    """Put one wheel together.

    Args:
        folder: below which the parts are.
        wheel: to write; None takes the manifest's name and folder, and leaves a wheel that is there already and right.

    Raises:
        WheelsError: the manifest is none, or a part is missing or not what it says; nothing is left then.
    """
    whole = read_manifest(manifest)
    wheel = wheel or manifest.with_name(whole["wheel"])
    if wheel.exists() and sha256(wheel) == whole["sha256"]:
        return wheel
    partial = wheel.with_name(wheel.name + ".joining")
    digest = hashlib.sha256()
    try:
        with partial.open("wb") as file:
            for part in whole["parts"]:
                data = read_part(part, folder)
                digest.update(data)
                file.write(data)
        if digest.hexdigest() != whole["sha256"]:
            raise WheelsError(f"{whole['wheel']}: its parts are those of the manifest, but do not make the wheel")
        os.replace(partial, wheel)
    finally:
        partial.unlink(missing_ok=True)
    return wheel


def read_manifest(path: Path) -> dict[str, Any]:
    """What a manifest says, its names plain ones of this wheel.

    Raises:
        WheelsError: it says something else.
    """
    try:
        whole: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        name = str(whole["wheel"])
        names = [str(part["name"]) for part in whole["parts"]]
        entries = [whole, *whole["parts"]]
        is_right = all(type(each["size"]) is int and len(each["sha256"]) == 64 for each in entries)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WheelsError(f"{path} is no manifest of a wheel's parts: {error!r}") from error
    expected = [f"{name}.part{number:03}" for number in range(len(names))]
    if not is_right or path.name != name + MANIFEST or names != expected or not name.endswith(".whl"):
        raise WheelsError(f"{path} is no manifest of a wheel's parts")
    return whole


def read_part(part: dict[str, Any], folder: Path) -> bytes:
    """The bytes of one part, wherever it lies below the folder."""
    found = sorted(folder.rglob(part["name"]))
    if not found:
        raise WheelsError(f"{part['name']} is missing below {folder}; bring it too")
    data = found[0].read_bytes() if found[0].stat().st_size == part["size"] else b""
    if hashlib.sha256(data).hexdigest() != part["sha256"]:
        raise WheelsError(f"{found[0]} is not the part that the manifest describes (SHA-256); bring it again")
    return data


def join_each(folder: Path) -> dict[str, str]:
    """Join what can be joined; wheel → why not, for the others."""
    refused = {}
    for manifest in sorted(folder.rglob("*" + MANIFEST)):
        try:
            join(manifest, folder)
        except WheelsError as error:
            refused[manifest.name.removesuffix(MANIFEST)] = str(error)
    return refused


def install(folder: Path, target: Path, *, join_first: bool = True) -> list[Path]:
    """Join what is in parts, and unpack every wheel below `folder` into `target`; returns the wheels.

    All in one call of pip: a second one would replace a folder that several wheels share, such as nvidia/.

    Raises:
        WheelsError: pip refuses them.
    """
    if join_first:
        join_all(folder)
    wheels = list({wheel.name: wheel for wheel in sorted(folder.rglob("*.whl"))}.values())
    if not wheels:
        return []
    options = ["--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--upgrade", "--target", str(target)]
    done = subprocess.run([*command, *map(str, wheels)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise WheelsError(f"pip cannot install the wheels of {folder}: {last_line(done.stderr)}")
    open_namespace(target / "nvidia")
    return wheels


def open_namespace(package: Path) -> None:
    """Take an empty __init__.py out of a folder that distributions share: it would hide the others' parts of it."""
    init = package / "__init__.py"
    if init.exists() and not re.sub(r"(?m)^\s*(#.*)?$", "", init.read_text(encoding="utf-8")).strip():
        init.unlink()


def origin(module: str, folder: Path) -> dict[str, Any]:
    """Which distribution an import of `module` gives, without importing it.

    Returns:
        {"distribution": "onnxruntime-gpu 1.31.1", "from": "wheels" or "environment", "shadowed": others that have it};
        distribution is None where there is none.
    """
    owners: dict[Path, list[str]] = {}
    for place in dict.fromkeys(Path(entry or ".").resolve() for entry in sys.path):
        for each in importlib.metadata.distributions(path=[str(place)]):
            tops = {str(file).split("/")[0].removesuffix(".py") for file in each.files or ()}
            if module in tops and (place / module).exists():
                owners.setdefault(place, []).append(f"{each.metadata['Name']} {each.version}")
    names = [name for place in owners for name in owners[place]]
    first = next(iter(owners), None)
    place = "wheels" if first == folder.resolve() else "environment"
    return {"distribution": names[0] if names else None, "from": place if names else None, "shadowed": names[1:]}


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(BLOCK):
            digest.update(data)
    return digest.hexdigest()


def last_line(text: str) -> str:
    """What a program that failed said last."""
    lines: Sequence[str] = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "it said nothing"


if __name__ == "__main__":
    main()
