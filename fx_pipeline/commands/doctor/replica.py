"""Checks of replication: this writer's or this reader's, the store itself, and the restore drill."""

from collections.abc import Iterator

from fx_pipeline.clock import utc_now
from fx_pipeline.commands.doctor.facts import Facts
from fx_pipeline.commands.doctor.findings import Finding, fault, of_message, ok, warning
from fx_pipeline.drilled import read_drill
from fx_pipeline.following import Position, is_reader, read_position
from fx_pipeline.replicated import read_state, replication_summary
from fx_pipeline.replication import fencing, litestream
from fx_pipeline.replication.addresses import ReplicaAddress, replica_address
from fx_pipeline.replication.litestream import LitestreamError
from fx_pipeline.settings import Settings
from fx_pipeline.store.writer import refusal

STORE_SECONDS = 3.0
"""How long the store may take to list one file."""


def replica(facts: Facts) -> Iterator[Finding]:
    """Check whether replication works, and whether this host may write."""
    settings = facts.settings
    address, position = replica_address(settings), read_position(settings.fx_database)
    if reason := refusal(settings.fx_database):
        yield of_message("replica", reason)
        return
    if address is None:
        if position is not None:
            yield fault("replica", "this is a reader, but FX_REPLICA_URL is not set", "Set it as before.")
        elif read_state(settings.fx_database):
            yield warning(
                "replica",
                "this database was replicated, but FX_REPLICA_URL is not set",
                "Set it again, or remove the folder that ends in -replication next to the database.",
            )
        else:
            yield ok("replica", "FX_REPLICA_URL is not set")
        return
    found = [*_store(settings, address, position)]
    found += [_lag(settings, position)] if position else _writer(settings)
    wrong = [finding for finding in found if finding.state != "ok"]
    yield from wrong or [ok("replica", "; ".join(finding.text for finding in found))]


def _store(settings: Settings, address: ReplicaAddress, position: Position | None) -> Iterator[Finding]:
    """Ask the store, with requests that only read, whether another host writes."""
    own = fencing.recorded(address, settings.fx_database)
    known = position.generation if position else own.number if own else 0
    try:
        litestream.program()
        newer = litestream.replica_files(fencing.marker(address, known + 1), level=0, timeout=STORE_SECONDS)
    except LitestreamError as error:
        text = str(error).rstrip(".")
        yield fault("replica", text, "Check FX_REPLICA_URL, the credentials of the store, and the network.")
        return
    if newer and position is None:
        yield fault(
            "replica",
            f"another host writes to {address}",
            "If it is lost, write here with `fx-pipeline restore --take-over`; otherwise run `fx-pipeline "
            "replica` to serve a copy.",
        )
    else:
        yield ok("replica", f"{address} can be read")


def _writer(settings: Settings) -> list[Finding]:
    if not settings.fx_database.exists():
        return []
    summary = replication_summary(settings.fx_database, wanted=True)
    if summary and summary["problem"]:
        return [of_message("replica", summary["problem"])]
    return [ok("replica", f"complete until {summary['confirmed_at'] if summary else None}")]


def _lag(settings: Settings, position: Position) -> Finding:
    lag, limit = position.lag(utc_now()), settings.fx_max_lag_seconds
    remedy = "Start `fx-pipeline replica`, or read its log."
    if lag is None:
        return fault("replica", "this reader has never had all of the replica", remedy)
    if lag > limit:
        return fault(
            "replica",
            f"this reader has not been current for {lag:,.0f} s. FX_MAX_LAG_SECONDS allows {limit:g}",
            remedy,
        )
    return ok("replica", f"this reader lags {lag:,.1f} s")


def restore_drill(facts: Facts) -> Iterator[Finding]:
    """Check that the last restore drill was good, and not long ago."""
    settings = facts.settings
    drill = None if is_reader(settings.fx_database) else read_drill(settings.fx_database)
    if drill is None:
        yield ok("restore drill", "there was none")
    elif problem := drill.problem(utc_now(), settings.fx_max_drill_age_days):
        yield of_message("restore drill", problem)
    else:
        yield ok("restore drill", f"{drill.result} at {drill.at}")
