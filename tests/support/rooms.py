"""Rooms that import each other in a circle: ``python -m tests.support.rooms`` prints them, and fails if there are any.

A room is a module or a folder directly inside a package folder. The import graph is read from the sources with ``ast``;
imports for type checkers count too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import networkx

ROOT = Path(__file__).parents[2]
PACKAGES = ("errata", "service", "worker", "editing_core")


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module of the product by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """Pairs of a module and a module of the product that it imports."""
    known = modules(root)
    for name, path in known.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for target in _targets(node):
                while target and target not in known:
                    target = target.rpartition(".")[0]
                if target:
                    yield name, target


def _targets(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def room_graph(folder: str, edges: list[tuple[str, str]]) -> networkx.DiGraph:
    """The rooms of one package folder and who imports whom."""
    graph = networkx.DiGraph()
    for importer, imported in edges:
        ends = [_room(folder, importer), _room(folder, imported)]
        if all(ends) and ends[0] != ends[1]:
            graph.add_edge(*ends)
    return graph


def _room(folder: str, module: str) -> str | None:
    inside = module.removeprefix(f"{folder}.")
    return None if inside == module else inside.split(".")[0]


def circles(root: Path = ROOT) -> list[str]:
    """Each strongly connected group of two or more rooms, as ``folder: room, room``."""
    edges = list(imports(root))
    folders = sorted(name for name, path in modules(root).items() if path.name == "__init__.py")
    return [
        f"{folder}: {', '.join(sorted(rooms))}"
        for folder in folders
        for rooms in networkx.strongly_connected_components(room_graph(folder, edges))
        if len(rooms) > 1
    ]


if __name__ == "__main__":
    found = circles()
    print("\n".join(found) or "no circles")
    sys.exit(bool(found))
