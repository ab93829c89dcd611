"""The table of all checks, in the order in which they are printed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fx_pipeline.commands.doctor import (
    access,
    alerting,
    dagster,
    database,
    files,
    ports,
    provider,
    rates,
    replica,
)
from fx_pipeline.commands.doctor.facts import Facts
from fx_pipeline.commands.doctor.findings import Finding

LOCAL_SECONDS = 6.0
"""How long a check of this machine may take: a network file system may hang."""

NETWORK_SECONDS = 3.0
"""How long a check that waits for another machine may take."""

CALL_SECONDS = 6.0
"""How long a check may wait for a response that is worth it: a call, a test message, Litestream."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Checks that one function makes. If it fails or does not return, each of them is reported as such."""

    checks: tuple[str, ...]
    look: Callable[[Facts], Iterable[Finding]]
    seconds: float = LOCAL_SECONDS


SUBJECTS = (
    Subject(("provider",), provider.connection, NETWORK_SECONDS),
    Subject(("key",), provider.key, CALL_SECONDS),
    Subject(("clock",), provider.clock, CALL_SECONDS + 0.5),
    Subject(("disk",), files.disk),
    Subject(("permissions",), files.permissions),
    Subject(("database",), database.database),
    Subject(("rates",), rates.rates),
    Subject(("quota",), rates.quota),
    Subject(("tokens",), access.tokens),
    Subject(("public address",), access.public_address),
    Subject(("ports",), ports.ports),
    Subject(("dagster", "daemon", "schedules", "last run"), dagster.dagster),
    Subject(("code server",), dagster.code_server, NETWORK_SECONDS),
    Subject(("replica",), replica.replica, CALL_SECONDS),
    Subject(("restore drill",), replica.restore_drill),
    Subject(("alerts",), alerting.alerts, CALL_SECONDS),
    Subject(("watcher", "undelivered alerts"), alerting.watcher),
    Subject(("heartbeat",), alerting.heartbeat, NETWORK_SECONDS),
)
