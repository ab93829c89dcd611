"""One run of the asset `rates`: plan the dates, fetch them, judge them, and fail if some are missing."""

import datetime as dt
import logging
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence

import dagster as dg

from fx_pipeline.clock import yesterday
from fx_pipeline.dagster_internals.runs import failed_partitions
from fx_pipeline.dagster_internals.tags import BACKFILL_TAG, SCHEDULE_TAG
from fx_pipeline.defs.backfill_forecast import days_that_fit
from fx_pipeline.defs.checks import RATES, CheckEvent, check_run, check_table
from fx_pipeline.defs.continued import continued_backfills, continued_runs
from fx_pipeline.defs.failures import Fatal, date_ranges, next_attempt, run_failure
from fx_pipeline.defs.partitions import days
from fx_pipeline.defs.resources import DatabaseResource, FixerResource
from fx_pipeline.defs.run_config import RatesConfig
from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.fixer.errors import FixerError
from fx_pipeline.ingestion.ingest import ingest
from fx_pipeline.ingestion.plan import Call, plan_calls, quota_warning
from fx_pipeline.ingestion.results import Outcome
from fx_pipeline.ingestion.symbols import exclude_symbols
from fx_pipeline.rates import parse_date
from fx_pipeline.settings import load_settings
from fx_pipeline.store.coverage import Move
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.days import StoredDay
from fx_pipeline.store.ledger import Ledger, Quota, QuotaReached
from fx_pipeline.store.store import RateStore

logger = logging.getLogger(__name__)

Event = dg.AssetMaterialization | CheckEvent


class RatesRun:
    """One run of the asset, for the dates of its partitions."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        config: RatesConfig,
        fixer: FixerResource,
        database: DatabaseResource,
    ) -> None:
        self._context = context
        self._config = config
        self._fixer = fixer
        self._database = database
        self._api_url = load_settings().api_url
        self._runs = [context.run.run_id, *continued_runs(context.instance, context.run)]
        self._partitions = {parse_date(key) for key in context.partition_keys}
        self._skipped: list[StoredDay] = []
        self._kept: list[StoredDay] = []
        self._to_fetch: set[dt.date] = set()
        self._too_many: set[dt.date] = set()
        self._reported = _dates_of_earlier_attempts(context)
        self._answered = bool(self._reported)
        self._stored: set[dt.date] = set()
        self._failed: list[Outcome] = []
        self._error: Fatal | None = None

    def events(self) -> Generator[Event, None, None]:
        """Yield each stored date and the check results.

        If a date is missing, raise dagster.Failure, or dagster.RetryRequested for another attempt.
        """
        try:
            with (
                self._database.store() as store,
                self._database.ledger(self._context.run.run_id) as ledger,
                self._fixer.client() as client,
            ):
                calls = self._plan(store, ledger, client)
                yield from self._report_skipped()
                yield from self._fetch(calls, store, ledger, client)
                if self._too_many:
                    raise QuotaReached(f"{ledger.quota()}.")
        except (FixerError, QuotaReached, StoreError) as error:
            self._error = error
        try:
            yield from self._judge(last=self._next_attempt() is None)
        except StoreError as error:
            self._error = self._error or error
        if request := self._next_attempt():
            raise request
        if self._failed or self._error:
            yield from self._report(day for day in self._kept if day.date not in self._to_fetch)
            failure = self._failure()
            failure.allow_retries = False
            raise failure

    def _plan(self, store: RateStore, ledger: Ledger, client: FixerClient) -> list[Call]:
        """Return the calls to make, and warn if the quota is too small for them.

        Raise QuotaReached before any call, as `days_that_fit` does.
        """
        self._kept = self._stored_days(store)
        store.check_source(self._fixer.base, self._fixer.known_provider())
        self._skipped = self._days_to_skip(store)
        dates = self._dates_that_are_over()
        self._to_fetch = dates - {day.date for day in self._skipped} - self._reported
        fitting = days_that_fit(self._context, self._config, self._to_fetch, self._fixer, store, ledger)
        store.want(dates)
        self._too_many = set() if fitting is None else self._to_fetch - fitting
        exclude_symbols(client, store.refused_symbols())
        calls = plan_calls(
            self._to_fetch - self._too_many, timeseries=self._fixer.timeseries, daily=self._daily_dates()
        )
        self._context.log.info(f"Dates to fetch: {len(self._to_fetch)}; calls: {len(calls)}.")
        if (warning := quota_warning(calls, ledger.quota())) is not None:
            self._context.log.warning(warning)
        return calls

    def _report_skipped(self) -> Iterator[dg.AssetMaterialization]:
        """Yield skipped days that Dagster does not show as materialized, and in a backfill all of them.

        A process was killed before it reported them, or they were among the days of a killed run. A backfill
        counts each of its days as failed that none of its runs has reported.
        """
        if not self._skipped:
            return
        if BACKFILL_TAG in self._context.run.tags:
            yield from self._report(self._skipped)
            return
        instance = self._context.instance
        shown = instance.get_materialized_partitions(RATES) - failed_partitions(instance, RATES, days)
        yield from self._report(day for day in self._skipped if day.date.isoformat() not in shown)

    def _report(self, stored: Iterable[StoredDay]) -> Iterator[dg.AssetMaterialization]:
        """Yield days that were stored before this attempt and that it has not reported."""
        for day in stored:
            if day.date not in self._reported:
                self._reported.add(day.date)
                yield _materialization(day, self._page(day))

    def _fetch(
        self, calls: list[Call], store: RateStore, ledger: Ledger, client: FixerClient
    ) -> Iterator[dg.AssetMaterialization]:
        """Make the calls. Yield each date as it is stored, and log the first that fails for each reason."""
        # Without a name for the iterator, so that an interrupt closes it before the store and the ledger.
        for outcome in ingest(
            calls, client, store, ledger, concurrency=self._fixer.concurrency, warn=self._warn
        ):
            if outcome.stored is None:
                self._log_failed(outcome)
            else:
                self._stored.add(outcome.date)
                yield _materialization(
                    outcome.stored,
                    self._page(outcome.stored),
                    moves=store.largest_moves(outcome.date),
                    quota=ledger.quota(),
                    left_out=set(self._fixer.symbols) - set(client.requested_symbols),
                )
        for code, reason in store.missing_symbols(self._fixer.symbols).items():
            self._context.log.warning(f"FX_SYMBOLS: {code}: {reason}.")

    def _judge(self, *, last: bool) -> Iterator[CheckEvent]:
        """Yield the check results for the fetched days, or for the skipped ones if nothing was to fetch.

        The last attempt judges the days of all. The others yield only what is alerted: the run may be
        cancelled before the next one.
        """
        skipped = [] if self._to_fetch else [day.date for day in self._skipped]
        checks = self._context.selected_asset_check_keys
        for result in check_run(self._runs, skipped, checks, self._fixer, self._database):
            if last or (not result.passed and result.severity is dg.AssetCheckSeverity.ERROR):
                yield result
        if last:
            yield from check_table(checks, self._fixer, self._database, within_backfill=True)

    def _next_attempt(self) -> dg.RetryRequested | None:
        """Return the request for another attempt if one may succeed."""
        if self._failed or self._error:
            return next_attempt(self._failure(), self._context.retry_number)
        return None

    def _log_failed(self, outcome: Outcome) -> None:
        """Log a failed date, unless an earlier one had the same reason: there may be hundreds."""
        known = {earlier.error.reason for earlier in self._failed if earlier.error}
        self._failed.append(outcome)
        if outcome.error and outcome.error.reason not in known:
            self._context.log.error(
                f"{outcome.date}: {outcome.error} The failure below lists all dates with this reason.",
                extra={"date": outcome.date.isoformat()},
            )

    def _failure(self) -> dg.Failure:
        return run_failure(
            self._failed,
            error=self._error,
            missing=self._to_fetch - self._stored,
            answered=self._answered or bool(self._stored),
        )

    def _days_to_skip(self, store: RateStore) -> list[StoredDay]:
        """Return the stored days of the run that are not refetched.

        These are the days that this run, or one that it continues, has fetched; with skip_stored, all stored
        days before `refetch_from`.
        """
        span = min(self._partitions), max(self._partitions)
        own = store.days_stored_by(self._context.run.run_id, *span)
        skipped = [day for day in own if day.date in self._partitions]
        if others := [*self._runs[1:], *continued_backfills(self._context.instance, self._context.run)]:
            continued = self._stored_days(store, others)
            if continued and self._context.retry_number == 0:
                self._context.log.info(
                    "Skipped, because the run that this one re-executes has stored them: "
                    f"{date_ranges(day.date for day in continued)}. To fetch them again, materialize them."
                )
            skipped += continued
        if self._config.skip_stored:
            refetch_from = self._config.refetch_from or dt.date.max
            skipped += [day for day in self._kept if day.date < refetch_from]
        return list({day.date: day for day in skipped}.values())

    def _stored_days(self, store: RateStore, fetched_by: Sequence[str] | None = None) -> list[StoredDay]:
        """Return the stored days of the run, or those that one of these runs was the last to fetch."""
        stored = store.stored_days(min(self._partitions), max(self._partitions), fetched_by=fetched_by)
        return [day for day in stored if day.date in self._partitions]

    def _dates_that_are_over(self) -> set[dt.date]:
        """Return the dates to consider. In the UI a run can be launched for a date that is not over yet."""
        only = self._config.only
        dates = self._partitions if only is None else self._partitions & only
        if early := {date for date in dates if date > yesterday()}:
            self._context.log.warning(
                f"Skipped, because not over yet (UTC): {date_ranges(early)}. A date can be fetched from "
                "00:00 UTC on the next day."
            )
        return dates - early

    def _daily_dates(self) -> set[dt.date]:
        """Return the dates for which reserved calls may be used: the newest ones of a scheduled run."""
        refetch_from = self._config.refetch_from
        if SCHEDULE_TAG not in self._context.run.tags or refetch_from is None:
            return set()
        return {date for date in self._to_fetch if date >= refetch_from}

    def _page(self, day: StoredDay) -> str:
        return f"{self._api_url}/rates/{day.date}/"

    def _warn(self, text: str) -> None:
        """Log a warning, and also write it to stderr, for `fx-pipeline ingest`."""
        self._context.log.warning(text)
        logger.warning(text)


def _dates_of_earlier_attempts(context: dg.AssetExecutionContext) -> set[dt.date]:
    """Return the dates that earlier attempts of this run have reported. A retry gets all partitions again."""
    if context.retry_number == 0:
        return set()
    records = context.instance.all_logs(context.run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    keys = [record.dagster_event.partition for record in records if record.dagster_event]
    return {parse_date(key) for key in keys if key}


def _materialization(
    day: StoredDay,
    page: str,
    *,
    moves: list[Move] | None = None,
    quota: Quota | None = None,
    left_out: Collection[str] = (),
) -> dg.AssetMaterialization:
    """Return a stored date as the UI shows it. The UI plots its numbers over the dates."""
    metadata: dict[str, dg.RawMetadataValue] = {
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
