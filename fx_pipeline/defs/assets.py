"""What is kept: the rates of each day and the names of the currencies; and what stands on either side."""

import datetime as dt
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from dataclasses import dataclass

import dagster as dg

from fx_pipeline.dagster_internals import RESUME_TAGS, SCHEDULE_TAG
from fx_pipeline.defs.checks import RATES, check_last_run, check_run, check_table, run_checks, table_checks
from fx_pipeline.defs.partitions import days
from fx_pipeline.defs.resources import DatabaseResource, FixerResource
from fx_pipeline.defs.tries import metadata as tries_metadata
from fx_pipeline.fixer.errors import FixerError, LongWaitRequested, NoRates, ProviderDown, Unfinished
from fx_pipeline.ingestion.ingest import ingest
from fx_pipeline.ingestion.plan import plan_calls, quota_warning
from fx_pipeline.ingestion.results import Outcome
from fx_pipeline.ingestion.symbols import exclude_symbols, ingest_names
from fx_pipeline.rates import MAX_TIMESERIES_DAYS, contiguous, parse_date
from fx_pipeline.settings import load_settings
from fx_pipeline.store.coverage import Move
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.days import StoredDay
from fx_pipeline.store.ledger import Quota, QuotaReached
from fx_pipeline.store.store import RateStore

logger = logging.getLogger(__name__)

fixer_api = dg.AssetSpec(
    "fixer_api",
    description="Fixer (fixer.io), or the sandbox in its place: a value of each currency for each day.",
    kinds={"api"},
    group_name="provider",
)

rates_api = dg.AssetSpec(
    "rates_api",
    deps=["rates", "symbols"],
    description="What clients ask: `/rates/<date>/`, served by Datasette from the same file at once.",
    kinds={"api", "json"},
    group_name="api",
)

RATES_DESCRIPTION = """The rates of one day, as Fixer gave them, with every value that was replaced kept in
`revisions`.

Each date of a run succeeds or fails alone. Those that failed stay not materialised, and "missing and
failed" asks for them again, and only for them.
"""

STOPPED_BY = "stopped by"
"""Metadata of a failed run that was ended before all its dates had been tried: the kind of error."""


class Cancelled(dg.DagsterExecutionInterruptedError, dg.DagsterError):
    """The run is to end now. Being an error of Dagster's own, this comes through: where there is a retry
    policy, a mere interrupt is taken for a failure to be tried again."""

    def __init__(self) -> None:
        super().__init__("The run was cancelled; what it had stored is kept.")


@dataclass(frozen=True, slots=True)
class RatesConfig:
    """How a run treats the dates it is given."""

    skip_stored: bool = False
    """Leave out the dates that are stored."""

    refetch_from: dt.date | None = None
    """With skip_stored: from this date on all are asked for, because Fixer may have revised them."""

    only: frozenset[dt.date] | None = None
    """Leave out all other dates."""

    @classmethod
    def of(cls, context: dg.AssetExecutionContext) -> "RatesConfig":
        """Return the config of a run. Raises dagster.Failure if it has no date where there must be one."""
        config = context.op_execution_context.op_config
        refetch_from, only = config["refetch_from"], config["only"]
        return cls(
            bool(config["skip_stored"]),
            _configured("refetch_from", refetch_from) if refetch_from else None,
            None if only is None else frozenset(_configured("only", date) for date in only),
        )


def _configured(name: str, text: str) -> dt.date:
    try:
        return parse_date(text)
    except ValueError:
        raise dg.Failure(
            f"The run config's {name} is not a day of the form YYYY-MM-DD: launch the run with one.",
            allow_retries=False,
        ) from None


# Plain types. Those that dagster.Config makes of a class also take the name of an environment variable, and
# so could bring a secret into an error message.
_RATES_CONFIG = {
    "skip_stored": dg.Field(
        dg.Noneable(bool), default_value=False, description="Leave out the dates that are stored."
    ),
    "refetch_from": dg.Field(
        dg.Noneable(str),
        default_value=None,
        description="With skip_stored: fetch all dates from this one on (YYYY-MM-DD).",
    ),
    "only": dg.Field(
        dg.Noneable(dg.Array(str)),
        default_value=None,
        description="Leave out all dates but these (YYYY-MM-DD).",
    ),
}


@dg.multi_asset(
    name="rates",
    specs=[
        dg.AssetSpec(
            "rates",
            deps=[fixer_api],
            description=RATES_DESCRIPTION,
            kinds={"python", "sqlite"},
            group_name="rates",
            owners=["team:rates"],
            tags={"domain": "exchange-rates", "provider": "fixer"},
            skippable=True,
        )
    ],
    check_specs=[*run_checks, *table_checks],
    config_schema=_RATES_CONFIG,
    # So that a run need not be planned with its checks (see `check_run`), and that these run without dates.
    can_subset=True,
    partitions_def=days,
    backfill_policy=dg.BackfillPolicy.multi_run(
        # Where one call brings a year, a run of a year takes one.
        max_partitions_per_run=MAX_TIMESERIES_DAYS if load_settings().fixer_timeseries else 100
    ),
    retry_policy=dg.RetryPolicy(
        max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
    ),
)
def rates(
    context: dg.AssetExecutionContext,
    fixer: dg.ResourceParam[FixerResource],
    database: dg.ResourceParam[DatabaseResource],
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """Fetch and store the dates of a run and judge them, or judge again those of the last run."""
    try:
        if context.selected_asset_keys:
            yield from fixer.closed_at_end(_events(context, RatesConfig.of(context), fixer, database))
            return
        wanted = context.selected_asset_check_keys
        yield from check_table(wanted, fixer, database, within_backfill=False)
        yield from check_last_run(wanted, fixer, database)
    except StoreError as unreadable:
        raise _failure([], stopped_by=unreadable) from None
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
        raise Cancelled from None


def _events(
    context: dg.AssetExecutionContext, config: RatesConfig, fixer: FixerResource, database: DatabaseResource
) -> Generator[dg.AssetMaterialization | dg.AssetCheckEvaluation, None, None]:
    api_url = load_settings().api_url
    told, runs = _told(context), _runs(context)
    kept: list[StoredDay] = []
    failed: list[Outcome] = []
    dates: set[dt.date] = set()
    stored: set[dt.date] = set()
    stopped_by: FixerError | QuotaReached | StoreError | None = None
    try:
        with (
            database.store() as store,
            database.ledger(context.run.run_id) as ledger,
            fixer.client() as client,
        ):
            store.check_source(fixer.base, fixer.known_provider())
            kept = _kept(context, config, store, runs)
            dates = _over(context, config) - {day.date for day in kept} - told
            exclude_symbols(client, store.refused_symbols())
            asked = plan_calls(dates, timeseries=fixer.timeseries, daily=_daily(context, config, dates))
            if (short := quota_warning(asked, ledger.quota())) is not None:
                context.log.warning(short)
            for day in _untold(context, kept):
                stored.add(day.date)
                yield _materialisation(day, f"{api_url}/rates/{day.date}/", [], None, ())
            for outcome in ingest(
                asked,
                client,
                store,
                ledger,
                concurrency=fixer.concurrency,
                warn=_notice(context),
            ):
                if outcome.stored is None:
                    failed.append(outcome)
                    context.log.error(f"{outcome.date}: {outcome.error}")
                else:
                    stored.add(outcome.date)
                    moves = store.largest_moves(outcome.date)
                    page = f"{api_url}/rates/{outcome.date}/"
                    left_out = set(fixer.symbols) - set(client.requested_symbols)
                    yield _materialisation(outcome.stored, page, moves, ledger.quota(), left_out)
            for code, reason in store.missing_symbols(fixer.symbols).items():
                context.log.warning(f"FX_SYMBOLS: {code}: {reason}.")
    except (FixerError, QuotaReached, StoreError) as fatal:
        stopped_by = fatal
    try:
        yield from check_run(runs, [] if dates else [day.date for day in kept], fixer, database)
        yield from check_table(context.selected_asset_check_keys, fixer, database, within_backfill=True)
    except StoreError as unreadable:
        stopped_by = stopped_by or unreadable
    if stopped_by is not None:
        raise _failure(failed, stopped_by=stopped_by, missing=dates - stored)
    if failed:
        raise _failure(failed)


@dg.asset(
    deps=[fixer_api],
    kinds={"python", "sqlite"},
    group_name="rates",
    owners=["team:rates"],
    tags={"domain": "exchange-rates", "provider": "fixer"},
)
def symbols(
    context: dg.AssetExecutionContext,
    fixer: dg.ResourceParam[FixerResource],
    database: dg.ResourceParam[DatabaseResource],
) -> dg.MaterializeResult[None]:
    """The names of the currencies, as Fixer lists them."""
    try:
        with (
            database.store() as store,
            database.ledger(context.run.run_id) as ledger,
            fixer.client() as client,
        ):
            store.check_source(fixer.base, fixer.known_provider())
            count = len(ingest_names(client, store, ledger))
    except (FixerError, QuotaReached, StoreError) as fatal:
        raise _failure([], stopped_by=fatal) from None
    return dg.MaterializeResult(metadata={"currencies": count})


def _notice(context: dg.AssetExecutionContext) -> Callable[[str], None]:
    """Return a function that writes a warning to the run's log, and to stderr for those who run `ingest`."""

    def notice(text: str) -> None:
        context.log.warning(text)
        logger.warning(text)

    return notice


def _runs(context: dg.AssetExecutionContext) -> list[str]:
    """This run, and those that it goes on with."""
    runs = [context.run.run_id]
    if any(context.run.tags.get(tag) == "true" for tag in RESUME_TAGS):
        group = context.instance.get_run_group(context.run.run_id)
        runs += [run.run_id for run in group[1]] if group else []
    return runs


def _kept(
    context: dg.AssetExecutionContext, config: RatesConfig, store: RateStore, runs: list[str]
) -> list[StoredDay]:
    """The days that are not asked for again: those that one of the runs has fetched, and with skip_stored
    those that are stored at all."""
    keys = context.partition_keys
    span = parse_date(keys[0]), parse_date(keys[-1])
    kept = store.stored_days(*span, fetched_by=runs)
    if config.skip_stored:
        refetch_from = config.refetch_from or dt.date.max
        kept += [day for day in store.stored_days(*span) if day.date < refetch_from]
    wanted = set(keys)
    return list({day.date: day for day in kept if day.date.isoformat() in wanted}.values())


def _over(context: dg.AssetExecutionContext, config: RatesConfig) -> set[dt.date]:
    """The run's dates, without days that are not over: a run can be launched by hand for any date."""
    wanted = {parse_date(key) for key in context.partition_keys}
    if config.only is not None:
        wanted &= config.only
    today = dt.datetime.now(dt.timezone.utc).date()
    if early := {date for date in wanted if date >= today}:
        context.log.warning(
            f"Not over yet (UTC), so not asked for: {_ranges(early)}. A day can be fetched from 00:00 UTC of "
            "the next."
        )
    return wanted - early


def _untold(context: dg.AssetExecutionContext, kept: Collection[StoredDay]) -> Iterator[StoredDay]:
    """Those of the kept days that are not shown as materialised: a process was killed before it told them."""
    shown = context.instance.get_materialized_partitions(RATES) if kept else set()
    return (day for day in kept if day.date.isoformat() not in shown)


def _daily(context: dg.AssetExecutionContext, config: RatesConfig, dates: set[dt.date]) -> set[dt.date]:
    """The dates for which the calls kept for the daily runs may be used: a scheduled run's newest."""
    if SCHEDULE_TAG not in context.run.tags or config.refetch_from is None:
        return set()
    return {date for date in dates if date >= config.refetch_from}


def _told(context: dg.AssetExecutionContext) -> set[dt.date]:
    """What earlier attempts of this run have told: a retry runs the whole step with all its keys."""
    if context.retry_number == 0:
        return set()
    events = context.instance.all_logs(context.run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    keys = [event.dagster_event.partition for event in events if event.dagster_event]
    return {parse_date(key) for key in keys if key}


def _materialisation(
    day: StoredDay, page: str, moves: list[Move], quota: Quota | None, left_out: Collection[str]
) -> dg.AssetMaterialization:
    """A stored date as the UI shows it; it plots the numbers over the dates."""
    metadata: dict[str, int | float | str | dg.UrlMetadataValue | dg.MarkdownMetadataValue] = {
        "inserted": day.inserted,
        "updated": day.updated,
        "unchanged": day.unchanged,
        "rejected": day.rejected,
        "fetch": day.fetch_id,
        "api": dg.MetadataValue.url(page),
    }
    if moves:
        metadata["largest_move_percent"] = round(abs(moves[0].change) * 100, 4)
        metadata["largest_moves"] = dg.MetadataValue.md(_table(moves))
    if quota is not None:
        metadata["quota_left"] = quota.left(daily=True)
    if left_out:
        metadata["symbols_left_out"] = ", ".join(sorted(left_out))
    return dg.AssetMaterialization(RATES, partition=day.date.isoformat(), metadata=metadata)


def _table(moves: list[Move]) -> str:
    rows = [f"| {move.currency} | {move.before:g} | {move.rate:g} | {move.change:+.2%} |" for move in moves]
    return "\n".join(["| currency | day before | rate | change |", "|---|---:|---:|---:|", *rows])


def _failure(
    failed: Iterable[Outcome],
    stopped_by: FixerError | QuotaReached | StoreError | None = None,
    missing: Collection[dt.date] = (),
) -> dg.Failure:
    """A failure that names the dates, grouped by reason, and is tried again only where that can help."""
    by_reason: dict[str, list[dt.date]] = defaultdict(list)
    errors = [(outcome.date, outcome.error) for outcome in failed if outcome.error is not None]
    alone = [(date, error) for date, error in errors if stopped_by is None or error.scope == "date"]
    for date, error in alone:
        by_reason[error.reason].append(date)
    lines = [
        f"{len(dates)} {'date' if len(dates) == 1 else 'dates'}: {reason}: {_ranges(dates)}"
        for reason, dates in by_reason.items()
    ]
    left: set[dt.date] = set()
    if stopped_by is not None:
        left = set(missing) - {date for date, _ in alone}
        lines.insert(0, f"{stopped_by}")
        if left:
            by_reason["stopped before"].extend(left)
            lines.append(f"Not fetched therefore: {_ranges(left)}")
    retryable = isinstance(stopped_by, FixerError) and stopped_by.retryable
    # A stop by an outage is not retryable: repeating the step within seconds would only ask more.
    by_outage = retryable or isinstance(stopped_by, (ProviderDown, LongWaitRequested))
    again = {date for date, error in alone if _may_come(date, error)} | (left if by_outage else set())
    temporary = (stopped_by is None or by_outage) and len(again) == len({date for date, _ in alone} | left)
    metadata: dict[str, dg.RawMetadataValue] = {reason: _ranges(dates) for reason, dates in by_reason.items()}
    if stopped_by is not None:
        metadata[STOPPED_BY] = type(stopped_by).__name__
    return dg.Failure(
        description="\n".join(lines),
        metadata={**metadata, **tries_metadata(temporary=temporary, dates=again)},
        allow_retries=retryable or (stopped_by is None and any(error.retryable for _, error in alone)),
    )


def _may_come(date: dt.date, error: FixerError) -> bool:
    """Whether the date may be had later the same day: after an outage, or because the provider is late."""
    yesterday = dt.datetime.now(dt.timezone.utc).date() - dt.timedelta(days=1)
    return error.retryable or (date == yesterday and isinstance(error, (NoRates, Unfinished)))


def _ranges(dates: Iterable[dt.date]) -> str:
    return ", ".join(
        f"{first}" if first == last else f"{first} to {last}" for first, last in contiguous(dates)
    )
