"""`grodt` as a user types it, run in this process: starting one anew costs a second of imports a command."""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

from grodtd.entrypoints.cli.main import run


def grodt(*arguments: str, home: Path) -> CompletedProcess[str]:
    """Run a command with its own environment, and return its exit code and what it printed.

    tests/integration/test_cli.py runs commands in new processes, as users do.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GRODT_")}
    out, err = io.StringIO(), io.StringIO()
    on_interrupt = signal.getsignal(signal.SIGINT)
    code = 0
    with (
        patch.dict(os.environ, {**kept, "GRODT_HOME": str(home), "COLUMNS": "160"}, clear=True),
        patch.object(sys, "argv", ["grodt", *arguments]),
        patch.object(sys, "stdin", io.StringIO()),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            run()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            signal.signal(signal.SIGINT, on_interrupt)
    return CompletedProcess(["grodt", *arguments], code, out.getvalue(), err.getvalue())
