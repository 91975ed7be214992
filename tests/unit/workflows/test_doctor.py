"""Each check made to fail by the thing itself: a wrong version, a read-only folder, a taken port, a wrong schema."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from grodtd.adapters.storage import RunStore
from grodtd.adapters.storage.schema import REVISIONS
from grodtd.domain.errors import ConfigError
from grodtd.workflows import doctor
from grodtd.workflows.data import synthesise
from grodtd.workflows.doctor import CHECKS, Asked, Finding, diagnose
from tests.conftest import ROOT
from tests.integration.served import free_port, stored

SECRET = "hunter2-and-more"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of our own: no variables, no secrets, an empty home, a folder without compose files."""
    for name in [name for name in os.environ if name.startswith("GRODT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GRODT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GRODT_SECRETS_DIR", str(tmp_path / "secrets"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def findings(check: str, status: str = "", **asked: object) -> list[Finding]:
    found = diagnose(Asked(**asked), [check])  # type: ignore[arg-type]  # fields by name
    assert found
    assert {one.check for one in found} == {check}
    return [one for one in found if one.status == status] if status else found


def the(check: str, status: str, **asked: object) -> Finding:
    found = findings(check, status, **asked)
    assert len(found) == 1, findings(check, **asked)
    return found[0]


def package(folder: Path, name: str, version: str, *more: str) -> None:
    """Install a package's metadata, which is all that is looked at."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *more, ""])
    )


def test_a_python_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path / "site", "grodtd", "9.9", "Requires-Python: >=99")
    monkeypatch.syspath_prepend(tmp_path / "site")
    found = the("python", "fail")
    assert ">=99 is needed" in found.found
    assert "new .venv" in found.mend


def test_a_version_that_is_not_the_locked_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path / "site", "numpy", "1.0")
    monkeypatch.syspath_prepend(tmp_path / "site")
    found = the("packages", "fail")
    assert "numpy is 1.0, ==2." in found.found
    assert found.mend.startswith("pip install --require-hashes -r ")
    assert Path(found.mend.split()[-1]).is_file()


def test_without_a_checkout_the_metadata_says_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = (
        "numpy>=2",
        "not-installed-here>=3",
        'only-elsewhere; sys_platform == "nowhere"',
        'extra-only; extra == "x"',
    )
    package(tmp_path / "site", "grodtd", "9.9", *(f"Requires-Dist: {one}" for one in needs))
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(doctor, "PACKAGE", tmp_path / "site" / "grodtd")
    found = the("packages", "fail").found
    assert found == "not-installed-here is not installed, >=3 is needed (wanted by the metadata of grodtd)"


def test_optional_packages_that_are_missing_or_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path / "site", "vectorbt", "0.1")
    package(tmp_path / "site", "grodtd", "9.9", 'Requires-Dist: vectorbt==1.2.0; extra == "research"')
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setitem(doctor._OPTIONAL, "not-installed-here", ("research", "`--fly`"))
    by_text = {one.found: one for one in findings("optional")}
    wrong = by_text["vectorbt is 0.1, ==1.2.0 is needed"]
    assert wrong.status == "fail"
    assert "requirements-research.lock" in wrong.mend
    missing = by_text["not-installed-here is not installed; it is for `--fly`"]
    assert missing.status == "skipped"


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder nobody can write to, not even root."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield folder
        folder.chmod(0o700)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(folder)]
    found = subprocess.run(mount, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"nothing can be mounted here: {found.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_home_that_cannot_be_written(read_only: Path) -> None:
    # What is not there yet has no owner to change.
    for home, mend in ((read_only, "sudo chown -R"), (read_only / "new", "sudo install -d -o")):
        found = the("home", "fail", home=home)
        assert f"{read_only}: " in found.found
        assert found.mend.startswith(f"{mend} {os.geteuid()} {home}")


def test_a_home_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    assert "not there yet" in the("home", "ok").found
    assert not (tmp_path / "home").exists()


def test_a_disk_that_is_too_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRODT_HEALTH__MIN_FREE_DISK_MB", str(10**12))
    found = the("home", "fail", home=tmp_path)
    assert "1000000000000 are needed" in found.found


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder away needs root")
def test_a_home_of_another_user(tmp_path: Path) -> None:
    os.chown(tmp_path, 10001, 10001)
    assert "belongs to user 10001, this is user 0" in the("home", "warn", home=tmp_path).found
    os.chown(tmp_path, 0, 0)


def machine_code(folder: Path, **variables: str) -> list[str]:
    program = (
        "from grodtd.workflows.doctor import *\n"
        "for one in diagnose(Asked(), ['machine_code']): print(one.status, one.found, one.mend)"
    )
    # The interpreted run of the tests says it to its children too.
    inherited = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    environment = {**inherited, "NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_cache_of_machine_code_that_cannot_be_written(read_only: Path, tmp_path: Path) -> None:
    found = machine_code(read_only)
    assert found[0].startswith(f"fail machine code cannot be kept in {read_only}")
    assert found[0].endswith("set NUMBA_CACHE_DIR to a folder you may write")
    (tmp_path / "kept").write_bytes(bytes(3_000_000))
    assert machine_code(tmp_path)[0].startswith("ok 3 MB of machine code in ")


def test_kernels_that_are_interpreted(tmp_path: Path) -> None:
    assert machine_code(tmp_path, NUMBA_DISABLE_JIT="1")[0].startswith("warn NUMBA_DISABLE_JIT is set")


def test_machine_code_of_many_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grodtd.domain.kernel.JIT_DISABLED", False)
    monkeypatch.setattr("grodtd.domain.kernel.MACHINE_CODE", tmp_path / "code" / "key")
    (tmp_path / "code").mkdir()
    with (tmp_path / "code" / "old").open("wb") as sparse:
        sparse.truncate(3_000_000_000)
    assert findings("machine_code", "warn")[0].mend == f"rm -r {tmp_path / 'code'} (it is made again)"


def test_settings_that_are_wrong_stop_what_needs_them_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRODT_LOG__LEVEL", "loud")
    found = diagnose(Asked())
    assert [one.check for one in found if one.status == "fail" and "log.level" in one.found] == ["settings"]
    unread = {one.check for one in found if one.found == "the settings cannot be read"}
    assert unread == {"home", "database", "data", "clock", "machine", "ports", "service", "network"}
    assert {"python", "packages", "docker"} <= {one.check for one in found if one.check not in unread}
    # Asking for one of them alone is no way around it.
    assert {one.check: one.status for one in diagnose(Asked(), ["home"])} == {"settings": "fail", "home": "skipped"}


def test_configuration_files_that_are_wrong(tmp_path: Path) -> None:
    (tmp_path / "costs.yaml").write_text("binance: {taker: 10}\n")
    found = the("settings", "fail", folder=tmp_path)
    assert "costs.yaml: binance: taker" in found.found
    assert "grodt config show" in found.mend


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder every user of the machine gets into; pytest's own are private."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        if not doctor._is_open_to_others(Path(name)):
            pytest.skip("no folder here is open to other users")
        yield Path(name)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
def test_a_secret_everybody_can_read(open_folder: Path, monkeypatch: pytest.MonkeyPatch, mode: int) -> None:
    monkeypatch.setenv("GRODT_SECRETS_DIR", str(open_folder))
    file = open_folder / "database_password"
    file.write_text(SECRET)
    file.chmod(mode)
    found = the("secrets", "fail")
    assert f"{file} (mode {mode:04o}) can be read or changed by every user" in found.found
    assert found.mend.startswith(f"chmod 700 {open_folder}")
    open_folder.chmod(0o700)
    expected = "fail" if mode & 0o002 else "ok"
    assert the("secrets", expected)
    file.chmod(0o400)
    assert the("secrets", "ok").found.endswith("mode 0400")


def test_secrets_of_the_compose_folder_are_looked_at(tmp_path: Path, open_folder: Path) -> None:
    (tmp_path / "docker-compose.yml").touch()
    folder = tmp_path / "secrets-of-compose"
    folder.mkdir()
    (folder / "grafana_admin_password").write_text(SECRET)
    (folder / "smtp_password").touch()
    (tmp_path / "secrets").symlink_to(folder)
    assert [(one.status, Path(one.found.split()[0].rstrip(",")).name) for one in findings("secrets")] == [
        ("ok", "grafana_admin_password"),
        ("skipped", "smtp_password"),
    ]


def test_a_password_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRODT_DATABASE_URL", "postgresql://trader@db/grodt")
    assert "user trader of the database has no password" in the("secrets", "warn").found


def test_a_database_of_another_schema(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert "no database yet" in the("database", "ok").found
    assert not list(home.iterdir())  # looking makes nothing
    run_id = stored(home, 1)[0]
    assert [run_id in one.found for one in findings("database", "ok")] == [False, True]
    for revision, mend in (("0003", "grodt runs migrate"), ("9999", "update grodt")):
        with closing(sqlite3.connect(home / "grodt.db")) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        found = the("database", "fail")
        assert f"its schema is {revision}, this program works with {REVISIONS[-1]}" in found.found
        assert mend in found.mend
    with closing(sqlite3.connect(home / "grodt.db")) as connection, connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


def test_a_manifest_that_does_not_fit(tmp_path: Path) -> None:
    home = tmp_path / "home"
    run_id = stored(home, 1)[0]
    with closing(sqlite3.connect(home / "grodt.db")) as connection, connection:
        connection.execute("UPDATE manifests SET manifest = json_set(manifest, '$.colour', 'red')")
    assert f"the manifest of run {run_id} does not fit this program" in the("database", "fail").found


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "grodt.db").write_bytes(b"not a database" * 100)
    assert "file is not a database" in the("database", "fail").found


def test_a_server_that_is_away() -> None:
    url = f"postgresql://me:{SECRET}@127.0.0.1:{free_port()}/grodt"
    found = diagnose(Asked(database_url=url), ["database", "clock"])
    assert [one.status for one in found if one.check == "database"] == ["fail"]
    assert "GRODT_DATABASE_URL" in found[0].mend
    assert any(one.check == "clock" and one.status == "skipped" and "away" in one.found for one in found)
    assert SECRET not in str(found)


def on(url: str, *statements: str) -> None:
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@pytest.mark.postgres
def test_a_server_without_its_schema_and_with_an_old_one(postgres_database: str) -> None:
    assert "its schema is none" in the("database", "fail", database_url=postgres_database).found
    RunStore(postgres_database).migrate()
    assert the("database", "ok", database_url=postgres_database).found.endswith(f"schema {REVISIONS[-1]}")
    on(postgres_database, "UPDATE alembic_version SET version_num = '0002'")
    assert the("database", "fail", database_url=postgres_database).mend == "grodt backup create; grodt runs migrate"


@pytest.mark.postgres
@pytest.mark.parametrize(("ahead_s", "status"), [(0, "ok"), (3, "warn"), (-60, "fail")])
def test_a_server_whose_clock_is_off(postgres_database: str, ahead_s: int, status: str) -> None:
    name = make_url(postgres_database).database
    on(
        postgres_database,
        "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS"
        f" $$ SELECT pg_catalog.clock_timestamp() + interval '{ahead_s} seconds' $$",
        f"ALTER DATABASE {name} SET search_path = public, pg_catalog",
    )
    found = findings("clock", status, database_url=postgres_database)[-1]
    assert "the database's clock is" in found.found
    if ahead_s:
        assert f"{abs(ahead_s)}.0" in found.found or f"{abs(ahead_s) - 1}.9" in found.found
        assert ("ahead" if ahead_s > 0 else "behind") in found.found


def test_a_clock_that_stands_before_the_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new.py").touch()
    os.utime(tmp_path / "new.py", (time.time() + 1e6,) * 2)
    monkeypatch.setattr(doctor, "PACKAGE", tmp_path)
    assert "before this program was installed" in the("clock", "fail").found


def test_times_without_a_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert "this machine shows CET with summer time; GRODT takes times" in findings("clock", "ok")[0].found
    finally:
        monkeypatch.undo()
        time.tzset()


def test_bars_that_are_damaged_or_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    assert "no bars" in the("data", "skipped").found
    synthesise(home, "G1", 2_000, 7)
    assert "1 series" in the("data", "ok").found
    monkeypatch.setenv("GRODT_HEALTH__MAX_DATA_AGE_S", '{"synthetic:G1:1m": 60}')
    assert "s old, 60 are allowed" in the("data", "fail").found
    month = next((home / "catalogue").rglob("20*.parquet"))
    month.write_bytes(month.read_bytes()[:-100])
    found = the("data", "fail")
    assert f"{month} cannot be read" in found.found
    assert "import its month again" in found.found


def test_a_machine_that_is_full_or_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRODT_HEALTH__MAX_MEMORY_SHARE", "0.000001")
    assert "is in use" in the("machine", "fail").found
    monkeypatch.setattr(doctor, "_CORES", 10_000)
    assert any("10000 and 4 GB are recommended" in one.found for one in findings("machine", "warn"))


def docker(folder: Path, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "docker").chmod(0o755)


def test_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert "not installed" in the("docker", "skipped").found
    docker(tmp_path / "bin", 'if [ "$1" = compose ]; then echo v2.26.1-4; else echo 26.1.5+dfsg1; fi')
    assert [one.found for one in findings("docker", "ok")] == ["Docker engine 26.1.5+dfsg1", "docker compose v2.26.1-4"]
    docker(tmp_path / "bin", 'if [ "$1" = compose ]; then echo 2.19.0; else echo 24.0.9; fi')
    assert [one.found.split(";")[0] for one in findings("docker", "warn")] == [
        "Docker engine is 24.0.9",
        "docker compose is 2.19.0",
    ]
    docker(tmp_path / "bin", "echo 'permission denied at docker.sock' >&2; exit 1")
    away = findings("docker", "warn")
    assert "permission denied at docker.sock" in away[0].found
    assert "systemctl start docker" in away[0].mend
    monkeypatch.setattr(doctor, "_DOCKER_S", 0.2)
    docker(tmp_path / "bin", "exec /bin/sleep 5")
    assert all("has not answered" in one.found for one in findings("docker", "warn"))


def test_ports_that_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("GRODT_SERVICE__PORT", str(port))
        found = the("ports", "fail")
        assert f"port {port} for grodt serve is held by " in found.found
        assert f"(process {os.getpid()})" in found.found
        assert "--port" in found.mend
        # Something is there, but it says nothing of itself.
        monkeypatch.setattr(doctor, "_REACH_S", 0.1)
        assert "no service of ours answers" in the("service", "skipped").found
    assert any(f"{port} (grodt serve)" in one.found for one in findings("ports", "ok"))


def test_an_address_that_is_not_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRODT_SERVICE__HOST", "192.0.2.1")
    assert "cannot be opened: Cannot assign requested address" in the("ports", "fail").found


def test_addresses_are_tried_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "name no address" in the("network", "skipped").found
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = server.getsockname()[1]
        closed = free_port()
        addresses = (
            f'{{"here": "http://key:{SECRET}@127.0.0.1:{here}/?apikey={SECRET}", "closed": "http://127.0.0.1:{closed}",'
            ' "unknown": "https://nowhere.invalid", "odd": "nowhere"}'
        )
        monkeypatch.setenv("GRODT_ENDPOINTS__MARKET_DATA", addresses)
        assert "4 addresses were not tried" in the("network", "skipped").found
        found = {one.found.split(":")[0]: one for one in findings("network", reaches_out=True)}
    assert found["market data of here"].found == f"market data of here: 127.0.0.1:{here} answers"
    assert "Connection refused" in found["market data of closed"].found
    assert "nowhere.invalid has no address" in found["market data of unknown"].found
    assert "no host" in found["market data of odd"].found
    assert [found[name].status for name in sorted(found)] == ["fail", "ok", "fail", "fail"]
    assert SECRET not in str(found)


def test_a_check_that_raises_or_hangs_is_a_finding_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hangs(_: Asked) -> list[Finding]:
        release.wait(30)
        return []

    def raises(_: Asked) -> Iterator[Finding]:
        yield Finding("ok", "so far")
        raise KeyError(SECRET)

    monkeypatch.setenv("GRODT_DATABASE_URL", f"postgresql://me:{SECRET}@127.0.0.1/x")
    monkeypatch.setitem(CHECKS, "docker", hangs)
    monkeypatch.setitem(CHECKS, "machine", raises)
    monkeypatch.setattr(doctor, "_WITHIN_S", 1.0)
    found = {one.check: one for one in diagnose(Asked(), ["python", "docker", "machine"])}
    release.set()
    assert found["docker"] == Finding("fail", "no answer within 1 s", "", "docker")
    assert found["machine"].found == "the check itself failed: KeyError: '***'"
    assert found["python"].status == "ok"


def test_unknown_checks_are_refused() -> None:
    with pytest.raises(ConfigError, match="there is no check 'heart'; --only takes python, packages"):
        diagnose(Asked(), ["heart"])


def test_nothing_is_changed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    stored(home, 1)
    synthesise(home, "G1", 2_000, 7)
    before = {file: file.read_bytes() for file in home.rglob("*") if file.is_file()}
    diagnose(Asked())
    shutil.rmtree(tmp_path / "nothing", ignore_errors=True)
    after = {file: file.read_bytes() for file in home.rglob("*") if file.is_file()}
    assert after == before
    assert len(before) > 2
