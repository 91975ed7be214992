"""What is installed, reachable and misconfigured here, each with its mend; nothing is changed, no secret told."""

from __future__ import annotations

import errno
import http.client
import importlib
import json
import os
import platform
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from grodtd.code_version import PACKAGE
from grodtd.domain.errors import ConfigError, GrodtError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from grodtd.adapters.storage.database import Database
    from grodtd.settings import Settings

# Everything slow is imported inside the checks: where an import fails, that check says so and the others go on.

Status = Literal["ok", "warn", "fail", "skipped"]
T = TypeVar("T")

# A check that has not answered by then has failed; none of them waits that long by itself.
_WITHIN_S: Final = 10.0
_REACH_S: Final = 2.0
_DOCKER_S: Final = 3.0
_MOST_BYTES: Final = 1_000_000
# Exchanges refuse orders stamped some seconds off; within a second, the order of events in logs is still right.
_SKEW_WARN_S: Final = 1.0
_SKEW_FAIL_S: Final = 5.0
# The limits compose gives to research.
_CORES: Final = 2
_MEMORY_BYTES: Final = 4_000_000_000
_MACHINE_CODE_MOST_BYTES: Final = 2_000_000_000
# What optional packages are for, and the extra that brings them.
_OPTIONAL: Final = {
    "vectorbt": ("research", "`--engine vectorbt`, `Result.to_vectorbt`"),
    "optuna": ("research", "importances, `grodt optimize export`"),
    "cmaes": ("research", "optimizer cmaes"),
    "scipy": ("research", "optimizer sobol"),
    "salib": ("research", "the sensitivity of a search's report"),
    "ray": ("ray", "`--compute ray`"),
    "optuna-dashboard": ("", "looking at what `grodt optimize export` writes"),
}
_IN_USE: Final = "in use"
_RIGHT_HOLDERS: Final = ("grodt", "docker-proxy", "prometheus", "grafana", "caddy")
# Compose mounts secrets here, readable by every user of the container.
_MOUNTED: Final = Path("/run/secrets")
_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443, "postgresql": 5432, "postgres": 5432}
# What, the command that says its version, the version needed and for what, the mend if it does not answer.
_DOCKER: Final = (
    (
        "Docker engine",
        ("docker", "version", "--format", "{{.Server.Version}}"),
        (25,),
        "start_interval of probes",
        "sudo systemctl start docker; sudo usermod -aG docker $USER, and log in again",
    ),
    (
        "docker compose",
        ("docker", "compose", "version", "--short"),
        (2, 20, 3),
        "`required: false` of dependencies",
        "install its plugin: docker-compose-plugin, or docker-compose-v2",
    ),
)
_CACHE_MEND: Final = "set NUMBA_CACHE_DIR to a folder you may write"
_THREADING_LAYERS: Final = {"tbb": "tbbpool", "omp": "omppool", "workqueue": "workqueue"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    status : {"ok", "warn", "fail", "skipped"}
    found : str
        What is there; for a skipped one, why nobody looked.
    mend : str
        A command or a sentence; empty where nothing is to be done.
    check : str
        Name of the check that found it.
    """

    status: Status
    found: str
    mend: str = ""
    check: str = ""


@dataclass(frozen=True)
class Asked:
    """What the checks look at.

    Attributes
    ----------
    environment : str or None
    folder : Path or None
        With your own configuration files.
    home : Path or None
        None: that of the settings; likewise `database_url`.
    reaches_out : bool
        Whether addresses of the settings are connected to.
    """

    environment: str | None = None
    folder: Path | None = None
    home: Path | None = None
    database_url: str | None = None
    reaches_out: bool = False

    def settings(self) -> Settings:
        """Return the settings in force."""
        from grodtd.settings import load_settings

        settings = load_settings(self.environment, folder=self.folder).settings
        changes = {"home": self.home or settings.home, "database_url": self.database_url or settings.database_url}
        return settings.model_copy(update=changes)


Check = Callable[[Asked], Iterable[Finding]]


def diagnose(asked: Asked, only: Sequence[str] = ()) -> list[Finding]:
    """Run the checks side by side and return what they found, in the order of `CHECKS`.

    Parameters
    ----------
    asked : Asked
    only : sequence of str
        Names of checks; empty: all of them.

    Raises
    ------
    ConfigError
        If there is no check of a name in `only`. Whatever goes wrong in a check is a finding of it instead.
    """
    unknown = [name for name in only if name not in CHECKS]
    if unknown:
        raise ConfigError(f"there is no check {unknown[0]!r}; --only takes {', '.join(CHECKS)}")
    # Threads that import the same packages at the same time may see half of one; so what they share comes first.
    for module in ("configuration", "data", "health", "runs") if len(only) != 1 else ():
        with suppress(Exception):  # the check that needs it says so
            importlib.import_module(f"grodtd.workflows.{module}")
    chosen = [name for name in CHECKS if not only or name in only]
    unread: set[str] = set()
    try:
        asked.settings()
    except GrodtError:
        unread = _NEED_SETTINGS.intersection(chosen)
        chosen = [name for name in CHECKS if name in chosen or (name == "settings" and unread)]
    jobs = {name: partial(_findings, CHECKS[name], asked) for name in chosen if name not in unread}
    results = side_by_side(jobs, _WITHIN_S)
    skipped = Finding("skipped", "the settings cannot be read", "see `settings`")
    redact = _redactor(asked)
    by_check = {name: results.get(name, [skipped]) for name in chosen}
    return [
        replace(one, check=name, found=redact(one.found), mend=redact(one.mend))
        for name, result in by_check.items()
        for one in (result if isinstance(result, list) else [_failed(result)])
    ]


def _findings(check: Check, asked: Asked) -> list[Finding]:
    return list(check(asked))


def side_by_side(jobs: Mapping[str, Callable[[], T]], within_s: float) -> dict[str, T | Exception]:
    """Run each job in a thread of its own and return results, or errors, by name; TimeoutError for what is too slow."""
    results: dict[str, T | Exception] = {}

    def work(name: str, job: Callable[[], T]) -> None:
        try:
            results[name] = job()
        except Exception as error:  # whatever it is, it belongs to whoever reads the results
            results[name] = error

    # Daemons: what hangs must not keep the process from ending.
    threads = [threading.Thread(target=work, args=job, daemon=True) for job in jobs.items()]
    for thread in threads:
        thread.start()
    end = time.monotonic() + within_s
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return {name: results.get(name, TimeoutError(f"no answer within {within_s:g} s")) for name in jobs}


def _failed(error: Exception) -> Finding:
    if isinstance(error, (GrodtError, TimeoutError)):
        return Finding("fail", str(error))
    return Finding("fail", f"the check itself failed: {type(error).__name__}: {error}", "please report it")


def _redactor(asked: Asked) -> Callable[[str], str]:
    """Return what blots secrets out of a text: belt and braces, for no check means to quote one."""
    from grodtd.adapters.telemetry.logs import Redactor

    found = []
    for file in _secret_files():
        with suppress(OSError, UnicodeDecodeError):
            found.append(file.read_text().strip())
    for url in (asked.database_url, os.environ.get("GRODT_DATABASE_URL")):
        with suppress(ValueError):
            found.append(urlsplit(url or "").password or "")
    return Redactor(found).text


# What is installed


def _python(_: Asked) -> Iterator[Finding]:
    from packaging.specifiers import SpecifierSet

    found = f"{platform.python_implementation()} {platform.python_version()} on {platform.platform()}"
    if os.name != "posix":
        yield Finding("fail", found, "GRODT runs on Linux and macOS; on Windows, use it within WSL")
    elif sys.maxsize < 2**32:
        yield Finding("fail", f"{found}, 32 bit", "install a 64-bit Python; numba and polars have no other")
    needed = metadata.metadata("grodtd")["Requires-Python"]
    if not SpecifierSet(needed).contains(platform.python_version(), prereleases=True):
        yield Finding("fail", f"{found}; {needed} is needed", "make a new .venv with a Python of that version")
    elif os.name == "posix":
        yield Finding("ok", found)


def _packages(_: Asked) -> Iterator[Finding]:
    lock = PACKAGE.parent / "requirements.lock"
    if lock.is_file():
        lines = [line.rstrip("\\ ") for line in lock.read_text().splitlines() if line[:1].isalnum()]
        source, mend = str(lock), f"pip install --require-hashes -r {lock}"
    else:
        lines = metadata.requires("grodtd") or []
        source, mend = "the metadata of grodtd", "pip install --force-reinstall grodtd"
    wanted = _applying(lines)
    wrong = [problem for requirement in wanted if (problem := _mismatch(requirement))]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        yield Finding("fail", f"{'; '.join(wrong[:5])}{more} (wanted by {source})", mend)
    else:
        yield Finding("ok", f"{len(wanted)} as wanted by {source}; grodt {metadata.version('grodtd')} in {PACKAGE}")


def _optional(_: Asked) -> Iterator[Finding]:
    lines = metadata.requires("grodtd") or []
    declared = {one.name.lower(): one for extra in ("research", "ray") for one in _applying(lines, extra)}
    for name, (extra, purpose) in _OPTIONAL.items():
        lock = PACKAGE.parent / f"requirements-{extra}.lock"
        if lock.is_file():
            mend = f"pip install --require-hashes -r {lock}"
        else:
            mend = f"pip install 'grodtd[{extra}]'" if extra else f"pip install {name}"
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding("skipped", f"{name} is not installed; it is for {purpose}", mend)
            continue
        problem = _mismatch(declared[name]) if name in declared else ""
        yield Finding("fail", problem, mend) if problem else Finding("ok", f"{name} {installed}")


def _applying(lines: Iterable[str], extra: str = "") -> list[Requirement]:
    """Return the requirements that hold on this machine, those of an extra included."""
    from packaging.requirements import Requirement

    return [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate({"extra": extra})]


def _mismatch(requirement: Requirement) -> str:
    """Return how what is installed differs from what is wanted; empty if it does not."""
    try:
        found = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed, {requirement.specifier} is needed"
    if requirement.specifier.contains(found, prereleases=True):
        return ""
    return f"{requirement.name} is {found}, {requirement.specifier} is needed"


def _machine_code(_: Asked) -> Iterator[Finding]:
    from grodtd.domain.kernel import JIT_DISABLED, MACHINE_CODE

    if JIT_DISABLED:
        yield Finding(
            "warn",
            "NUMBA_DISABLE_JIT is set: kernels are interpreted, hundreds of times slower",
            "unset it, but in tests",
        )
    root = MACHINE_CODE.parent
    if problem := _not_writable(root):
        yield Finding("fail", f"machine code cannot be kept in {root}: {problem}", _CACHE_MEND)
    elif root.name.startswith("grodt-machine-code-"):
        yield Finding("warn", "the user's cache folder cannot be written: every start compiles afresh", _CACHE_MEND)
    else:
        size = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())
        found = f"{size / 1e6:,.0f} MB of machine code in {root}"
        if size > _MACHINE_CODE_MOST_BYTES:
            yield Finding("warn", f"{found}, most of it of earlier versions", f"rm -r {root} (it is made again)")
        else:
            yield Finding("ok", found)
    layers = [layer for layer, module in _THREADING_LAYERS.items() if _can_import(f"numba.np.ufunc.{module}")]
    yield Finding(
        "ok" if layers else "warn",
        f"numba's threading layers: {', '.join(layers) or 'none'}; vectorbt uses one, GRODT has its own threads",
        "" if layers else "install libgomp1, or the package tbb",
    )


def _can_import(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


# What is set


def _settings(asked: Asked) -> Iterator[Finding]:
    from grodtd.workflows.configuration import check_configuration

    checked = check_configuration(asked.folder, asked.environment)
    for part in checked:
        if part.problem:
            yield Finding(
                "fail", part.problem, "`grodt config show` says where each setting comes from; correct it there"
            )
    if not any(part.problem for part in checked):
        where = asked.folder or "the defaults that ship"
        yield Finding("ok", f"environment {asked.settings().environment}; {len(checked)} parts of {where} are right")


def _secrets(asked: Asked) -> Iterator[Finding]:
    from grodtd.adapters.storage.database import parsed
    from grodtd.settings import secrets_folder

    files = _secret_files()
    for file in files:
        mode = file.stat().st_mode
        if mode & stat.S_IWOTH or (mode & stat.S_IROTH and _is_open_to_others(file.parent)):
            found = f"{file} (mode {stat.S_IMODE(mode):04o}) can be read or changed by every user of this machine"
            yield Finding(
                "fail", found, f"chmod 700 {file.parent}; if others have accounts here, change the secret too"
            )
        elif not os.access(file, os.R_OK):
            found = f"{file} (mode {stat.S_IMODE(mode):04o}) cannot be read by this user"
            yield Finding("fail", found, f"become its owner, or: sudo chown {os.geteuid()} {file}")
        elif not file.stat().st_size:
            yield Finding("skipped", f"{file} is empty", "put the secret in if what it is for is wanted")
        else:
            yield Finding("ok", f"{file}, mode {stat.S_IMODE(mode):04o}")
    try:
        settings = asked.settings()
        url = parsed(settings.database)
    except GrodtError:  # the checks of settings and database say so
        return
    if url.username and not url.password:
        yield Finding(
            "warn",
            f"user {url.username} of the database has no password: there is no {secrets_folder()}/database_password",
            "write it there (GRODT_SECRETS_DIR is the folder), unless the server asks for none",
        )
    elif not files:
        yield Finding("skipped", f"no secrets in {secrets_folder()} or ./secrets, and none is needed")


def _secret_files() -> list[Path]:
    """Return the secrets of this process, and those `grodt init` made in this folder."""
    from grodtd.settings import SECRETS, secrets_folder
    from grodtd.workflows.deployment_folder import COMPOSE_SECRETS

    places = [secrets_folder() / name for name in sorted(SECRETS)]
    if Path("docker-compose.yml").is_file():
        places += [Path("secrets").resolve() / name for name in COMPOSE_SECRETS]
    return [file for file in dict.fromkeys(places) if file.is_file()]


def _is_open_to_others(folder: Path) -> bool:
    """Return whether every user of the machine gets into a folder; a container, for its secrets, has but one."""
    if folder == _MOUNTED and Path("/.dockerenv").exists():
        return False
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (folder.resolve(), *folder.resolve().parents))


# What is stored


def _home(asked: Asked) -> Iterator[Finding]:
    from grodtd.workflows.health import checks_of

    settings = asked.settings()
    home = settings.home.absolute()
    if problem := _not_writable(home):
        make = "chown -R" if home.exists() else "install -d -o"
        yield Finding(
            "fail", f"nothing can be written to {home}: {problem}", f"sudo {make} {os.geteuid()} {home}; or --home"
        )
        return
    if not home.is_dir():
        yield Finding("ok", f"{home} is not there yet; the first command that stores something makes it")
        return
    owner = home.stat().st_uid
    if owner != os.geteuid():
        yield Finding(
            "warn",
            f"{home} belongs to user {owner}, this is user {os.geteuid()}: what one makes, the other may not change",
            f"run grodt as user {owner}",
        )
    disk = checks_of(settings)["disk"]()
    if disk.status == "fail":
        yield Finding("fail", disk.text)
    else:
        yield Finding("ok", f"{disk.value:,.0f} MB {disk.text}")


def _not_writable(folder: Path) -> str:
    """Return why nothing can be written there; of a folder that is yet to be made, whether it can be."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            return ""
    except OSError as error:
        return f"{there}: {error.strerror}"


def _database(asked: Asked) -> Iterator[Finding]:
    from grodtd.adapters.storage.schema import REVISIONS
    from grodtd.workflows.runs import list_runs, show_run

    database, url = _database_of(asked)
    if database is None:
        yield Finding("ok", "no database yet; the first run makes it")
        return
    began = time.monotonic()
    try:
        found = database.revision()
    except GrodtError as error:
        mend = "move the file away if it is no database" if url.startswith("sqlite") else "start the server, or correct"
        yield Finding("fail", str(error), f"{mend}; its address is database_url (GRODT_DATABASE_URL, --database-url)")
        return
    spent = f"answers in {(time.monotonic() - began) * 1_000:.0f} ms"
    if found != REVISIONS[-1]:
        is_newer = found is not None and found not in REVISIONS
        yield Finding(
            "fail",
            f"{database.name} {spent}; its schema is {found or 'none'}, this program works with {REVISIONS[-1]}",
            "update grodt, or choose another database" if is_newer else "grodt backup create; grodt runs migrate",
        )
        return
    yield Finding("ok", f"{database.name} {spent}; schema {found}")
    newest = list_runs(url, limit=1)
    if newest:
        show_run(url, newest[0].run_id)
        yield Finding("ok", f"the newest run, {newest[0].run_id}, can be read; `grodt verify` runs it again")


def _database_of(asked: Asked) -> tuple[Database | None, str]:
    """Return the database for reading, and its URL; None for a SQLite file not there yet, as a look would make it."""
    from grodtd.adapters.storage.database import Database, for_reading, parsed

    url = for_reading(asked.settings().database, within_s=_REACH_S)
    database = Database(url)
    if database.is_sqlite and not Path(str(parsed(url).database)).is_file():
        return None, url
    return database, url


def _data(asked: Asked) -> Iterator[Finding]:
    from grodtd.workflows.data import list_series
    from grodtd.workflows.health import checks_of

    settings = asked.settings()
    series = list_series(settings.home)
    if not series:
        yield Finding(
            "skipped",
            f"no bars in {settings.home}",
            "`grodt data synth G1` makes some to try; `grodt data import --help`",
        )
        return
    size = sum(one.bytes for one in series) / 1e6
    yield Finding("ok", f"{len(series)} series, {size:,.0f} MB; `grodt data check` goes through all bars of one")
    age = checks_of(settings)["data"]()
    if settings.health.max_data_age_s:
        yield (
            Finding("fail", age.text, "`grodt data fetch`")
            if age.status == "fail"
            else Finding("ok", "as fresh as asked for")
        )


def _clock(asked: Asked) -> Iterator[Finding]:
    now = time.time()
    newest = max(file.stat().st_mtime for file in PACKAGE.rglob("*.py"))
    shown = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(now))} UTC"
    if now < newest - 86_400:
        yield Finding(
            "fail", f"it is {shown}, before this program was installed", "set the clock: timedatectl set-ntp true"
        )
    if time.timezone or time.daylight:
        zone = f"{time.tzname[0]}{' with summer time' if time.daylight else ''}"
        hint = "GRODT takes times without a zone as UTC, in files too unless --tz names theirs"
        yield Finding("ok", f"{shown}; this machine shows {zone}; {hint}")
    else:
        yield Finding("ok", shown)
    database, _ = _database_of(asked)
    try:
        ahead_s = None if database is None else database.clock_ahead_s()
    except GrodtError:
        yield Finding("skipped", "the database, whose clock is the measure, is away", "see `database`")
        return
    if ahead_s is None:
        yield Finding("skipped", "nothing to compare with: SQLite has no clock of its own")
        return
    found = f"the database's clock is {abs(ahead_s):.3f} s {'ahead' if ahead_s > 0 else 'behind'}"
    if abs(ahead_s) > _SKEW_WARN_S:
        status: Status = "fail" if abs(ahead_s) > _SKEW_FAIL_S else "warn"
        yield Finding(status, found, "let both machines follow a time server: timedatectl set-ntp true")
    else:
        yield Finding("ok", found)


# What is around


def _machine(asked: Asked) -> Iterator[Finding]:
    import psutil

    from grodtd.workflows.health import checks_of

    # What this process may use, where the system can say so.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = psutil.virtual_memory().total
    found = f"{cores} cores, {memory / 1e9:.1f} GB of memory"
    if cores < _CORES or memory < _MEMORY_BYTES:
        mend = "searches will be slow, or too large: try `--trials` and ranges of a few months first"
        yield Finding("warn", f"{found}; {_CORES} and {_MEMORY_BYTES / 1e9:.0f} GB are recommended", mend)
    else:
        yield Finding("ok", found)
    checks = checks_of(asked.settings())
    for name, mend in (("memory", "end something, or raise the limit"), ("cpu", "wait for what is running")):
        outcome = checks[name]()
        if outcome.status == "pass":
            yield Finding("ok", f"{name}: {outcome.value or 0:.0%} {outcome.text}")
        else:
            yield Finding(outcome.status, outcome.text, mend)


def _docker(_: Asked) -> Iterator[Finding]:
    if shutil.which("docker") is None:
        yield Finding("skipped", "Docker is not installed; only the whole system in containers needs it")
        return
    for what, command, needed, why, mend in _DOCKER:
        try:
            done = subprocess.run(  # noqa: S603 our own words
                command, capture_output=True, text=True, timeout=_DOCKER_S, check=False
            )
        except subprocess.TimeoutExpired:
            yield Finding("warn", f"{what} has not answered within {_DOCKER_S:g} s", "sudo systemctl restart docker")
            continue
        version = done.stdout.strip()
        if done.returncode or not version:
            told = (done.stderr.strip().splitlines() or ["it says nothing"])[0]
            yield Finding("warn", f"{what} does not answer: {told}", mend)
        elif tuple(map(int, re.findall(r"\d+", version)))[: len(needed)] < needed:
            wanted = ".".join(map(str, needed))
            yield Finding("warn", f"{what} is {version}; {wanted} brought {why}", "install a newer one")
        else:
            yield Finding("ok", f"{what} {version}")


def _ports(asked: Asked) -> Iterator[Finding]:
    settings = asked.settings()
    ours = settings.service.port
    free = []
    for port, what in {9090: "Prometheus", 3000: "Grafana", 8001: "grodt backup serve", ours: "grodt serve"}.items():
        problem = _not_bindable(settings.service.host, port)
        if not problem:
            free.append(f"{port} ({what})")
        elif problem != _IN_USE:
            mend = "choose others: service.host, service.port"
            yield Finding(
                "fail" if port == ours else "warn", f"port {port} for {what} cannot be opened: {problem}", mend
            )
        elif holder := _holder(settings, port):
            is_right = holder.startswith(_RIGHT_HOLDERS)
            mend = (
                "" if is_right else f"end it, or choose another port{' (service.port, --port)' if port == ours else ''}"
            )
            status: Status = "ok" if is_right else "fail" if port == ours else "warn"
            yield Finding(status, f"port {port} for {what} is held by {holder}", mend)
    if free:
        yield Finding("ok", f"free: {', '.join(sorted(free))}")


def _not_bindable(host: str, port: int) -> str:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            probe.bind(address)
    except OSError as error:
        return _IN_USE if error.errno == errno.EADDRINUSE else str(error.strerror)
    return ""


def _holder(settings: Settings, port: int) -> str:
    """Return which program listens at a port, by name only: its arguments may hold secrets."""
    import psutil

    if port == settings.service.port and (health := _health_of(settings)):
        return f"grodt serve {health.get('version', '')}"
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            is_there = connection.laddr and connection.laddr.port == port
            if is_there and connection.status == psutil.CONN_LISTEN and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return "a program of another user; `sudo ss -ltnp` names it"


def _service(asked: Asked) -> Iterator[Finding]:
    settings = asked.settings()
    where = f"{settings.service.host}:{settings.service.port}"
    health = _health_of(settings)
    if health is None:
        yield Finding("skipped", f"no service of ours answers at {where}; `grodt serve` starts one")
        return
    failing = [
        f"{name}: {check[0].get('output')}"
        for name, check in health.get("checks", {}).items()
        if check[0].get("status") == "fail"
    ]
    if health.get("status") == "fail":
        yield Finding("fail", f"{where} is not ready: {'; '.join(failing)}", "its log says more")
    else:
        yield Finding("ok", f"{where} is ready: version {health.get('version')}, {health.get('environment')}")


def _health_of(settings: Settings) -> dict[str, Any] | None:  # Any: JSON of a process that may be of another version
    """Return what the service at our port says of its health; None if none does, or it is not ours."""
    host = settings.service.host
    with suppress(ValueError):  # a name, not an address
        address = ip_address(host)
        if address.is_unspecified:  # it listens on every address
            host = "127.0.0.1" if address.version == 4 else "::1"
    connection = http.client.HTTPConnection(host, settings.service.port, timeout=_REACH_S)
    try:
        connection.request("GET", "/health")
        found = json.loads(connection.getresponse().read(_MOST_BYTES))
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return found if isinstance(found, dict) and found.get("serviceId") == "grodt" else None


def _network(asked: Asked) -> Iterator[Finding]:
    settings = asked.settings()
    addresses = {f"market data of {venue}": url for venue, url in settings.endpoints.market_data.items()}
    if settings.database_url and not settings.database_url.startswith("sqlite"):
        addresses["the database"] = settings.database_url
    if not addresses:
        yield Finding("skipped", "the settings name no address: SQLite, and endpoints.market_data is empty")
        return
    if not asked.reaches_out:
        yield Finding("skipped", f"{len(addresses)} addresses were not tried", "--network tries them")
        return
    results = side_by_side({what: partial(_reach, url) for what, url in addresses.items()}, _WITHIN_S / 2)
    for what, result in results.items():
        if isinstance(result, str):
            yield Finding("ok", f"{what}: {result}")
        else:
            yield Finding("fail", f"{what}: {result}", "correct the address, or see to name server, firewall and proxy")


def _reach(url: str) -> str:
    """Connect to the host of a URL and say where that was; only host and port of it are ever named."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise ConfigError("the address has no host, or no port that would be known")
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"{host} has no address: {error.strerror}") from error
    try:
        with socket.create_connection((host, port), timeout=_REACH_S):
            return f"{host}:{port} answers"
    except OSError as error:
        raise ConfigError(f"{host}:{port} does not answer: {error.strerror or error}") from error


CHECKS: Final[dict[str, Check]] = {
    "python": _python,
    "packages": _packages,
    "optional": _optional,
    "machine_code": _machine_code,
    "settings": _settings,
    "secrets": _secrets,
    "home": _home,
    "database": _database,
    "data": _data,
    "clock": _clock,
    "machine": _machine,
    "docker": _docker,
    "ports": _ports,
    "service": _service,
    "network": _network,
}
_NEED_SETTINGS: Final = {"home", "database", "data", "clock", "machine", "ports", "service", "network"}
