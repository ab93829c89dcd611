"""The child processes of the test run: a test ends only when every process that it started is gone."""

import os
import subprocess

import psutil


def running_children() -> dict[int, str]:
    """Return the children of this process by PID, with their command lines.

    A child that has exited and that its parent has not waited for yet is one of them: as long as that is so,
    its `Popen` object raises a ResourceWarning in whichever test happens to collect the garbage.
    """
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # there is no child, which is the usual case: spare the search through /proc
        return {}
    children = {}
    for child in psutil.Process().children():
        try:
            command = " ".join(child.cmdline()) or child.name()
        except psutil.NoSuchProcess:
            continue
        if "multiprocessing.resource_tracker" not in command:  # Python's own, for the life of this process
            children[child.pid] = command
    return children


def wait_until_gone(process: "subprocess.Popen[bytes] | subprocess.Popen[str]", seconds: float = 120) -> None:
    """Wait for a process that has been asked to end; kill it and raise TimeoutExpired if it does not."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
