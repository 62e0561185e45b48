"""The rooms of the package import only downward. Their order is written here, once.

`python tests/test_rooms.py` prints the figures. Imports inside functions count; those under TYPE_CHECKING do not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "cxrzero"

# From the ground up, a floor a line. A room is a folder of the package, or a module at its top.
FLOORS = (
    ("_version", "errors", "choices", "places", "display", "files", "maths", "options", "outside"),
    ("images", "phantom", "archive", "containers", "sources", "remote", "prediction"),
    ("model", "cards", "backends", "prompts", "cache"),
    ("pipeline",),
    ("stats", "calibration", "tables", "database", "embeddings"),
    ("member", "heatmap", "dicom_out", "clip", "convert", "registry", "screener"),
    ("predict", "embed", "search", "evaluate", "worklist", "report", "compare", "export", "train", "bench"),
    ("cluster", "node"),
    ("cli", "__init__", "__main__"),
)
ROOMS = [room for floor in FLOORS for room in floor]

Arrows = set[tuple[str, str]]


def arrows(package: Path = PACKAGE) -> Arrows:
    """(importing, imported) modules, named like "images/dicom"."""
    modules = {path.relative_to(package).with_suffix("").as_posix() for path in package.rglob("*.py")}
    found = set()
    for module in modules:
        for name in _imported(ast.parse((package / f"{module}.py").read_text(encoding="utf-8")), package.name):
            parts = name.split(".")[1:]
            places = ("/".join(parts[:n]) for n in (len(parts), len(parts) - 1))
            target = next(t for place in places for t in (place, f"{place}/__init__".strip("/")) if t in modules)
            found.add((module, target))
    return {(a, b) for a, b in found if a != b}


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    """What a module takes from the package, as dotted names."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.module
            assert node.level == 0, "imports name the package"
            yield from (f"{node.module}.{a.name}" for a in node.names if node.module.split(".")[0] == package)
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == package)
        yield from _imported(node, package)


def between(found: Arrows, depth: int) -> Arrows:
    """The same between folders `depth` levels deep, and the modules above them."""
    pairs = {tuple("/".join(module.split("/")[:depth]) for module in arrow) for arrow in found}
    return {(a, b) for a, b in pairs if a != b}


def upward(found: Arrows) -> list[str]:
    """Arrows that run against the order of ROOMS."""
    return sorted(f"{a} -> {b}" for a, b in found if ROOMS.index(a.split("/")[0]) < ROOMS.index(b.split("/")[0]))


def circles(found: Arrows) -> list[str]:
    """What imports itself through others, each group in a line."""
    reached = {a: {b for x, b in found if x == a} for pair in found for a in pair}
    for through in reached:  # Warshall's closure
        for name, below in reached.items():
            if through in below:
                reached[name] = below | reached[through]
    groups = {frozenset(b for b in below if name in reached[b]) for name, below in reached.items()}
    return sorted(" <-> ".join(sorted(group)) for group in groups if group)


def test_rooms_import_only_downward() -> None:
    assert upward(arrows()) == []


def test_nothing_imports_itself_through_others() -> None:
    deepest = max(len(path.relative_to(PACKAGE).parts) for path in PACKAGE.rglob("*.py"))
    found = arrows()
    assert [circle for depth in range(1, deepest + 1) for circle in circles(between(found, depth))] == []


if __name__ == "__main__":
    every = arrows()
    rooms = between(every, 1)
    loose = sum(1 for _ in PACKAGE.glob("*.py"))
    print(f"{len({name for arrow in rooms for name in arrow})} rooms, of which {loose} are modules at the top")
    print(f"{len(rooms)} arrows between rooms, {len(upward(rooms))} of them back up")
    for depth, what in ((1, "rooms"), (2, "folders in them"), (9, "modules")):
        print(f"circles of {what}: {circles(between(every, depth))}")
