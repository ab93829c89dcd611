"""The roles of an instance on several machines that are about Dagster: the code server and the daemon."""

import logging
import multiprocessing
import os
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from threading import Thread

from fx_pipeline.dagster_internals.servers import run_code_server, run_daemon
from fx_pipeline.logs import say
from fx_pipeline.processes.code_server import SERVED, log_options
from fx_pipeline.processes.dagster_home import open_instance, prepare
from fx_pipeline.processes.ending import end_on_signals, end_within_limit
from fx_pipeline.processes.instance_file import kept_file
from fx_pipeline.processes.leftovers import DAEMON_LOCK, held, only_one
from fx_pipeline.processes.up import LOW_PRIORITY, server_environment
from fx_pipeline.rates import counted
from fx_pipeline.serving.listening import bound, cannot_listen
from fx_pipeline.settings import Settings, SettingsError

RUN_GRACE = 6.0
"""Seconds that a run in progress has to end when the code server ends."""


def serve_code(settings: Settings, host: str, port: int) -> None:
    """Serve the definitions until SIGINT or SIGTERM, which end the runs in progress. Raise SettingsError.

    Dagster restarts a run that a signal ended. A reload in the UI starts this process again.
    """
    # In a thread: a handler must neither wait nor print.
    end_on_signals(Thread(target=_end_runs, daemon=True).start)
    environment, folder = dict(os.environ), Path.cwd()
    is_local = _check_address(host, port)
    with held(settings.dagster_home):
        prepare(settings.dagster_home)
        say(f"The code server starts on {host}:{port}. Database {settings.fx_database}.")
        say_if_kept(settings.dagster_home)
        if not is_local:
            say(
                f"The code server has no login, and anyone who can reach {host} can execute code here. Let "
                "only the machines of the webserver and the daemon reach it.",
                logging.WARNING,
            )
        os.environ.update(server_environment(settings))
        # Dagster lets a .env in its working directory override the environment. The home has none.
        os.chdir(settings.dagster_home)
        _lower_priority()
        name = f"[{host}]" if ":" in host else host
        run_code_server(["--host", name, "--port", str(port), *SERVED, *log_options()])
    say("The code server starts again, because someone reloaded it in the UI.")
    sys.stderr.flush()
    os.chdir(folder)
    os.execve(sys.executable, sys.orig_argv, environment)  # noqa: S606  # the same process, without a shell


def run_daemon_role(settings: Settings, workspace: Path | None) -> None:
    """Run Dagster's daemon until SIGINT or SIGTERM. Raise SettingsError if it cannot start.

    Without a workspace file or FX_CODE_SERVER, it runs a code server of its own.
    """
    home = settings.dagster_home.absolute()
    # Two would start each scheduled run twice.
    other = f"Another daemon is using Dagster's home {home}. Stop it."
    with open_instance(home) as instance, only_one(home, DAEMON_LOCK, other):
        source = str(workspace) if workspace else settings.code_server
        say(f"The daemon starts. {about_code_server(settings, workspace)} Dagster's home {home}.")
        if workspace is None:  # otherwise `up` has said it
            say_if_kept(home)
        os.environ.update(server_environment(settings))
        os.chdir(home)
        run_daemon(instance, source, ending=end_within_limit)


def about_code_server(settings: Settings, workspace: Path | None) -> str:
    """Return a sentence about the code server that a role uses."""
    if workspace is None and settings.fx_code_server is None:
        return "It runs its own code server."
    return f"Code server {workspace or settings.fx_code_server}."


def say_if_kept(home: Path) -> None:
    """Print a line if Dagster's home has a configuration that the operator changed."""
    if kept := kept_file(home):
        say(kept)


def _check_address(host: str, port: int) -> bool:
    """Return whether only this machine can reach the address. Raise SettingsError if it cannot be used.

    gRPC itself would share the port with another code server, and each would get some of the requests.
    """
    try:
        with bound(host, port) as probe:
            return ip_address(probe.getsockname()[0]).is_loopback
    except OSError as error:
        message = cannot_listen("The code server", host, port, "FX_CODE_SERVER_PORT", error)
        raise SettingsError(message) from None


def _lower_priority() -> None:
    """Give this process and its runs the priority that they have in `up`: a backfill can wait."""
    os.setpriority(os.PRIO_PROCESS, 0, max(LOW_PRIORITY, os.getpriority(os.PRIO_PROCESS, 0)))


def _end_runs() -> None:
    """Interrupt the runs in progress, and kill those that take too long."""
    runs = multiprocessing.active_children()
    if not runs:
        return
    say(f"Interrupting {counted(len(runs), 'run')}. Dagster will restart what was interrupted.")
    for run in runs:
        run.terminate()

    deadline = time.monotonic() + RUN_GRACE
    for run in runs:
        run.join(max(0.0, deadline - time.monotonic()))
        run.kill()
