"""Compiled code: one decorator, one cache, one way to turn a per-bar function into a loop over bars.

numba keeps machine code on disk and, per function, checks only the file that function stands in. A helper
edited in another file would leave the caller's old machine code running. So the cache lives in a folder named
after the hash of all our source, the numba and numpy versions and the processor: any edit means a new folder.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite.binding
import numba
import numpy as np
from numba.core import config as numba_config
from numba.core.caching import FunctionCache
from numba.core.runtime.nrt import rtsys

from grodtd.code_version import PACKAGE, package_hash

F = TypeVar("F", bound=Callable[..., Any])

JIT_DISABLED: bool = bool(numba_config.DISABLE_JIT)  # type: ignore[attr-defined]  # numba fills it at run time


def _cache_root() -> Path:
    """Where machine code is kept: NUMBA_CACHE_DIR if set (containers), else the user's cache folder."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return Path(given)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = home / "grodt" / "machine-code"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError:  # a read-only home: compile afresh into a private folder, never one somebody else could fill
        return Path(tempfile.mkdtemp(prefix="grodt-machine-code-"))
    return root


def machine_code_parts() -> dict[str, str]:
    """Return what machine code follows from, by name: two processes where all are equal compute the same bits."""
    return {
        "GRODT": package_hash(),
        "numba": numba.__version__,
        "numpy": np.__version__,
        "Python": sys.version,
        "processor": llvmlite.binding.get_host_cpu_name(),
        "processor features": llvmlite.binding.get_host_cpu_features().flatten(),
    }


def _cache_key() -> str:
    return hashlib.sha256("\0".join(machine_code_parts().values()).encode()).hexdigest()[:16]


# numba reads this when a function is decorated, so it is set before any kernel is.
MACHINE_CODE: Path = _cache_root() / _cache_key()
numba_config.CACHE_DIR = str(MACHINE_CODE)  # type: ignore[attr-defined]  # likewise
# One function at a time: two threads would file their kernels in each other's folder.
_DECORATING = threading.Lock()

# Modules made from a user's file begin so; the rest of the name is a hash of the file and of those beside it.
OWN_MODULE = "grodt_own_"


class _Cache(FunctionCache):
    """numba's cache of a kernel of this package, without what numba prepares for compiling.

    Before numba looks for machine code on disk it loads everything it would need to compile: all of its library, and
    scipy's linear algebra with it, half a second in a new process. What is found needs none of that, only numba's own
    memory management; where nothing is found the compiler loads the rest itself. Kernels of this package use plain
    arithmetic. Those of a user may use anything numba knows, so they keep numba's own order.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:  # Any: numba's own signature, without types
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)


def _is_ours(function: Callable[..., Any]) -> bool:
    return function.__module__.partition(".")[0] == PACKAGE.name


def source_of(function: Callable[..., Any]) -> str:
    """Return what tells a function of a user's from what it was before an edit, of a helper beside it too.

    Empty for functions of this package, whose machine code lies in a folder named after the whole of it; the name of a
    user's module that is named after its content; else a hash of the file and of those beside it.
    """
    original = getattr(function, "py_func", function)
    if _is_ours(original):
        return ""
    if original.__module__.startswith(OWN_MODULE):
        return str(original.__module__)
    return hash_beside(Path(inspect.getfile(original)))[:16]


def hash_beside(file: Path) -> str:
    """Return a hash of all Python files in a file's folder: any of them may be its helper."""
    digest = hashlib.sha256()
    for beside in sorted(file.parent.glob("*.py")):
        digest.update(beside.name.encode() + b"\0" + beside.read_bytes())
    return digest.hexdigest()


def kernel(function: F) -> F:
    """Compile `function` with numba; plain Python when NUMBA_DISABLE_JIT is set.

    No fastmath: sums keep their order, so compiled and interpreted results are the same bits for + - x / and
    square root. Division by zero gives inf or nan as in numpy; kernels guard their divisions.
    """
    is_ours = _is_ours(function) and not JIT_DISABLED
    with _DECORATING:
        numba_config.CACHE_DIR = str(MACHINE_CODE / source_of(function))  # type: ignore[attr-defined]  # numba fills it at run time
        try:
            compiled = numba.njit(cache=not is_ours, nogil=True, error_model="numpy")(function)
            if is_ours:
                compiled._cache = _Cache(function)  # type: ignore[attr-defined]  # as numba's enable_caching does
            return cast(F, compiled)
        finally:
            numba_config.CACHE_DIR = str(MACHINE_CODE)  # type: ignore[attr-defined]  # likewise


def kernel_from_source(source: str, *, name: str, like: Callable[..., Any], scope: Mapping[str, object]) -> Any:
    """Compile generated `source` and return its function `name`.

    numba finds no disk cache for a function that takes a compiled function as an argument, so loops that call
    one (an indicator's update, a strategy's rule) are generated with the callee as a plain global. The code is
    filed under the source file of `like`, which is what numba needs to cache it on disk.
    """
    original = getattr(like, "py_func", like)
    file = inspect.getfile(original)
    namespace: dict[str, Any] = {"__name__": original.__module__, **scope}
    # Numbered after the file's last line, so that nobody who looks up the source finds another function's.
    beyond = "\n" * len(Path(file).read_text(encoding="utf-8").splitlines())
    exec(compile(beyond + source, file, "exec"), namespace)  # noqa: S102 our own text, no outside input
    function = namespace[name]
    function.__qualname__ = f"{original.__qualname__}.{name}"
    return kernel(function)
