"""Tasks on the machines of a Ray cluster, or on this one; the only file that imports ray.

What a map needs is put into Ray's object store once; every node fetches it once, and its workers read the arrays in
place. Functions and compiled rules travel by name, because every worker has the same code: one that has not is refused.
A strategy from a user's own file travels as source. Ray itself retries nothing here: tasks whose worker, node or result
was lost are handed out again by `map`, with one bound that counts every cause.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import os
import pickle
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from grodtd.domain.compute import Result, Shared, Task
from grodtd.domain.errors import ComputeError, ConfigError
from grodtd.domain.kernel import JIT_DISABLED, MACHINE_CODE, OWN_MODULE, machine_code_parts

# Ray reads these when it is imported, and its nodes inherit them: no reports to its makers, no hints, no metrics. It
# prints what happens to nodes to standard output, where a command's own answer belongs: every line is skipped.
_QUIET: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".|^$",
    "RAY_SCHEDULER_EVENTS": "0",
    "RAY_enable_metrics_collection": "0",
}
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)

try:
    import ray
    from ray import cloudpickle, exceptions
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as error:
    raise ConfigError(
        "computing with Ray needs the extra `ray`, which is not installed: pip install 'grodtd[ray]';"
        " --compute local needs nothing"
    ) from error

# One task runs on a processor while the next waits beside it; more would only hold memory and be lost with the node.
IN_FLIGHT_PER_CPU: Final = 2
# How often the number of processors is asked for: machines join and leave.
RESOURCES_AGE_S: Final = 5.0
_CONNECT_TIMEOUT_S: Final = 5.0
# What a task can die of without being at fault. One that exhausts its worker's memory every time runs into the bound.
_LOST: Final = (
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.LocalRayletDiedError,
    exceptions.ObjectLostError,
    exceptions.OutOfMemoryError,
)


_COLOUR: Final = re.compile(r"\x1b\[\d*m")


class RayCompute:
    """`ComputePort` over Ray.

    Parameters
    ----------
    address : str, optional
        ``host:port`` of the cluster's head, from a machine that belongs to the cluster; default: Ray is started on
        this machine and stopped by `close`.
    workers : int, optional
        Processors that a Ray on this machine may use; default all. A cluster knows its own.
    attempts_max : int
        How often one task is started before its lost workers become an error.

    Attributes
    ----------
    restarted : int
        Tasks handed out again so far because a worker, a node or a result was lost.

    Raises
    ------
    ConfigError
        If nothing answers at the address, Ray or Python differ there, the process is connected already, the cluster
        has no processors, or one of its nodes has other code than we.
    """

    def __init__(self, address: str | None = None, *, workers: int | None = None, attempts_max: int = 4) -> None:
        if attempts_max < 1 or (workers is not None and workers < 1):
            raise ConfigError(f"workers and attempts_max must be at least 1, found {workers} and {attempts_max}")
        if address is not None and workers is not None:
            raise ConfigError("a cluster knows its own workers; give an address or a number of workers, not both")
        if ray.is_initialized():
            raise ConfigError("this process is connected to Ray already; close that one first")
        self._attempts_max, self.restarted = attempts_max, 0
        _connect(address, workers)
        self._is_open = True
        try:
            # Ray's own retries are off: see `map`.
            self._run = ray.remote(num_cpus=1, max_retries=0)(_run)
            self._cpus, self._asked_at = 0, -RESOURCES_AGE_S
            if address is not None:
                _check_nodes(address)
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> int:
        """Processors of the cluster, at most a few seconds ago."""
        if time.monotonic() - self._asked_at >= RESOURCES_AGE_S:
            self._cpus, self._asked_at = int(ray.cluster_resources().get("CPU", 0)), time.monotonic()
        return self._cpus

    def map(
        self, function: Callable[[Shared, Task], Result], shared: Shared, tasks: Iterable[Task]
    ) -> Iterator[tuple[int, Result]]:
        """As `ComputePort.map`."""
        packed = _pack((function, shared))
        job = _Job(ray.put(packed), _code())
        remaining = enumerate(tasks)
        in_flight: dict[ray.ObjectRef[Any], _Attempt] = {}

        def submit(attempt: _Attempt) -> None:
            in_flight[self._run.remote(job, attempt.task)] = attempt

        def refill() -> None:
            # At least one, so that a cluster that has lost all its nodes goes on when the next one joins.
            room = max(IN_FLIGHT_PER_CPU * self.workers, 1) - len(in_flight)
            for index, task in islice(remaining, max(room, 0)):
                submit(_Attempt(index, _pack(task, known=packed.sources), 1))

        try:
            refill()
            while in_flight:
                ray.wait(list(in_flight), num_returns=1)
                for ref in ray.wait(list(in_flight), num_returns=len(in_flight), timeout=0)[0]:
                    attempt = in_flight.pop(ref)
                    try:
                        result = _outcome(ref)
                    except _LOST as error:
                        if attempt.number >= self._attempts_max:
                            raise ComputeError(
                                f"task {attempt.task_index} was started {attempt.number} times and lost its worker each"
                                f" time, last by {_why(error)}; give workers more memory, make tasks smaller, or see"
                                " the logs of the node"
                            ) from error
                        self.restarted += 1
                        submit(attempt._replace(number=attempt.number + 1))
                        continue
                    except exceptions.RayError as error:
                        raise ComputeError(f"Ray failed at task {attempt.task_index}: {_why(error)}") from error
                    refill()
                    yield attempt.task_index, result
        finally:
            for ref in in_flight:
                ray.cancel(ref, force=True)

    def close(self) -> None:
        """Disconnect; a Ray on this machine that we started stops."""
        if self._is_open:
            self._is_open = False
            ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Packed(NamedTuple):
    """An object on its way: its arrays apart, so that Ray shares them, and the user's own modules as source."""

    sources: dict[str, dict[str, bytes]]
    data: bytes
    arrays: list[npt.NDArray[np.uint8]]


class _Job(NamedTuple):
    """What every task of a map carries; the reference is nested so that `_run` can check the code before it loads."""

    packed: ray.ObjectRef[_Packed]
    code: dict[str, str]


class _Attempt(NamedTuple):
    task_index: int
    task: _Packed
    number: int


def _connect(address: str | None, workers: int | None) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}  # Any: options of ray.init
    if address is None:
        # "local" starts a Ray of our own even where another one runs on this machine.
        quiet |= {"address": "local", "num_cpus": workers or len(os.sched_getaffinity(0)), "include_dashboard": False}
    else:
        _check_address(address)
        quiet["address"] = address
    is_main = threading.current_thread() is threading.main_thread()
    on_terminate = signal.getsignal(signal.SIGTERM) if is_main else None
    try:
        ray.init(**quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"cannot connect to Ray at {address or 'this machine'}: {error}") from error
    finally:
        # Ray puts its own handler there; ending the process is ours to decide.
        if on_terminate is not None:
            signal.signal(signal.SIGTERM, on_terminate)


def _check_address(address: str) -> None:
    """Find out in seconds what Ray takes minutes to say."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise ConfigError(
            f"the address of a Ray cluster is host:port of its head, such as 10.0.0.1:6379, found {address!r};"
            " run GRODT on a machine of the cluster (docs/how-to/distribute.md)"
        )
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise ConfigError(f"no Ray answers at {address}: {error}; start its head or mend the address") from error


def _check_nodes(address: str) -> None:
    """Ask every node which code it has, before any work; workers that start later check for themselves (`_run`)."""
    ours = _code()
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    if not nodes:
        raise ConfigError(f"the Ray cluster at {address} has no processors; join a worker to it first")
    ask = ray.remote(num_cpus=0, max_retries=0)(_check_code)
    asked = {
        (node["NodeManagerAddress"], node["NodeID"]): ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(ours)
        for node in nodes
    }
    for (host, _), ref in asked.items():
        try:
            _outcome(ref)
        except _LOST:
            continue  # The node left; its tasks will go elsewhere.
        except (ImportError, RuntimeError, exceptions.RayError) as error:
            raise ConfigError(f"the Ray node {host} cannot run GRODT; install the same version: {error}") from error


def _code() -> dict[str, str]:
    return machine_code_parts() | {"compiled": str(not JIT_DISABLED)}


def _check_code(theirs: dict[str, str]) -> None:
    """Refuse, on a worker, to compute for a driver that has other code.

    Raises
    ------
    ConfigError
        If anything that decides a result to the last bit differs.
    """
    ours = _code()
    differing = [name for name in theirs if ours.get(name) != theirs[name]]
    if differing:
        found = "; ".join(f"{name} {ours.get(name, '')[:40]!r} there, {theirs[name][:40]!r} here" for name in differing)
        raise ConfigError(
            f"the Ray worker {ray.util.get_node_ip_address()} would not give the same results and is refused: {found};"
            " install the same version on every machine"
        )


def _outcome(ref: ray.ObjectRef[Any]) -> Any:  # Any: whatever the task returned
    """Return what a task returned, or raise what it raised, as it was raised."""
    try:
        return ray.get(ref)
    except exceptions.RayTaskError as error:
        cause = error.cause
        if not isinstance(cause, Exception):
            raise
        cause.add_note(f"on a Ray worker:\n{_COLOUR.sub('', str(error))}")
        raise cause from None


def _why(error: BaseException) -> str:
    return f"{type(error).__name__} ({' '.join(str(error).split())[:300]})"


class _Pickler(cloudpickle.CloudPickler):
    """Sends compiled functions by name, as plain ones are: by value they would lose their machine code on disk."""

    def __init__(self, file: io.BytesIO, arrays: list[npt.NDArray[np.uint8]]) -> None:
        super().__init__(file, protocol=5, buffer_callback=lambda b: arrays.append(np.frombuffer(b.raw(), np.uint8)))
        self.own_modules: set[str] = set()

    def reducer_override(self, thing: Any) -> Any:  # Any: pickle's own protocol
        function = getattr(thing, "py_func", thing)
        module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
        if isinstance(module, str) and isinstance(name, str):
            if module.startswith(OWN_MODULE):
                self.own_modules.add(module)
            if function is not thing and getattr(sys.modules.get(module), name, None) is thing:
                return getattr, (importlib.import_module(module), name)
        return super().reducer_override(thing)


def _pack(thing: object, known: Iterable[str] = ()) -> _Packed:
    file, arrays = io.BytesIO(), list[npt.NDArray[np.uint8]]()
    pickler = _Pickler(file, arrays)
    pickler.dump(thing)
    sources = {name: _source(name) for name in sorted(pickler.own_modules - set(known))}
    return _Packed(sources, file.getvalue(), arrays)


def _unpack(packed: _Packed) -> Any:  # Any: whatever was packed
    for module, files in packed.sources.items():
        _import_source(module, files)
    return pickle.loads(packed.data, buffers=packed.arrays)  # noqa: S301  from our own driver


def _source(module: str) -> dict[str, bytes]:
    """Return the file of a user's module, first, and the Python files beside it, which may be its helpers."""
    file = Path(str(sys.modules[module].__file__))
    return {f.name: f.read_bytes() for f in (file, *sorted(set(file.parent.glob("*.py")) - {file}))}


def _import_source(module: str, files: dict[str, bytes]) -> None:
    """Import a user's module under the name it has on the driver, from a folder named after its content."""
    if module in sys.modules:
        return
    folder = MACHINE_CODE / module / "source"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        # Workers of one node do this at the same time: each file appears whole, or not at all.
        if not (folder / name).exists():
            part = folder / f"{name}.{os.getpid()}"
            part.write_bytes(content)
            part.replace(folder / name)
    spec = importlib.util.spec_from_file_location(module, folder / next(iter(files)))
    assert spec is not None
    assert spec.loader is not None
    found = sys.modules[module] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(found)
    except BaseException:
        del sys.modules[module]
        raise
    finally:
        sys.path.remove(str(folder))


# The one job this worker has at hand: unpacked once, its arrays in the node's shared memory, until the next one.
_at_hand: dict[str, Any] = {}  # Any: function and shared, whatever they are


def _run(job: _Job, task: _Packed) -> Any:  # Any: whatever the function returns
    name = job.packed.hex()
    if name not in _at_hand:
        _check_code(job.code)
        _at_hand.clear()
        _at_hand[name] = _unpack(ray.get(job.packed))
    function, shared = _at_hand[name]
    return function(shared, _unpack(task))
