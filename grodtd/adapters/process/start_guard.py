"""Stops a crash loop: a process that was restarted too often in a short time starts halted and waits for a person."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FORGOTTEN_S: Final = 7 * 86_400.0


@dataclass(frozen=True)
class Starts:
    """What the guard knows: unclean starts within its window, whether it halted, and what it could not do."""

    recent: int
    is_halted: bool
    problem: str = ""


class StartGuard:
    """Counts starts of one component in one container.

    A start is unclean until `stopped` is called. The record is a file: it survives the process, and a restarted
    container (which keeps its host name), and does not mix replicas up.

    Parameters
    ----------
    folder : Path
        Of the records, on a disk that outlives the container.
    component : str
    max_restarts : int
        Unclean restarts within the window that are still carried out.
    window_s : float
    host : str
        Whose starts these are.
    """

    def __init__(
        self, folder: Path, component: str, *, max_restarts: int, window_s: float, host: str | None = None
    ) -> None:
        self._file = folder / f"starts.{component}.{host or socket.gethostname()}.json"
        self._part = self._file.with_suffix(".part")
        self._max_restarts = max_restarts
        self._window_s = window_s

    def started(self, now_s: float) -> Starts:
        """Record a start and say whether it has to be a halted one.

        A record that cannot be read halts: nobody knows what happened before. One that cannot be written does not,
        or a full disk would stop everything; `problem` says so.
        """
        try:
            starts, was_halted = self._read()
        except (OSError, ValueError, KeyError, TypeError) as error:
            return Starts(0, True, f"{self._file} cannot be read ({error}); see why, then `grodt resume`")
        starts = [at for at in starts if 0 <= now_s - at <= self._window_s] + [now_s]
        is_halted = was_halted or len(starts) > self._max_restarts + 1
        problem = self._write(starts, is_halted)
        self._forget_old(now_s)
        return Starts(len(starts), is_halted, problem)

    def stopped(self) -> None:
        """Record that the process ended as it should; a halt stays."""
        try:
            _, is_halted = self._read()
        except (OSError, ValueError, KeyError, TypeError):
            return
        self._write([], is_halted)

    def _read(self) -> tuple[list[float], bool]:
        try:
            record = json.loads(self._file.read_text())
        except FileNotFoundError:
            return [], False
        return [float(at) for at in record["starts"]], bool(record["halted"])

    def _write(self, starts: list[float], is_halted: bool) -> str:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            # One name for all attempts: those that a full disk cut short must not pile up.
            with self._part.open("w") as handle:
                json.dump({"starts": starts, "halted": is_halted}, handle)
                handle.flush()
                os.fsync(handle.fileno())
            self._part.replace(self._file)
        except OSError as error:
            return f"{self._file} cannot be written ({error.strerror}); restarts are not counted"
        return ""

    def _forget_old(self, now_s: float) -> None:
        for file in self._file.parent.glob("starts.*.json"):
            try:
                is_old = file != self._file and now_s - file.stat().st_mtime > _FORGOTTEN_S
                # A halt waits for a person, however long; `grodt resume` deletes it.
                if is_old and not _is_halted(file):
                    file.unlink()
            except OSError:
                continue


def halted(folder: Path) -> list[Path]:
    """Return the records of components that are halted, or that cannot be read."""
    return [file for file in sorted(folder.glob("starts.*.json")) if _is_halted(file)]


def _is_halted(file: Path) -> bool:
    try:
        return bool(json.loads(file.read_text())["halted"])
    except (OSError, ValueError, KeyError, TypeError):
        return True
