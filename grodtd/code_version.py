"""Fingerprints of GRODT's own source: which code made a number, which machine code may be reused.

Standard library only and below every other part, so anything may lean on it. Reading our own source is the
one thing the core does with a disk (docs/decisions/0003-code-fingerprints.md).
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        name = file.relative_to(PACKAGE).as_posix() if file.is_relative_to(PACKAGE) else file.name
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


@cache
def package_hash() -> str:
    """Return the sha256 of every Python file of the package: changes when any line of any helper changes."""
    return _digest(sorted(PACKAGE.rglob("*.py")))


def _imports(file: Path) -> set[Path]:
    """Files of this package that `file` imports, directly; names inside packages included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{file}: relative import; GRODT imports absolutely")
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    files: set[Path] = set()
    for name in found:
        if name.split(".")[0] != PACKAGE.name:
            continue
        base = PACKAGE.parent.joinpath(*name.split("."))
        files.update(f for f in (base.with_suffix(".py"), base / "__init__.py") if f.is_file())
    return files


@cache
def module_hash(module: str) -> str:
    """Return the sha256 of a module and of every file of this package it imports, directly or not.

    Parameters
    ----------
    module : str
        Dotted name of an importable module, for example ``grodtd.strategies.s1_trend``.

    Raises
    ------
    ModuleNotFoundError
        If there is no such module with Python source.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise ModuleNotFoundError(f"no Python source for module {module!r}")
    todo, seen = [Path(spec.origin).resolve()], set[Path]()
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo.extend(_imports(file))
    return _digest(sorted(seen))
