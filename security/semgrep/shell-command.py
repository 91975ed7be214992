"""What `shell-command` must and must not report."""

import os
import subprocess
from subprocess import run


def bad(name):
    # ruleid: shell-command
    subprocess.run(f"ls {name}", shell=True)
    # ruleid: shell-command
    run("ls", shell=True, check=True)
    # ruleid: shell-command
    os.system("ls " + name)


def good(name):
    # ok: shell-command
    subprocess.run(["ls", name], check=True)
    # ok: shell-command
    run(["ls", name], shell=False, check=True)
