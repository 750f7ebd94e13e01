"""The tests stand where a reader looks for them: by the package's room, with their helpers in ``support`` alone."""

from __future__ import annotations

import ast
from pathlib import Path

import mlflow_parity

TESTS = Path(__file__).resolve().parent.parent
ROOMS = {one.name for one in Path(mlflow_parity.__file__).parent.iterdir() if (one / "__init__.py").exists()}
#: What belongs to no room of the package: options end to end, what is around the package, the fault battery, what
#: MLflow itself says that there is.
BESIDE = {"options", "project", "faults", "completeness"}


def test_a_folder_is_read_at_a_glance() -> None:
    """Sixteen modules at most: a larger folder has rooms of its own that nobody named."""
    package = Path(mlflow_parity.__file__).parent
    folders = {path.parent for path in package.rglob("*.py")}
    counts = {folder: len({path.name for path in folder.glob("*.py")} - {"__init__.py"}) for folder in folders}
    assert {str(folder.relative_to(package)): count for folder, count in counts.items() if count > 16} == {}


def test_every_room_has_its_folder() -> None:
    """A room without a folder of tests would be one that nobody tests by itself."""
    folders = {one.name for one in TESTS.iterdir() if one.is_dir() and list(one.glob("test_*.py"))}
    assert ROOMS - {"self_test"} <= folders
    assert folders <= ROOMS | BESIDE
    assert [one.name for one in TESTS.glob("*.py")] == ["conftest.py"]


def test_no_test_imports_a_test() -> None:
    """What two modules share is in ``support``: else one of them runs, or breaks, with the other."""
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            names = [one for one in names if not one.startswith("mlflow_parity.")]
            assert [one for one in names if one.rpartition(".")[2].startswith("test_")] == [], path


def test_every_test_says_what_it_holds() -> None:
    """A test without a sentence is one that nobody can judge when it turns red."""
    for path in TESTS.rglob("test_*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert ast.get_docstring(node), f"{path}: {node.name}"
