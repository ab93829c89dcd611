"""The process that ends all others of an `up` that was killed, and how it finds them.

It imports only psutil, so that it needs little memory while it waits.
"""

import os
import sys
from contextlib import suppress

import psutil

MARK = "FX_PIPELINE_UP"
"""The environment variable that holds the mark."""

GRACE_SECONDS = 8.0
"""How long a process may take to end before it is killed."""

ROUNDS = 5

_GONE = (psutil.NoSuchProcess, psutil.AccessDenied)


def marked(mark: str) -> list[psutil.Process]:
    """Return every running process with the mark, except this one."""
    found = []
    for process in psutil.process_iter():
        with suppress(*_GONE):
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def end(mark: str, grace: float = GRACE_SECONDS) -> list[str]:
    """End every process with the mark, by force after `grace` seconds. Return their command lines."""
    ended: dict[int, str] = {}
    # Several rounds, because one of them may have started another one.
    for _ in range(ROUNDS):
        processes = marked(mark)
        if not processes:
            break
        for process in processes:
            with suppress(*_GONE):
                ended.setdefault(process.pid, " ".join(process.cmdline()))
                process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=grace)
        for process in alive:
            with suppress(*_GONE):
                process.kill()
        psutil.wait_procs(alive, timeout=grace)
    return list(ended.values())


def main() -> None:
    """Wait until the process at the other end of standard input ends, then end all with the mark."""
    mark, grace = sys.argv[1], float(sys.argv[2])
    sys.stdin.buffer.read()
    end(mark, grace)


if __name__ == "__main__":
    main()
