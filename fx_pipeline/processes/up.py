"""Start and stop what `fx-pipeline up` runs: sandbox, API, Dagster's webserver and daemon, a first ingest."""

import os
import socket
import sys
import time
from threading import Event, Thread

from dotenv import dotenv_values

from fx_pipeline.clock import yesterday
from fx_pipeline.dagster_names import rates_path
from fx_pipeline.processes.leftovers import end_killed, watched
from fx_pipeline.processes.supervisor import Output, Supervisor
from fx_pipeline.settings import PROJECT, Settings, SettingsError

DEMO_DAYS = 90
"""Days that the first ingest fetches from the sandbox, where calls are free."""

USUAL_DAYS = 10
"""Days that the first ingest checks if a key is set."""

NICE = ["nice", "-n", "10"]
"""Low priority for commands that fetch. A backfill can wait for minutes; an API request cannot."""

DAEMON = [sys.executable, "-m", "dagster._daemon"]
"""As `dagster dev` starts it. Its script `dagster-daemon` need not be in this interpreter's folder."""

START_TIMEOUT = 120.0
"""Seconds that a server may take until it listens."""


def check_ports(settings: Settings, host: str = "127.0.0.1") -> None:
    """Raise SettingsError for the first port that `up` needs and cannot use."""
    for name, needed in (
        ("fx_api_port", True),
        ("fx_dagster_port", True),
        ("fx_sandbox_port", settings.demo),
    ):
        port = getattr(settings, name)
        with socket.socket() as probe:
            # As servers do: a port in TIME_WAIT after its last connection is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                if needed:
                    probe.bind((host, port))
            except OSError as error:
                raise SettingsError(
                    f"Port {port} cannot be used ({error.strerror}): set {name.upper()} to a free port, "
                    "or stop the program that listens there."
                ) from None


def report_killed(settings: Settings) -> None:
    """End the processes of an earlier `up` that was killed, and print them.

    Raise SettingsError if another `up` is running.
    """
    killed = end_killed(settings.dagster_home)
    if killed is None:
        return
    count = len(killed.ended)
    left = (
        f"{count} of its processes {'was' if count == 1 else 'were'} still running and had to be stopped: "
        f"{'; '.join(killed.ended)}."
        if killed.ended
        else "None of its processes was still running."
    )
    line = f"The last fx-pipeline up (process {killed.pid}, started {killed.started}) was killed. {left}"
    Output(sys.stdout).line("system", line)


def run_all(settings: Settings) -> int:
    """Start everything, ingest missing days, and stop everything on Ctrl-C or when a server ends.

    Return an exit code.
    """
    home = settings.dagster_home
    program = [sys.executable, "-m", "fx_pipeline"]
    workspace = ["-w", str(PROJECT / "workspace.yaml")]
    quiet = ["--log-level", "warning", "--code-server-log-level", "warning"]
    output = Output(sys.stdout)
    _introduce(settings, output)
    with watched(home) as mark:
        supervisor = Supervisor({**server_environment(settings), **mark}, output)
        # Dagster lets a .env in its working directory override the environment. The home has none.
        supervisor.start("dagster", [*program, "webserver"], home)
        supervisor.start("daemon", [*NICE, *DAEMON, "run", *workspace, *quiet], home)
        supervisor.start("api", [*program, "serve"])
        if settings.demo:
            supervisor.start("sandbox", [*program, "sandbox"])
        first_run = Thread(target=_first_run, args=(supervisor, settings), daemon=True)
        first_run.start()
        code = supervisor.wait()
        first_run.join()
    return code


def _introduce(settings: Settings, output: Output) -> None:
    output.line("system", f"Database {settings.fx_database}, tokens {settings.tokens_database}.")
    output.line("system", f"Dagster's home {settings.dagster_home}.")
    if settings.demo:
        output.line(
            "system",
            "DEMO: FIXER_ACCESS_KEY is not set, so the rates come from the sandbox on this machine: the "
            "European Central Bank's history, and made-up values after its last day.",
        )


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


def _first_run(supervisor: Supervisor, settings: Settings) -> None:
    """Ingest once the sandbox or the API listens, then print the addresses."""
    stopped, say = supervisor.stopping, supervisor.output.line
    last = settings.fx_sandbox_port if settings.demo else settings.fx_api_port
    if not _listens(last, stopped):
        return
    days = DEMO_DAYS if settings.demo else USUAL_DAYS
    program = [*NICE, sys.executable, "-m", "fx_pipeline"]
    code = supervisor.run("ingest", [*program, "ingest", "--days", str(days), "--missing", "--revise"])
    if code != 0 and not stopped.is_set():
        say("ingest", "Not all days could be fetched (see above). The stored ones are served.")
    if _listens(settings.fx_api_port, stopped) and _listens(settings.fx_dagster_port, stopped):
        say("system", f"Rates    http://127.0.0.1:{settings.fx_api_port}/rates/{yesterday()}/")
        say("system", f"Tables   http://127.0.0.1:{settings.fx_api_port}/")
        say("system", f"Dagster  http://127.0.0.1:{settings.fx_dagster_port}{rates_path(settings)}")
        say("system", "Ctrl-C stops everything.")


def _listens(port: int, stopped: Event) -> bool:
    """Wait until a server listens on the port. Return False after START_TIMEOUT, or if everything stops."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and not stopped.wait(0.1):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            continue
        return True
    return False
