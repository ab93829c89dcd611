"""Checks of Dagster: storage, code server, daemon, schedules, and the last runs."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fx_pipeline.alerting import conditions
from fx_pipeline.alerting.runbook import KINDS
from fx_pipeline.clock import utc_now
from fx_pipeline.commands.doctor.connecting import CONNECT_SECONDS, reached
from fx_pipeline.commands.doctor.facts import Facts, NoDatabase
from fx_pipeline.commands.doctor.findings import Finding, fault, not_checked, of_message, ok, warning
from fx_pipeline.commands.document import kept_days
from fx_pipeline.following import is_reader
from fx_pipeline.postgres import place_of, with_driver
from fx_pipeline.processes.instance_file import contradiction, file_in, kept_file
from fx_pipeline.rates import contiguous
from fx_pipeline.settings import Settings, SettingsError
from fx_pipeline.store.database import StoreError

if TYPE_CHECKING:
    # Imports Dagster, which takes seconds.
    import dagster as dg

    from fx_pipeline.commands.dagster_state import DagsterState

OLDEST_RUN = dt.timedelta(days=7)
"""How old the newest fetch may be whose run must be in Dagster's storage."""

CHECKS = ("dagster", "daemon", "schedules", "last run")


def dagster(facts: Facts) -> Iterator[Finding]:
    """Check the instance in DAGSTER_HOME or PostgreSQL, if there is one. Create none."""
    settings = facts.settings
    if is_reader(settings.fx_database):
        yield ok("dagster", "this is a reader: the writer's is elsewhere")
        return
    storage, found = _storage(settings), []
    if storage.state == "ok":
        try:
            found = [*_state(facts)]
        except SettingsError as error:
            storage = of_message("dagster", str(error))
    yield storage
    yield from found
    if storage.state != "ok":
        for check in CHECKS[1:]:
            yield not_checked(check, "there is no storage of Dagster to read", "See the line `dagster`.")


def code_server(facts: Facts) -> Iterator[Finding]:
    """Connect to the code server of another machine, and send nothing."""
    address = facts.settings.code_server
    if address is None:
        yield ok("code server", "FX_CODE_SERVER is not set")
        return
    remedy = "Start `fx-pipeline code-server` there, or correct FX_CODE_SERVER."
    yield reached("code server", f"{facts.settings.fx_code_server}", address, remedy)


def _storage(settings: Settings) -> Finding:
    home, url = settings.dagster_home, settings.fx_dagster_postgres_url
    if reason := contradiction(home, postgres=url is not None):
        return of_message("dagster", reason)
    if url is not None:
        storage = _postgres(url.get_secret_value())
        if storage.state != "ok" or file_in(home).exists():
            return storage
        text = f"{storage.text} can be used, but {home} has no dagster.yaml yet"
        return warning("dagster", text, "Start `fx-pipeline up`, `daemon` or `code-server` first.")
    if not file_in(home).exists():
        text, remedy = (
            f"{home} has no instance yet",
            "Start `fx-pipeline up`, or set DAGSTER_HOME to the home that it uses.",
        )
        is_new = not settings.fx_database.exists()
        return warning("dagster", text, remedy) if is_new else fault("dagster", text, remedy)
    if kept_file(home):
        return ok("dagster", f"{home}, with a dagster.yaml of your own")
    return ok("dagster", str(home))


def _postgres(url: str) -> Finding:
    """Connect, and look for Dagster's tables."""
    from sqlalchemy import NullPool, create_engine, inspect
    from sqlalchemy.exc import SQLAlchemyError

    from fx_pipeline.processes import postgres_storage

    place = place_of(url)
    try:
        options = {} if "connect_timeout=" in url else {"connect_timeout": round(CONNECT_SECONDS)}
        engine = create_engine(with_driver(url), poolclass=NullPool, connect_args=options)
        with engine.connect() as connection:
            has_tables = inspect(connection).has_table("runs")
    except ModuleNotFoundError:
        return fault(
            "dagster",
            "FX_DAGSTER_POSTGRES_URL needs further packages",
            "Install fx-pipeline[postgres], or unset it.",
        )
    except SQLAlchemyError as error:
        return of_message("dagster", str(postgres_storage.unusable(url, error)))
    if not has_tables:
        return warning(
            "dagster", f"the PostgreSQL database {place} is still empty", "Start `fx-pipeline up` first."
        )
    return ok("dagster", f"the PostgreSQL database {place}")


def _state(facts: Facts) -> Iterator[Finding]:
    """Judge the instance as `status --check` does. Raise SettingsError if it cannot be used."""
    from fx_pipeline.commands.dagster_state import state_of
    from fx_pipeline.processes.dagster_home import existing_instance

    settings = facts.settings
    with existing_instance(settings.dagster_home) as instance:
        state = state_of(instance, settings.dagster_home, utc_now())
        if run_id := _unknown_run(facts, instance):
            yield warning(
                "dagster",
                f"{settings.dagster_home} does not have the run {run_id}, which made the newest fetch",
                "If the home is that of another instance, set DAGSTER_HOME. After a restore, this is normal.",
            )
    document = {"automation": state.automation, "daemon": state.daemon}
    found = [
        of_message("schedules" if one.subject else "daemon", one.line)
        for one in conditions.of_daemon(document, settings)
    ]
    found += [
        fault("last run", one.line, f"{fix[0].upper()}{fix[1:]}.")
        for one in state.faults
        if (fix := KINDS[one.kind].fix)
    ]
    found += [of_message("last run", one.line) for one in conditions.of_days(_days(facts, state), settings)]
    beat = state.daemon and state.daemon["last_heartbeat"]
    well = {
        "daemon": f"its last heartbeat was at {beat}" if beat else "it is starting",
        "schedules": _counts(state.automation),
        "last run": _run(state.last_run),
    }
    for check, text in well.items():
        yield from [one for one in found if one.check == check] or [ok(check, text)]


def _unknown_run(facts: Facts, instance: "dg.DagsterInstance") -> str | None:
    """Return the run that made the newest fetch, if the instance does not have it. Old runs are deleted."""
    try:
        with facts.stored() as store:
            run_id = store.newest_run(utc_now() - OLDEST_RUN)
    except (NoDatabase, StoreError):
        return None
    return run_id if run_id and instance.get_run_by_id(run_id) is None else None


def _days(facts: Facts, state: "DagsterState") -> Mapping[str, Any]:
    """Return the part of the document of `status` about runs. The check `rates` names missing days."""
    kept: set[dt.date] = set()
    with suppress(NoDatabase, StoreError), facts.stored() as store:
        kept = kept_days(store, state.failed_days, facts.settings, utc_now())
    failed = [[str(first), str(last)] for first, last in contiguous({*state.failed_days} - kept)]
    return {"failed_days": failed, "gaps": []}


def _counts(automation: Mapping[str, str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(Counter(automation.values()).items()))


def _run(run: Mapping[str, str | None] | None) -> str:
    return f"{run['status']}, ended {run['ended'] or 'not yet'}" if run else "there was none"
