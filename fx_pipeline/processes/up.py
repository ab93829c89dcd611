"""Start and stop what `fx-pipeline up` runs: sandbox, API, replication, Dagster, watcher, first ingest."""

import errno
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from threading import Event, Thread

from dotenv import dotenv_values

from fx_pipeline.clock import utc_now
from fx_pipeline.crashes import record_crash
from fx_pipeline.dagster_names import rates_path
from fx_pipeline.postgres import place_of, with_driver
from fx_pipeline.processes.code_server import CodeServer, placed
from fx_pipeline.processes.instance_file import kept_file
from fx_pipeline.processes.leftovers import end_killed, watched
from fx_pipeline.processes.supervisor import Output, Supervisor
from fx_pipeline.serving.listening import bound
from fx_pipeline.settings import Settings, SettingsError
from fx_pipeline.sqlite import sqlite3

DEMO_DAYS = 90
"""Days that the first ingest fetches from the sandbox, where calls are free."""

USUAL_DAYS = 10
"""Days that the first ingest checks if a key is set."""

LOW_PRIORITY = 10
"""The niceness of processes that fetch. A backfill can wait for minutes; an API request cannot."""

NICE = ["nice", "-n", str(LOW_PRIORITY)]

PROGRAM = [sys.executable, "-m", "fx_pipeline"]

QUICK_END = {"DAGSTER_GRPC_SHUTDOWN_GRACE_PERIOD": "2"}
"""How many seconds the code server waits for requests when it ends. By default, more than it is given."""

START_TIMEOUT = 120.0
"""Seconds that a server may take until it listens."""

HELD_BACK = 20.0
"""Seconds after which Dagster's processes are started even if no rate is stored: the provider may be down."""

LOCAL = "127.0.0.1"

_ANY = {"0.0.0.0": LOCAL, "::": "::1"}  # noqa: S104  # where to reach a server that listens everywhere


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses that the API and the Dagster UI listen on."""

    api: str = LOCAL
    dagster: str = LOCAL

    @classmethod
    def of(cls, host: str, settings: Settings) -> "Addresses":
        """Return the addresses if the operator chose `host`.

        Without a password, the UI stays on this machine: anyone who reaches it can start and delete runs.
        """
        is_safe = settings.fx_dagster_password is not None or _is_loopback(host)
        return cls(host, host if is_safe else LOCAL)


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ip_address(address[0]).is_loopback for *_, address in found)


def needed_ports(settings: Settings, hosts: Addresses) -> Iterator[tuple[str, str | None]]:
    """Yield the settings of the ports that `up` needs, and where each listens; None if it starts without."""
    for name, host, is_needed in (
        ("fx_api_port", hosts.api, True),
        ("fx_dagster_port", hosts.dagster, True),
        ("fx_sandbox_port", LOCAL, settings.demo),
        ("fx_metrics_port", str(settings.fx_metrics_host), settings.fx_metrics_port is not None),
        ("fx_litestream_port", None, settings.fx_replica_url is not None),  # it replicates without it too
    ):
        if is_needed:
            yield name, host


def check_ports(settings: Settings, hosts: Addresses = Addresses()) -> None:  # it is immutable
    """Raise SettingsError for the first port that `up` needs and cannot use, or that two settings have."""
    names: dict[int, str] = {}
    for name, host in needed_ports(settings, hosts):
        port = getattr(settings, name)
        if (other := names.setdefault(port, name)) != name:
            raise SettingsError(
                f"{other.upper()} and {name.upper()} are both {port}: set one of them to another port."
            )
        try:
            if host is not None:
                bound(host, port).close()
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                raise SettingsError(
                    f"Port {port} cannot be used ({error.strerror}): set {name.upper()} to a free port, "
                    "or stop the program that listens there."
                ) from None
            option = "FX_METRICS_HOST" if name == "fx_metrics_port" else "--host"
            raise SettingsError(
                f"{host} cannot be used ({error.strerror}): set {option} to an address of this machine."
            ) from None


def report_killed(settings: Settings) -> None:
    """End the processes of an earlier `up` that was killed, and print them.

    Raise SettingsError if another `up` is running.
    """
    killed = end_killed(settings.dagster_home)
    if killed is None:
        return
    record_crash(settings.fx_database, "up", utc_now())
    count = len(killed.ended)
    left = (
        f"{count} of its processes {'was' if count == 1 else 'were'} still running and had to be stopped: "
        f"{'; '.join(killed.ended)}."
        if killed.ended
        else "None of its processes was still running."
    )
    line = f"The last fx-pipeline up (process {killed.pid}, started {killed.started}) was killed. {left}"
    Output(sys.stdout).line("system", line)


def run_all(settings: Settings, hosts: Addresses, workers: int) -> int:
    """Start everything, ingest missing days, and stop everything on Ctrl-C or when a server ends.

    Return an exit code.
    """

    def crashed(name: str) -> None:
        if name != "api":  # it notes its own crashes, also without `up`
            record_crash(settings.fx_database, name, utc_now())

    home = settings.dagster_home
    output = Output(sys.stdout)
    _introduce(settings, hosts, output)
    with watched(home) as mark, placed(home) as code_server:
        supervisor = Supervisor({**server_environment(settings), **mark}, output, crashed)
        if settings.demo:
            supervisor.start("sandbox", [*PROGRAM, "sandbox"])
        if settings.fx_replica_url:
            supervisor.keep("replica", [*PROGRAM, "replicate"])
        supervisor.start("api", [*PROGRAM, "serve", "--host", hosts.api, "--workers", str(workers)])
        ingested = Event()
        threads = (
            Thread(
                target=_start_dagster, args=(supervisor, code_server, settings, hosts, ingested), daemon=True
            ),
            Thread(target=_first_run, args=(supervisor, settings, hosts, ingested), daemon=True),
        )
        for thread in threads:
            thread.start()
        code = supervisor.wait()
        for thread in threads:
            thread.join()
    if code == 1:
        output.line("system", "`fx-pipeline doctor` checks what usually goes wrong.")
    return code


def _start_dagster(
    supervisor: Supervisor, code_server: CodeServer, settings: Settings, hosts: Addresses, ingested: Event
) -> None:
    """Start Dagster's processes once the API serves a rate: before, they would only delay it.

    The webserver and the daemon follow once the code server listens: they would log errors before.
    """
    home, host, stopped = settings.dagster_home, hosts.dagster, supervisor.stopping
    api = reachable(hosts.api), settings.fx_api_port
    _wait_until(
        lambda: ingested.is_set() or (newest_day(settings.fx_database) is not None and _connects(api)),
        stopped,
        HELD_BACK,
    )
    if code := supervisor.run("dagster", [sys.executable, "-m", "fx_pipeline.processes.dagster_home"]):
        supervisor.end(code)
        return
    # Dagster lets a .env in its working directory override the environment. The home has none.
    # Runs are children of the code server, and inherit its priority.
    supervisor.keep("code", [*NICE, *code_server.command], home)
    _wait_until(code_server.listens, stopped)
    workspace = ["-w", str(code_server.workspace)]
    supervisor.start("dagster", [*PROGRAM, "webserver", "--host", host, *workspace], home)
    supervisor.keep("daemon", [*NICE, *PROGRAM, "daemon", *workspace], home)
    supervisor.keep("watch", [*NICE, *PROGRAM, "watch"])


def _introduce(settings: Settings, hosts: Addresses, output: Output) -> None:
    output.line("system", f"Database {settings.fx_database}, tokens {settings.tokens_database}.")
    output.line("system", f"Dagster's home {settings.dagster_home}.")
    if settings.fx_dagster_postgres_url:
        place = place_of(settings.fx_dagster_postgres_url.get_secret_value())
        output.line("system", f"Dagster's runs are in the PostgreSQL database {place}.")
    if kept := kept_file(settings.dagster_home):
        output.line("system", kept)
    if settings.demo:
        output.line(
            "system",
            "DEMO: FIXER_ACCESS_KEY is not set, so the rates come from the sandbox on this machine: the "
            "European Central Bank's history, and made-up values after its last day.",
        )
    if hosts.dagster != hosts.api:
        output.line(
            "system",
            f"The Dagster UI listens on {hosts.dagster} only. Set FX_DAGSTER_PASSWORD to open it on "
            f"{hosts.api} too.",
        )


def server_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of all servers: .env, overridden by what is exported, with absolute paths."""
    from_file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    url = settings.fx_dagster_postgres_url
    return {
        **from_file,
        **os.environ,
        **({"FX_DAGSTER_POSTGRES_URL": with_driver(url.get_secret_value())} if url else {}),
        "FX_DATABASE": str(settings.fx_database.absolute()),
        "DAGSTER_HOME": str(settings.dagster_home.absolute()),
        "PYTHONUNBUFFERED": "1",
        **QUICK_END,
    }


def _first_run(supervisor: Supervisor, settings: Settings, hosts: Addresses, ingested: Event) -> None:
    """Ingest once the sandbox or the API listens, then print the addresses."""
    stopped, say = supervisor.stopping, supervisor.output.line
    api = reachable(hosts.api), settings.fx_api_port
    dagster = reachable(hosts.dagster), settings.fx_dagster_port
    if not _listens((LOCAL, settings.fx_sandbox_port) if settings.demo else api, stopped):
        return
    days = DEMO_DAYS if settings.demo else USUAL_DAYS
    command = [*NICE, *PROGRAM, "ingest", "--days", str(days), "--missing", "--revise", "--partial"]
    code = supervisor.run("ingest", command)
    ingested.set()
    newest = newest_day(settings.fx_database)
    if code != 0 and not stopped.is_set():
        served = "The stored ones are served." if newest else "None is stored yet, so there are no rates."
        say("ingest", f"Not all days could be fetched (see above). {served}")
    if _listens(api, stopped) and _listens(dagster, stopped):
        if newest:
            say("system", f"Rates    {_url(api)}/rates/{newest}/")
        say("system", f"Tables   {_url(api)}/")
        say("system", f"Dagster  {_url(dagster)}{rates_path(settings)}")
        say("system", "Ctrl-C stops everything.")


def newest_day(database: Path) -> str | None:
    """Return the newest stored day, without loading sqlite-utils; None if there is none."""
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            row = connection.execute("SELECT max(date) FROM days").fetchone()
    except sqlite3.Error:
        return None
    return str(row[0]) if row[0] else None


def _url(address: tuple[str, int]) -> str:
    host, port = address
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def reachable(host: str) -> str:
    """Return where to reach a server that listens on `host`."""
    return _ANY.get(host, host)


def _connects(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True


def _listens(address: tuple[str, int], stopped: Event) -> bool:
    """Wait until a server listens there. Return False after START_TIMEOUT, or if everything stops."""
    return _wait_until(lambda: _connects(address), stopped)


def _wait_until(condition: Callable[[], bool], stopped: Event, timeout: float = START_TIMEOUT) -> bool:
    """Wait for the condition. Return False after the timeout, or if everything stops."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and not stopped.wait(0.1):
        if condition():
            return True
    return False
