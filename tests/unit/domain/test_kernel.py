"""Where machine code comes from in a new process, and what it takes to load it."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from numba.core.caching import FunctionCache

from grodtd.domain.kernel import JIT_DISABLED, MACHINE_CODE, OWN_MODULE, kernel
from grodtd.execution.fill_kernel import whole_steps

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")
ROOT = Path(__file__).resolve().parents[3]

_OWN = """
import sys
from grodtd.execution.fill_kernel import whole_steps
print(whole_steps(7.6, 1.0, 2.0, True), sum(whole_steps.stats.cache_hits.values()), "numba.np.linalg" in sys.modules)
"""
# A kernel nobody has on disk, which calls one that everybody has: compiling goes on from where loading stopped.
_NEW = """
import sys
from grodtd.domain.kernel import kernel
from grodtd.execution.fill_kernel import whole_steps
print(whole_steps(7.6, 1.0, 2.0, True), "numba.np.linalg" in sys.modules)
sys.path.insert(0, sys.argv[1])
from new_kernel import doubled
print(doubled(7.6), sum(doubled.stats.cache_misses.values()), "numba.np.linalg" in sys.modules)
"""
_NEW_KERNEL = """
import numpy as np
from grodtd.domain.kernel import kernel
from grodtd.execution.fill_kernel import whole_steps

@kernel
def doubled(value):
    return np.dot(np.array([2.0, 0.0]), np.array([whole_steps(value, 1.0, 2.0, True), 5.0]))
"""


def _printed(program: str, cache: Path, *arguments: str) -> list[str]:
    # Libraries from where the tests have theirs: BLAS comes with scipy, which the service does without.
    libraries = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": libraries, "NUMBA_CACHE_DIR": str(cache)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_machine_code_on_disk_is_loaded_without_the_compiler(tmp_path: Path) -> None:
    # 7.6 in halves, rounded up: 8. The first process compiles, the second finds it.
    assert _printed(_OWN, tmp_path) == ["8.0 0 True"]
    assert _printed(_OWN, tmp_path) == ["8.0 1 False"]


def test_compiling_after_loading_finds_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "new_kernel.py").write_text(_NEW_KERNEL)
    _printed(_OWN, tmp_path / "code")
    # 2 times 8 and 0 times 5: 16, by way of BLAS.
    assert _printed(_NEW, tmp_path / "code", str(tmp_path)) == ["8.0 False", "16.0 1 True"]
    # Found on disk, a kernel of somebody else still loads all of numba: it may refer to any of it.
    assert _printed(_NEW, tmp_path / "code", str(tmp_path)) == ["8.0 False", "16.0 0 True"]


def test_kernels_of_others_keep_numbas_own_cache() -> None:
    @kernel
    def theirs(value: float) -> float:
        return value

    assert type(theirs._cache) is FunctionCache  # type: ignore[attr-defined]  # a function only by its type
    assert type(whole_steps._cache) is not FunctionCache  # type: ignore[attr-defined]  # likewise


def test_kernels_made_on_several_threads_are_filed_in_their_own_folders() -> None:
    def made(own: str) -> str:
        def value() -> float:
            return 1.0

        value.__module__ = own
        return str(kernel(value)._cache.cache_path)  # type: ignore[attr-defined]  # likewise

    names = [f"{OWN_MODULE}{i % 2}" for i in range(200)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(made, names))
    assert len(found) == 200
    for name, folder in zip(names, found, strict=True):
        assert folder.startswith(str(MACHINE_CODE / name))
