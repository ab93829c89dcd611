"""Checks of the ports that `up` needs: each is free, or this instance listens there.

A server that listens at a port is asked for what only this instance knows: the API for the number of stored
days, the Dagster UI for its home, Litestream for the database that it replicates.
"""

import errno
import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from fx_pipeline.commands.doctor.facts import Facts, NoDatabase
from fx_pipeline.commands.doctor.findings import Finding, fault, ok
from fx_pipeline.following import is_reader
from fx_pipeline.processes.up import LOCAL, Addresses, needed_ports, reachable
from fx_pipeline.serving.listening import bound
from fx_pipeline.store.database import StoreError

ANSWER_SECONDS = 2.0

Owner = str | None
"""What listens at a port: None for this instance, otherwise a text."""

_OTHER = "another program"
_OTHER_INSTANCE = "another instance of fx-pipeline"


def ports(facts: Facts) -> Iterator[Finding]:
    """Check each port, and name its setting."""
    settings = facts.settings
    names: dict[int, str] = {}
    free: list[str] = []
    own: list[str] = []
    for name, listens in needed_ports(settings, Addresses()):
        if is_reader(settings.fx_database) and name not in _OF_READERS:
            continue
        port, setting = getattr(settings, name), name.upper()
        if (other := names.setdefault(port, setting)) != setting:
            yield fault("ports", f"{other} and {setting} are both {port}", "Set one of them to another port.")
            continue
        shown = f"{port} ({setting})"
        try:
            bound(listens or LOCAL, port).close()
        except OSError as error:
            if error.errno == errno.EACCES:
                remedy = f"Set {setting} to 1024 or higher."
                yield fault("ports", f"{shown} cannot be used by this user", remedy)
            elif error.errno != errno.EADDRINUSE:  # only FX_METRICS_HOST is not 127.0.0.1
                remedy = "Set FX_METRICS_HOST to an address of this machine."
                yield fault("ports", f"{listens} cannot be used ({error.strerror})", remedy)
            elif (owner := _OWNERS[name](facts, port)) is None:
                own.append(shown)
            else:
                yield fault(
                    "ports",
                    f"{shown} is in use by {owner}",
                    f"Set {setting} to a free port, or stop the program that listens there.",
                )
        else:
            free.append(shown)
    shown_lists = (("free", free), ("in use by this instance", own))
    if text := "; ".join(f"{state}: {', '.join(listed)}" for state, listed in shown_lists if listed):
        yield ok("ports", text)


_OF_READERS = ("fx_api_port", "fx_metrics_port")


def _api(facts: Facts, port: int) -> Owner:
    document = _json(_get(port, f"{facts.settings.api_prefix}/-/health"))
    if not {"status", "latest_date", "days"} <= document.keys():
        return _OTHER
    try:
        with facts.stored() as store:
            coverage = store.coverage()
    except (NoDatabase, StoreError):
        return _OTHER_INSTANCE
    stored = coverage.days, str(coverage.last) if coverage.last else None
    return None if (document["days"], document["latest_date"]) == stored else _OTHER_INSTANCE


def _dagster(facts: Facts, port: int) -> Owner:
    prefix = facts.settings.dagster_prefix
    if "dagster_webserver_version" not in _json(_get(port, f"{prefix}/server_info")):
        return _OTHER
    query = json.dumps({"query": "{ instance { info } }"})
    # The password is not sent: this may be the server of someone else.
    found = _json(_get(port, f"{prefix}/graphql", query)).get("data")
    info = str((found or {}).get("instance", {}).get("info"))
    home = next((line for line in info.splitlines() if line.strip().startswith("base_dir:")), None)
    is_other = home is not None and home.partition(":")[2].strip(" '\"") != str(facts.settings.dagster_home)
    return "the Dagster UI of another instance" if is_other else None


def _sandbox(facts: Facts, port: int) -> Owner:
    response = _get(port, "/-/stats")
    if response is None or response[0] != "fx-pipeline-sandbox":
        return _OTHER
    return _as_the_api(facts, "another sandbox")


def _metrics(facts: Facts, port: int) -> Owner:
    response = _get(port, "/metrics", host=reachable(str(facts.settings.fx_metrics_host)))
    if response is None or "fx_build_info" not in response[1]:
        return _OTHER
    return _as_the_api(facts, _OTHER_INSTANCE)


def _as_the_api(facts: Facts, other: str) -> Owner:
    """Return None if the API of this instance is running: it was started together with this server."""
    return None if _api(facts, facts.settings.fx_api_port) is None else other


def _litestream(facts: Facts, port: int) -> Owner:
    response = _get(port, "/metrics")
    if response is None or "litestream_" not in response[1]:
        return _OTHER
    return None if str(facts.settings.fx_database) in response[1] else "another Litestream"


_OWNERS: dict[str, Callable[[Facts, int], Owner]] = {
    "fx_api_port": _api,
    "fx_dagster_port": _dagster,
    "fx_sandbox_port": _sandbox,
    "fx_metrics_port": _metrics,
    "fx_litestream_port": _litestream,
}


def _get(port: int, path: str, body: str | None = None, *, host: str = LOCAL) -> tuple[str, str] | None:
    """Return the header `Server` and the body of a response; None if it is none of HTTP."""
    with closing(http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)) as connection:
        try:
            headers = {"Content-Type": "application/json"} if body else {}
            connection.request("POST" if body else "GET", path, body, headers)
            response = connection.getresponse()
            return response.headers.get("Server", ""), response.read(2**20).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return None


def _json(response: tuple[str, str] | None) -> dict[str, Any]:
    try:
        document = json.loads(response[1]) if response else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
