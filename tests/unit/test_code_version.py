from __future__ import annotations

from pathlib import Path

import pytest

from grodtd import code_version


def test_a_modules_hash_covers_just_what_it_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from pack.b import x\n")
    (package / "b.py").write_text("import pack.c\nx = 1\n")
    (package / "c.py").write_text("")
    (package / "unused.py").write_text("")
    monkeypatch.setattr(code_version, "PACKAGE", package)
    monkeypatch.syspath_prepend(str(tmp_path))

    def fingerprint() -> str:
        code_version.module_hash.cache_clear()
        return code_version.module_hash("pack.a")

    base = fingerprint()
    assert fingerprint() == base
    (package / "unused.py").write_text("y = 2\n")
    assert fingerprint() == base
    (package / "c.py").write_text("z = 3\n")  # two imports away
    assert fingerprint() != base
    code_version.module_hash.cache_clear()


def test_relative_imports_are_refused_because_they_would_be_missed(tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_text("from . import x\n")
    with pytest.raises(ValueError, match="relative import"):
        code_version._imports(file)


def test_a_module_that_does_not_exist() -> None:
    with pytest.raises(ModuleNotFoundError):
        code_version.module_hash("grodtd.nothing_here")
