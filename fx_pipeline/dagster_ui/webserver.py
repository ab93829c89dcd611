"""Serve the Dagster UI behind the guard."""

import os
import socket
from ipaddress import ip_address
from pathlib import Path

import uvicorn

from fx_pipeline.dagster_internals.servers import open_workspace, watch_code_servers_seldom, web_application
from fx_pipeline.dagster_ui.fetching import FetchPages
from fx_pipeline.dagster_ui.guard import Guard
from fx_pipeline.logs import say, uvicorn_log_config
from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline.processes.roles import about_code_server, say_if_kept
from fx_pipeline.processes.up import server_environment
from fx_pipeline.serving.bounds import BoundedProtocol
from fx_pipeline.serving.hosts import Hosts
from fx_pipeline.serving.listening import bound, cannot_listen
from fx_pipeline.serving.prefix import WithoutPrefix
from fx_pipeline.settings import Settings, SettingsError

GRACE_SECONDS = 5
"""How long open requests may take when the server is stopped."""


def run(settings: Settings, host: str, port: int, workspace: Path | None = None) -> None:
    """Serve the UI until SIGINT or SIGTERM. Raise SettingsError if it cannot start.

    Without a workspace file or FX_CODE_SERVER, it runs a code server of its own.
    """
    hosts = Hosts.of(settings.fx_dagster_url, [*settings.fx_allowed_hosts, host])
    listener = _listener(host, port)
    if settings.fx_dagster_password is None and not ip_address(listener.getsockname()[0]).is_loopback:
        raise SettingsError(
            f"Anyone who can reach {host} could use the Dagster UI. Set FX_DAGSTER_PASSWORD, or use "
            "--host 127.0.0.1."
        )
    say(f"{about_code_server(settings, workspace)} Dagster's home {settings.dagster_home}.")
    if workspace is None:  # otherwise `up` has said it
        say_if_kept(settings.dagster_home)
    # Dagster reads .env from its working directory and lets it override the environment. Its home has none.
    os.environ.update(server_environment(settings))
    watch_code_servers_seldom()
    with open_instance(settings.dagster_home.absolute()) as instance:
        os.chdir(instance.root_directory)
        instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3600, max_overflow=20)
        source = str(workspace) if workspace else settings.code_server
        with open_workspace(instance, source, read_only=settings.fx_dagster_read_only) as opened:
            # With FX_CODE_SERVER, only that machine has the key: here, its absence does not mean the sandbox.
            is_sandbox = settings.demo and not (source and workspace is None)
            app = FetchPages(
                web_application(opened, settings.dagster_prefix), instance, settings, is_sandbox=is_sandbox
            )
            guard = Guard(app, hosts, settings.fx_dagster_password)
            server = uvicorn.Server(
                uvicorn.Config(
                    WithoutPrefix(guard, settings.dagster_prefix) if settings.dagster_prefix else guard,
                    http=BoundedProtocol,
                    log_level="warning",
                    log_config=uvicorn_log_config(),
                    server_header=False,
                    timeout_graceful_shutdown=GRACE_SECONDS,
                )
            )
            # It raises the signal that ended it once more.
            server.run(sockets=[listener])


def _listener(host: str, port: int) -> socket.socket:
    try:
        return bound(host, port)
    except OSError as error:
        raise SettingsError(cannot_listen("The Dagster UI", host, port, "FX_DAGSTER_PORT", error)) from None
