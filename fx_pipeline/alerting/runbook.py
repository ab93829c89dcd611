"""The table of alerts: what each kind means, what waiting costs, and which commands help.

`docs/operations/runbook.md` shows it. Each alert contains its row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["page", "digest"]

USUALLY = 45.0
"""Seconds for which a fault must be seen before it is alerted: a restart takes less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of alert. The texts are Markdown: sentences, and commands as code."""

    severity: Severity
    """`page`: sent when it is found. `digest`: in the digest of the morning."""
    title: str
    meaning: str
    cost: str
    """What waiting until morning costs."""
    investigate: str
    fix: str
    after: float = USUALLY
    """Seconds for which it must be seen before it is alerted."""
    caused_by: tuple[str, ...] = ()
    """Kinds that explain it: while one of them is open, it is not alerted."""


_LATE = "The rates of yesterday are missing until then. The stored ones are served."

_REFETCH = "`fx-pipeline ingest --days 10 --missing`"

_RUN = "the page of the run, and `fx-pipeline status`"

_OUTSIDE = ("wrong_key", "quota_used", "provider_down", "provider_unreachable")

_STOPS_RUNS = (
    *("daemon_dead", "dagster_unreadable", "disk_full", "database_unreadable", "database_damaged"),
    "run_hung",
)

KINDS: Mapping[str, Kind] = {
    "wrong_key": Kind(
        severity="page",
        title="the key is refused",
        meaning="The provider does not accept the key, or its account is not active.",
        cost=_LATE,
        investigate=f"{_RUN}; the account at fixer.io",
        fix=f"correct `FIXER_ACCESS_KEY` in `.env`, restart, then {_REFETCH}",
        after=0,
    ),
    "quota_used": Kind(
        severity="page",
        title="the quota is used up",
        meaning="The month's calls to the provider are used up.",
        cost="No day is fetched until the quota renews. The stored rates are served.",
        investigate="`fx-pipeline status`, and the page `/coverage/` of the API",
        fix=f"upgrade the plan, raise `FIXER_MONTHLY_QUOTA` in `.env`, restart, then {_REFETCH}",
        after=0,
    ),
    "provider_down": Kind(
        severity="page",
        title="the provider is down",
        meaning="The provider does not respond, or responds with errors. The daily run tries again at 01:10, "
        "03:10 and 06:10 UTC.",
        cost="Nothing if it is over by 06:10 UTC. After that, yesterday's rates are missing for a day.",
        investigate=f"{_RUN}; `curl --head https://data.fixer.io/api/latest`",
        fix=f"wait until it is over. After 06:10 UTC: {_REFETCH}",
        after=0,
    ),
    "provider_unreachable": Kind(
        severity="page",
        title="the provider cannot be reached safely",
        meaning="The provider's name is not known to DNS, or its certificate is not trusted. The key was not "
        "sent.",
        cost=_LATE,
        investigate="`curl --verbose --head https://data.fixer.io/api/latest`",
        fix="correct DNS, `FIXER_BASE_URL`, or the certificates (behind a proxy: `REQUESTS_CA_BUNDLE`), then "
        f"{_REFETCH}",
        after=0,
    ),
    "run_failed": Kind(
        severity="page",
        title="a run failed",
        meaning="A run ended with an error, and no later try of the morning has repaired it.",
        cost="What the run should have done is missing: a day, or a nightly check.",
        investigate=_RUN,
        fix=f'"Re-execute all" on the page of the run, or for days {_REFETCH}',
        after=0,
        caused_by=(*_OUTSIDE, *_STOPS_RUNS, "clock_wrong"),
    ),
    "run_hung": Kind(
        severity="page",
        title="a run hangs",
        meaning="A run is in progress and has not reported anything for too long.",
        cost="No other run of the rates starts meanwhile, so yesterday's may be missing.",
        investigate="the page of the run; `ps -ef | grep dagster`",
        fix=f'"Terminate" on the page of the run, or `kill -9` its process, then {_REFETCH}',
        after=0,
        caused_by=("disk_full", "dagster_unreadable"),
    ),
    "garbage_values": Kind(
        severity="page",
        title="values look wrong",
        meaning="The provider sent values that were rejected, or that differ too much from other days.",
        cost="Clients may compute with wrong rates. Rejected values are not served.",
        investigate="the page of the run, and the page of the day at the API",
        fix="when the provider has corrected them: `fx-pipeline ingest --date YYYY-MM-DD`",
        after=0,
    ),
    "content_frozen": Kind(
        severity="page",
        title="the rates stand still",
        meaning="The provider sends days without new rates.",
        cost="Clients compute with old rates that look new.",
        investigate="the page of the run, and the newest days at the API",
        fix="report it to the provider. When it is over: `fx-pipeline ingest --days 10`",
        after=0,
    ),
    "check_failed": Kind(
        severity="page",
        title="a check failed",
        meaning="A check of the stored rates has a serious finding.",
        cost="It depends on the finding.",
        investigate="the page of the run",
        fix="what the finding says, then execute the check in the Dagster UI",
        after=0,
    ),
    "stale_rates": Kind(
        severity="page",
        title="the newest day is old",
        meaning="The newest stored day is older than `FX_MAX_AGE_DAYS`, or there is none.",
        cost="Clients get no newer rates.",
        investigate="`fx-pipeline status`, and the runs in the Dagster UI",
        fix=_REFETCH,
        after=600,
        caused_by=(*_OUTSIDE, *_STOPS_RUNS, "run_failed", "schedule_stopped", "clock_wrong"),
    ),
    "days_missing": Kind(
        severity="digest",
        title="days are missing",
        meaning="Days that a run was asked for are not stored, or Dagster shows them as failed.",
        cost="These days stay missing. Nothing else depends on them.",
        investigate="`fx-pipeline status`",
        fix="`fx-pipeline ingest --from YYYY-MM-DD --missing`, or the link in the message",
        after=3600,
        caused_by=(*_OUTSIDE, *_STOPS_RUNS, "run_failed", "schedule_stopped", "clock_wrong"),
    ),
    "daemon_dead": Kind(
        severity="page",
        title="Dagster's daemon is not running",
        meaning="Dagster's daemon sends no heartbeat, or has never run with these settings. No run starts.",
        cost=_LATE,
        investigate="`journalctl --unit 'fx-pipeline-*' --since -1h`, or `docker compose logs daemon`",
        fix="`systemctl restart fx-pipeline-up`, or `docker compose restart daemon`",
        after=150,
        caused_by=("disk_full", "dagster_unreadable"),
    ),
    "dagster_unreadable": Kind(
        severity="page",
        title="Dagster's storage cannot be read",
        meaning="Dagster's files in `DAGSTER_HOME`, or its PostgreSQL database, cannot be used.",
        cost=_LATE,
        investigate="`fx-pipeline status`; `docker compose logs postgres`",
        fix="what the message says, such as `docker compose restart postgres`",
        after=120,
        caused_by=("disk_full",),
    ),
    "schedule_stopped": Kind(
        severity="page",
        title="a schedule is stopped",
        meaning="Someone turned a schedule off in the Dagster UI. Its runs do not start.",
        cost="What the schedule does is missing: a day, a nightly check, or a restore drill.",
        investigate="`fx-pipeline status`",
        fix="turn it on in the Dagster UI, under Automation",
        after=480,
        caused_by=("daemon_dead", "dagster_unreadable"),
    ),
    "disk_nearly_full": Kind(
        severity="page",
        title="the disk is nearly full",
        meaning="Less than 200 MB are free on the disk of the database or of Dagster's home.",
        cost="If the disk fills up, nothing can be stored until there is space. Rates are served.",
        investigate="`df -h`, and `du -xh --max-depth 2 / | sort -h | tail`",
        fix="`journalctl --vacuum-size 200M`, `docker system prune`, or a larger disk",
        caused_by=("disk_full",),
    ),
    "disk_full": Kind(
        severity="page",
        title="the disk is full",
        meaning="Less than 20 MB are free, too little to store a day or a run.",
        cost="No day is stored, and no run starts. The stored rates are served.",
        investigate="`df -h`, and `du -xh --max-depth 2 / | sort -h | tail`",
        fix=f"`journalctl --vacuum-size 200M`, `docker system prune`, or a larger disk, then {_REFETCH}",
    ),
    "replica_stalled": Kind(
        severity="page",
        title="replication fails",
        meaning="The newest commits are not in the replica: the store or its credentials fail, or "
        "`fx-pipeline replicate` does not run.",
        cost="If this machine is lost, so is what was stored since. Readers show older rates.",
        investigate="`fx-pipeline status`; `journalctl --unit fx-pipeline-replicate`",
        fix="correct the store or its credentials, then `systemctl restart fx-pipeline-replicate`",
        caused_by=("disk_full",),
    ),
    "superseded": Kind(
        severity="page",
        title="another host has taken over",
        meaning="Another host writes to the replica, so this one has stopped.",
        cost="Nothing, if the other host was started on purpose.",
        investigate="`fx-pipeline status` on both hosts",
        fix="leave this one stopped, or make it the writer: `fx-pipeline restore --take-over`",
    ),
    "reader_behind": Kind(
        severity="page",
        title="a reader lags behind",
        meaning="This reader has not had all of the replica for longer than `FX_MAX_LAG_SECONDS`.",
        cost="It serves older rates, and `/-/health/ready` takes it out of the load balancer.",
        investigate="`fx-pipeline status`; `journalctl --unit fx-pipeline-replica`",
        fix="`systemctl restart fx-pipeline-replica`, or correct the store and its credentials",
        after=120,
        caused_by=("disk_full",),
    ),
    "restore_drill": Kind(
        severity="digest",
        title="the backup is not proven",
        meaning="The last restore drill failed, or the last good one is older than `FX_MAX_DRILL_AGE_DAYS`.",
        cost="If this machine is lost in the meantime, the data may be lost with it.",
        investigate="`fx-pipeline status`, and the check `restorable` in the Dagster UI",
        fix="what the finding says, then execute the check `restorable` in the Dagster UI",
        caused_by=("disk_full", "replica_stalled", "daemon_dead", "schedule_stopped", "run_failed"),
    ),
    "database_damaged": Kind(
        severity="page",
        title="the database is damaged",
        meaning="The nightly check found damaged pages, lost commits, or rates unlike the responses.",
        cost="Clients may get wrong rates, and each night more is written on top of the damage.",
        investigate="`fx-pipeline check --full`",
        fix="what it prints: `fx-pipeline rebuild`, or stop everything and `fx-pipeline restore --force`",
        after=0,
    ),
    "database_unreadable": Kind(
        severity="page",
        title="the database cannot be used",
        meaning="The database file is missing, damaged, locked, or of another version.",
        cost="No day is stored. If the file is lost or damaged, no rate is served.",
        investigate="`fx-pipeline check`",
        fix="what the message says, such as `fx-pipeline restore --force` with everything stopped",
        after=120,
        caused_by=("disk_full",),
    ),
    "tokens_lost": Kind(
        severity="page",
        title="the API refuses every request",
        meaning="The file of tokens is missing, damaged, or older than the database.",
        cost="No client gets any rate.",
        investigate="`fx-pipeline token list`",
        fix="stop everything and `fx-pipeline restore --force`, or `fx-pipeline token create NAME`",
        caused_by=("disk_full",),
    ),
    "clock_wrong": Kind(
        severity="page",
        title="the clock is wrong",
        meaning="The clock of this machine differs from the provider's by more than an hour, or fetches are "
        "dated in the future.",
        cost="Runs start at the wrong hour or fetch the wrong days, and `as_of` leaves fetches out.",
        investigate="`timedatectl`",
        fix="`timedatectl set-ntp true`, then `fx-pipeline rebuild`",
        after=0,
    ),
    "crash_loop": Kind(
        severity="page",
        title="a process crashes again and again",
        meaning="A process has ended by itself three times within 15 minutes, and was started again.",
        cost="Requests fail or are slow, or no run starts.",
        investigate="`journalctl --unit 'fx-pipeline-*' --since -1h`, or `docker compose logs --since 1h`",
        fix="what its log says. Out of memory: fewer `--workers`, or a smaller `FX_CACHE_MB`",
        after=0,
        caused_by=("disk_full",),
    ),
    "symbols_unknown": Kind(
        severity="digest",
        title="currencies in FX_SYMBOLS have no rates",
        meaning="The provider does not know a currency in `FX_SYMBOLS`, or has no rate for it.",
        cost="Nothing: the other currencies are fetched.",
        investigate="`fx-pipeline status`",
        fix="correct `FX_SYMBOLS` in `.env` and restart",
    ),
    "alerts_undelivered": Kind(
        severity="digest",
        title="an address does not accept alerts",
        meaning="An address in `FX_ALERT_URLS` is wrong or did not accept a message.",
        cost="An alert that only this address gets is lost.",
        investigate="`fx-pipeline alert-test`",
        fix="correct `FX_ALERT_URLS` in `.env`, restart, then `fx-pipeline alert-test`",
    ),
    "watcher_silent": Kind(
        severity="page",
        title="no alert is sent",
        meaning="`fx-pipeline watch` does not run. `status --check` and `/-/health/freshness` report it.",
        cost="Any other fault goes unnoticed.",
        investigate="`fx-pipeline status`; `journalctl --unit 'fx-pipeline-*' --since -1h`",
        fix="`systemctl restart fx-pipeline-up`, or `docker compose restart watch`",
    ),
}
"""Each kind of alert by its name."""


def row(name: str) -> str:
    """Return the row of a kind as text, for a message."""
    kind = KINDS[name]
    return "\n".join(
        (
            f"Meaning: {kind.meaning}",
            f"Waiting until morning: {kind.cost}",
            f"Investigate: {kind.investigate}",
            f"Fix: {kind.fix}",
        )
    )
