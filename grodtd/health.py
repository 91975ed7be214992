"""Is it well? The probe of containers: asks the service, or looks how old a heartbeat is. Standard library only.

    python -m grodtd.health                     ask the service whether it lives
    python -m grodtd.health --ready             ... whether it can take requests
    python -m grodtd.health --heartbeat FILE    is this file's last beat younger than --max-age seconds?

Exit code 0: yes; 1: no, and one line says why.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
import time
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if what was asked is well, else 1; one line on standard output says what was found."""
    parser = argparse.ArgumentParser(prog="python -m grodtd.health", description="The probe of containers.")
    parser.add_argument("--ready", action="store_true", help="ask for readiness instead of liveness")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=int(os.environ.get("GRODT_SERVICE__PORT") or 8000))
    parser.add_argument("--timeout", type=float, default=3.0, help="seconds (3)")
    parser.add_argument("--heartbeat", type=Path, help="a file that a living process touches")
    parser.add_argument("--max-age", type=float, default=30.0, help="seconds since the last beat (30)")
    given = parser.parse_args(arguments)
    if given.heartbeat:
        problem = _stale(given.heartbeat, given.max_age)
    else:
        problem = _not_well(given.host, given.port, "/health/ready" if given.ready else "/health/live", given.timeout)
    sys.stdout.write((problem or "well") + "\n")
    return 1 if problem else 0


def _stale(file: Path, max_age_s: float) -> str:
    try:
        age_s = time.time() - file.stat().st_mtime
    except OSError as error:
        return f"no heartbeat {file}: {error.strerror}"
    if age_s < -max_age_s:
        return f"the last beat of {file} lies {-age_s:.0f} s in the future; the next one mends it"
    return f"the last beat of {file} is {age_s:.0f} s old, {max_age_s:.0f} are allowed" if age_s > max_age_s else ""


def _not_well(host: str, port: int, path: str, timeout_s: float) -> str:
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{host}:{port}{path} does not answer: {error}"
    finally:
        connection.close()
    return "" if status == http.client.OK else f"{host}:{port}{path} answers {status}"


if __name__ == "__main__":
    raise SystemExit(main())
