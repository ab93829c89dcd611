"""What `fx-pipeline up` starts and stops: the sandbox, the API, Dagster's webserver and daemon, a first run.

honcho keeps the servers: when one ends, or on Ctrl-C, all of them do.
"""

import datetime as dt
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from threading import Event, Thread

from dotenv import dotenv_values
from honcho.manager import Manager
from honcho.printer import Message

from fx_pipeline.settings import PROJECT, Settings, SettingsError

DEMO_DAYS = 90
"""Days that the first run fetches from the sandbox, where they cost nothing."""

USUAL_DAYS = 10
"""Days that the first run looks after otherwise."""

YIELDING = ["nice", "-n", "10"]
"""Before the commands that fetch: a backfill has minutes, and who asks the API waits for milliseconds."""

STARTING = 120.0
"""Seconds that a server may take until it listens."""


def check_ports(settings: Settings, host: str = "127.0.0.1") -> None:
    """Raise SettingsError for the first port that `up` needs and cannot have."""
    for name, needed in (
        ("fx_api_port", True),
        ("fx_dagster_port", True),
        ("fx_sandbox_port", settings.demo),
    ):
        port = getattr(settings, name)
        with socket.socket() as probe:
            # Servers set this too: a port that waits out its last connection is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                if needed:
                    probe.bind((host, port))
            except OSError as error:
                raise SettingsError(
                    f"Port {port} cannot be used ({error.strerror}): set {name.upper()} to a free one, "
                    "or stop what listens there."
                ) from None


def run_all(settings: Settings) -> int:
    """Start everything, ingest what is missing, and stop everything on Ctrl-C. Returns an exit code."""
    environment = server_environment(settings)
    home = settings.dagster_home.absolute()
    manager = Manager()
    program = [sys.executable, "-m", "fx_pipeline"]
    workspace = ["-w", str(PROJECT / "workspace.yaml")]
    quiet = ["--log-level", "warning", "--code-server-log-level", "warning"]
    # Dagster reads .env from its working directory and lets it override the environment: there is none here.
    _add(manager, "dagster", [*program, "webserver"], environment, str(home))
    daemon = [*YIELDING, sys.executable, "-m", "dagster._daemon", "run", *workspace, *quiet]
    _add(manager, "daemon", daemon, environment, str(home))
    _add(manager, "api", [*program, "serve"], environment)
    if settings.demo:
        _add(manager, "sandbox", [*program, "sandbox"], environment)
    stopped = Event()
    first_run = Thread(target=_first_run, args=(manager, settings, environment, stopped), daemon=True)
    first_run.start()
    manager.loop()
    stopped.set()
    first_run.join()
    # 130 is what Ctrl-C leaves: the way `up` is meant to end.
    return 0 if manager.returncode in (0, 130, 143) else 1


def _add(
    manager: Manager, name: str, command: list[str], environment: Mapping[str, str], cwd: str | None = None
) -> None:
    # `exec`: without it a shell would stand between honcho and the process.
    manager.add_process(name, f"exec {shlex.join(command)}", env=dict(environment), cwd=cwd)


def server_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of all servers: .env, overridden by what is exported, with absolute paths."""
    from_file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    return {
        **from_file,
        **os.environ,
        "FX_DATABASE": str(settings.fx_database.absolute()),
        "DAGSTER_HOME": str(settings.dagster_home.absolute()),
        "PYTHONUNBUFFERED": "1",
    }


def _first_run(manager: Manager, settings: Settings, environment: dict[str, str], stopped: Event) -> None:
    """Ingest, once the last of the servers listens; then say where everything is.

    Not before: a process that honcho forks while another is being started here keeps the pipes of both.
    """
    last = settings.fx_sandbox_port if settings.demo else settings.fx_api_port
    if not _listens(last, stopped):
        return
    days = DEMO_DAYS if settings.demo else USUAL_DAYS
    program = [*YIELDING, sys.executable, "-m", "fx_pipeline"]
    command = [*program, "ingest", "--days", str(days), "--missing", "--revise"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        Thread(target=_stop_with, args=(process, stopped), daemon=True).start()
        assert process.stdout is not None  # noqa: S101  # it is a pipe
        for line in process.stdout:
            _print(manager, "ingest", line.decode(errors="replace"))
    if process.returncode != 0 and not stopped.is_set():
        _print(
            manager,
            "ingest",
            "Not all days could be fetched (see above). What is stored is served all the same.",
        )
    if _listens(settings.fx_api_port, stopped) and _listens(settings.fx_dagster_port, stopped):
        yesterday = dt.datetime.now(dt.timezone.utc).date() - dt.timedelta(days=1)
        _print(manager, "system", f"Rates    http://127.0.0.1:{settings.fx_api_port}/rates/{yesterday}/")
        _print(manager, "system", f"Tables   http://127.0.0.1:{settings.fx_api_port}/")
        _print(manager, "system", f"Dagster  http://127.0.0.1:{settings.fx_dagster_port}/assets/rates")
        _print(manager, "system", "Ctrl-C stops everything.")


def _stop_with(process: subprocess.Popen[bytes], stopped: Event) -> None:
    stopped.wait()
    process.terminate()


def _listens(port: int, stopped: Event) -> bool:
    """Wait until something accepts connections there; False if it takes too long or all is stopping."""
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline and not stopped.wait(0.1):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            continue
        return True
    return False


def _print(manager: Manager, name: str, line: str) -> None:
    manager.events.put(Message(type="line", data=line, time=dt.datetime.now(), name=name, colour=None))  # noqa: DTZ005
