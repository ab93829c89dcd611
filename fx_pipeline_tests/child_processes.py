"""The child processes of the test run. A test ends only when every process that it started has ended."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil

from fx_pipeline_tests.waiting import PATIENCE, wait_for


def running_children() -> dict[int, str]:
    """Return the children of this process: their command lines by PID.

    They include children that have exited and that nothing has waited for yet. The `Popen` object of such a
    child raises a ResourceWarning in whichever test happens to collect the garbage.
    """
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # the usual case: without children, skip the search through /proc
        return {}
    children = {}
    for child in psutil.Process().children():
        try:
            command = " ".join(child.cmdline()) or child.name()
        except psutil.NoSuchProcess:
            continue
        if "multiprocessing.resource_tracker" not in command:  # Python's own, until this process ends
            children[child.pid] = command
    return children


def wait_until_gone(process: "subprocess.Popen[bytes] | subprocess.Popen[str]") -> None:
    """Wait for a process that has been asked to end. If it does not, kill it and raise TimeoutExpired."""
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def wait_while_running(
    process: "subprocess.Popen[bytes] | subprocess.Popen[str]", condition: Callable[[], object]
) -> None:
    """Wait until a condition is true. Fail if the process ends before."""

    def look() -> object:
        assert process.poll() is None, f"the process ended early, with exit code {process.returncode}"
        return condition()

    wait_for(look, pause=0.005)


def processes_with(variable: str) -> set[int]:
    """Return the PIDs of all processes with `NAME=value` in their environment, whatever their parent."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if variable.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
        except OSError:  # it has ended
            continue
    return found
