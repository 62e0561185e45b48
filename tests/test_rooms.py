"""The rooms of the package import only downward: their order is written here, once.

`python tests/test_rooms.py` prints the figures. Imports inside functions count, those under TYPE_CHECKING do not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "cxrzero"

# From the ground up: a room is a folder of the package or a module at its top.
ROOMS = (
    "_version errors choices files options images phantom sources prediction model cards backends prompts cache pipeline "
    "stats calibration tables member clip convert registry screener predict search evaluate report train bench cli "
    "__init__ __main__"
).split()

Arrow = tuple[str, str]


def arrows(package: Path = PACKAGE) -> Iterator[Arrow]:
    """(importing, imported) modules, as paths like images/dicom."""
    modules = {path.relative_to(package).with_suffix("").as_posix() for path in package.rglob("*.py")}
    for module in sorted(modules):
        for name in imported(ast.parse((package / f"{module}.py").read_text(encoding="utf-8")), package.name):
            parts = name.split(".")[1:]
            for target in ("/".join(parts), "/".join([*parts, "__init__"]), "/".join(parts[:-1])):
                if target in modules and target != module:
                    yield module, target
                    break
            else:
                if "/".join([*parts[:-1], "__init__"]).lstrip("/") != module:
                    yield module, "/".join([*parts[:-1], "__init__"]).lstrip("/")


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted names that a module takes from the package."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == package:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == package)
        yield from imported(node, package)


def room(module: str) -> str:
    return module.split("/")[0]


def upward(found: set[Arrow]) -> list[str]:
    """Arrows that run against the order of ROOMS."""
    floor = {name: index for index, name in enumerate(ROOMS)}
    return [f"{a} -> {b}" for a, b in sorted(found) if floor[room(a)] < floor[room(b)]]


def circles(found: set[Arrow]) -> list[list[str]]:
    """Groups of modules that import each other in a loop."""
    below = {a: {b for x, b in found if x == a} for a, _ in found}

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        stack = list(below.get(start, ()))
        while stack:
            if (name := stack.pop()) not in seen:
                seen.add(name)
                stack += below.get(name, ())
        return seen

    reached = {name: reach(name) for name in below}
    groups = {frozenset({n for n in reached[name] if name in reached.get(n, ())}) for name in below}
    return sorted(sorted(group) for group in groups if group)


def test_rooms_import_only_downward() -> None:
    found = set(arrows())
    assert {room(module) for arrow in found for module in arrow} <= set(ROOMS)
    assert upward(found) == []


def test_no_module_imports_itself_through_others() -> None:
    assert circles(set(arrows())) == []


def folders(found: set[Arrow], depth: int = 1) -> set[Arrow]:
    pairs = {("/".join(a.split("/")[:depth]), "/".join(b.split("/")[:depth])) for a, b in found}
    return {(a, b) for a, b in pairs if a != b}


if __name__ == "__main__":
    every = set(arrows())
    loose = sorted(path.stem for path in PACKAGE.glob("*.py"))
    rooms = sorted({room(module) for arrow in every for module in arrow})
    print(f"rooms at the top: {len(rooms)}, of which modules: {len(loose)} ({', '.join(loose)})")
    print(f"arrows between rooms: {len(folders(every))}, back up: {len(upward(every))}")
    print(f"circles of rooms: {len(circles(folders(every)))}, of modules: {len(circles(every))}")
    for line in [*upward(every), *map(" <-> ".join, circles(every)), *map(" <-> ".join, circles(folders(every)))]:
        print(" ", line)
