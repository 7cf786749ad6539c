"""Budgets of files and functions, and the names no file may have."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.source import FOLDERS, place, python_files, tree_of

FILE_LINES = 600
FUNCTION_LINES = 70
SHELL_METHOD_LINES = 12
SHAPELESS = {"utils.py", "util.py", "helpers.py", "helper.py", "common.py", "manager.py", "misc.py"}
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[tuple[_Function, int]]:
    """Yield (function, lines of it without decorators and docstring)."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, _Function):
            first = node.body[0]
            docstring = 0
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                docstring = (first.end_lineno or first.lineno) - first.lineno + 1
            yield node, (node.end_lineno or node.lineno) - node.lineno + 1 - docstring


def test_files_are_short() -> None:
    lengths = {place(p): len(p.read_text(encoding="utf-8").splitlines()) for p in python_files(*FOLDERS)}
    assert {name: n for name, n in lengths.items() if n > FILE_LINES} == {}


def test_functions_are_short() -> None:
    long = [
        f"{place(path, node.lineno)} {node.name}: {length} lines"
        for path in python_files(*FOLDERS)
        for node, length in functions(path)
        if length > FUNCTION_LINES
    ]
    assert long == []


def test_files_are_named_after_what_they_hold() -> None:
    assert [place(path) for path in python_files(*FOLDERS) if path.name in SHAPELESS] == []


@pytest.mark.filterwarnings("default::UserWarning")
def test_shell_methods_are_thin() -> None:
    """Warn only: a shell that decodes, calls and executes fits in 12 lines; one that does not deserves a look."""
    thick = []
    for path in python_files("actors"):
        classes = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)]
        methods = {id(method) for node in classes for method in node.body if isinstance(method, _Function)}
        thick += [
            f"{place(path, node.lineno)} {node.name} ({length})"
            for node, length in functions(path)
            if id(node) in methods and length > SHELL_METHOD_LINES
        ]
    if thick:
        warnings.warn(f"methods over {SHELL_METHOD_LINES} lines: {', '.join(thick)}", UserWarning, stacklevel=1)
