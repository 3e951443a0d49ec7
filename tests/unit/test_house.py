"""The rules of the house that no other tool checks: sizes, docstrings, empty packages, nothing left over."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.support.rooms import circles
from worker.protocol.settings_table import with_table

ROOT = Path(__file__).parents[2]
PACKAGES = ("errata", "service", "worker", "editing_core")
PUBLIC_NAMES = "errata/__init__.py"
"""The one package file with content: it gives the Python package its names."""
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
MAX_FOLDER_FILES = 15
LEFTOVER = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")


def _sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


PRODUCT = tuple(_sources(*PACKAGES))
EVERYTHING = (*PRODUCT, *_sources("tests"))


def test_the_packages_are_there() -> None:
    assert {_name(path).split("/")[0] for path in PRODUCT} == set(PACKAGES)


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {_name(path): len(path.read_text().splitlines()) for path in EVERYTHING}
    assert not {name: length for name, length in lengths.items() if length > MAX_FILE_LINES}


def test_no_function_has_more_than_40_lines_below_its_docstring() -> None:
    too_long = []
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
                if (node.end_lineno or 0) - body[0].lineno >= MAX_FUNCTION_LINES:
                    too_long.append(f"{_name(path)}:{node.lineno} {node.name}")
    assert not too_long


def test_every_module_of_the_product_has_a_docstring() -> None:
    assert not [_name(path) for path in PRODUCT if not ast.get_docstring(ast.parse(path.read_text()))]


def test_nothing_is_left_to_do_in_a_comment() -> None:
    assert not [_name(path) for path in EVERYTHING if LEFTOVER.search(path.read_text())]


def test_no_test_replaces_a_private_name_or_patches_the_product() -> None:
    product = r"""monkeypatch\.setattr\(\s*["'](service|worker|editing_core|errata)\."""
    private = r"""monkeypatch\.setattr\(\s*(_|[\w.]+, ["']_)"""
    patching = re.compile("|".join((r"unittest\.mock", product, private)))
    tests = [path for path in _sources("tests") if path != Path(__file__)]
    assert not [_name(path) for path in tests if patching.search(path.read_text())]


def test_package_files_hold_a_docstring_and_nothing_else() -> None:
    packages = [path for path in PRODUCT if path.name == "__init__.py" and _name(path) != PUBLIC_NAMES]
    assert not [_name(path) for path in packages if len(ast.parse(path.read_text()).body) != 1]


def test_every_package_folder_has_its_package_file() -> None:
    assert not {_name(path.parent) for path in PRODUCT if not (path.parent / "__init__.py").exists()}


def test_no_folder_holds_more_than_fifteen_modules() -> None:
    modules = Counter(_name(path.parent) for path in PRODUCT if path.name != "__init__.py")
    assert not {name: count for name, count in modules.items() if count > MAX_FOLDER_FILES}


def test_no_folder_inside_a_package_holds_a_single_module() -> None:
    folders = [path.parent for path in PRODUCT if path.name == "__init__.py" and path.parent.parent != ROOT]
    inside = Counter(path.parent for path in PRODUCT if path.name != "__init__.py")
    inside.update(folder.parent for folder in folders)
    assert not [_name(folder) for folder in folders if inside[folder] == 1]


def test_no_two_rooms_of_a_package_import_each_other() -> None:
    assert circles() == []


def test_the_docs_hold_the_tables_of_settings_that_the_code_makes() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == with_table(page), "run: make settings-table"
