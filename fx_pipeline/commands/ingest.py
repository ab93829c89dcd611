"""The command `ingest`: a plan decides what to fetch, Dagster fetches it, the command prints the result."""

import datetime as dt
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import click

from fx_pipeline.clock import yesterday
from fx_pipeline.commands.database import open_ledger, read_quota
from fx_pipeline.commands.output import console, errors, print_files, warn_about_sqlite
from fx_pipeline.rates import date_range, parse_date
from fx_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from fx_pipeline.commands.runs import RunReport
    from fx_pipeline.ingestion.forecast import Forecast

DEFAULT_DAYS = 10

TOO_SMALL = 4
"""The exit code if the quota is too small. No call was made."""


class Date(click.ParamType[dt.date]):
    """A day, `YYYY-MM-DD`, that is over (UTC)."""

    name = "date"

    def convert(
        self, value: str | dt.date, param: click.Parameter | None, ctx: click.Context | None
    ) -> dt.date:
        """Return the day. Raise click's usage error if it is not a day, or not over yet."""
        if isinstance(value, dt.date):
            return value
        try:
            date = parse_date(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        if date > yesterday():
            self.fail(
                f"{value} is not over yet. The newest day that can be fetched is {yesterday()} (UTC).",
                param,
                ctx,
            )
        return date


@click.command()
@click.option("--days", type=click.IntRange(1), help=f"The last N days. Default: {DEFAULT_DAYS}.")
@click.option("--date", "dates", type=Date(), multiple=True, help="This day; repeatable.")
@click.option("--from", "first", type=Date(), help="All days from this one onwards.")
@click.option("--to", "last", type=Date(), help="With --from: up to this day. Default: yesterday.")
@click.option("--missing", is_flag=True, help="Skip days that are already stored.")
@click.option(
    "--revise",
    is_flag=True,
    help="With --missing, still refetch yesterday and the FX_REVISION_DAYS days before it.",
)
@click.option(
    "--partial",
    is_flag=True,
    help="If the quota is too small for all days, fetch the newest ones that fit, instead of nothing.",
)
@click.option("--forecast", "only_forecast", is_flag=True, help="Only show what this needs. Makes no call.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def ingest(
    days: int | None,
    dates: tuple[dt.date, ...],
    first: dt.date | None,
    last: dt.date | None,
    missing: bool,
    revise: bool,
    partial: bool,
    only_forecast: bool,
    as_json: bool,
) -> None:
    """Fetch days now, through Dagster. The UI shows each run.

    Fetches the newest days first, in runs as long as a backfill's. Exits with 1 if a day could not be
    fetched; the others are stored. Exits with 4, before any call, if the month's quota is too small for all
    of them.
    """
    if revise and not missing:
        raise click.UsageError("--revise needs --missing: without it, every day is fetched again.")
    settings = load_settings()
    selected = select_dates(settings.fx_start_date, days, dates, first, last)
    settings.require_key()
    plan = IngestPlan.of(settings, selected, missing=missing, revise=revise, by_name=bool(dates))
    print_files(f"Database {settings.fx_database}, Dagster's home {settings.dagster_home}.")
    warn_about_sqlite()

    from fx_pipeline.commands.progress import shown_progress
    from fx_pipeline.commands.reports import ingest_document
    from fx_pipeline.ingestion.forecast import WORTH_SHOWING

    forecast = plan.forecast(settings)
    if only_forecast:
        click.echo(json.dumps(forecast.document(), indent=2) if as_json else str(forecast))
        raise SystemExit(0 if forecast.fits else TOO_SMALL)
    if not forecast.fits and not partial:
        errors.print(f"[bold red]quota[/]   {forecast.refusal('add --partial to fetch these')}")
        if as_json:
            click.echo(json.dumps(ingest_document([], forecast.quota, None, plan.dates), indent=2))
        raise SystemExit(TOO_SMALL)
    plan.want(settings)
    if not plan.dates:
        stored = "The day is" if len(selected) == 1 else f"All {len(selected):,} days are"
        errors.print(f"{stored} already stored. Nothing was fetched.")
        if as_json:
            click.echo(json.dumps(ingest_document([], None, None)))
        return
    if forecast.days >= WORTH_SHOWING and not as_json:
        errors.print(f"[bold]forecast[/] {forecast}")
    with shown_progress(errors, settings.fx_database, plan.dates, lines=not as_json) as run_ended:
        result = plan.execute(settings, run_ended)
    _print(settings, plan, result, as_json=as_json)
    if result.failed:
        raise SystemExit(1)


def select_dates(
    start: dt.date,
    days: int | None,
    dates: Sequence[dt.date],
    first: dt.date | None,
    last: dt.date | None,
) -> set[dt.date]:
    """Return the days that the options select, from `start` on. Raise click's usage error."""
    if sum((days is not None, bool(dates), first is not None)) > 1:
        raise click.UsageError("Use only one of --days, --date and --from.")
    if last is not None and first is None:
        raise click.UsageError("--to needs --from.")
    if dates:
        selected = set(dates)
    elif first is not None:
        selected = set(date_range(first, last or yesterday()))
        if not selected:
            raise click.UsageError(f"--from {first} is after --to {last}.")
    else:
        newest = yesterday()
        selected = set(date_range(newest - dt.timedelta(days=(days or DEFAULT_DAYS) - 1), newest))
    early = {date for date in selected if date < start}
    if early == selected or (early and (dates or first)):
        raise click.UsageError(f"{min(early)} is before FX_START_DATE, {start}.")
    return selected - early


@dataclass(frozen=True, slots=True)
class IngestPlan:
    """What one ingest fetches, decided before Dagster is imported, which takes seconds."""

    selected: frozenset[dt.date]
    dates: frozenset[dt.date]
    """The days to fetch: the selected ones, without those that are skipped."""
    skip_stored: bool
    refetch_from: dt.date | None
    by_name: bool
    """Whether the dates were given one by one, so that the runs cover no days between them."""
    with_names: bool
    """Whether to fetch the names of the currencies too."""
    is_first: bool
    """Whether no day is stored yet."""

    @classmethod
    def of(
        cls, settings: Settings, selected: set[dt.date], *, missing: bool, revise: bool, by_name: bool
    ) -> "IngestPlan":
        """Return the plan for the selected days. Raise StoreError, also for another base or provider."""
        from fx_pipeline.store.store import RateStore

        with RateStore(settings.fx_database) as store:
            store.check_source(settings.fx_base, settings.known_provider)
            stored = store.stored_dates(min(selected), max(selected)) if missing else set()
            has_names, is_empty = store.has_names(), store.is_empty()
        refetch_from = yesterday() - dt.timedelta(days=settings.fx_revision_days) if revise else None
        skipped = {date for date in stored if refetch_from is None or date < refetch_from}
        return cls(
            frozenset(selected),
            frozenset(selected - skipped),
            missing,
            refetch_from,
            by_name,
            with_names=not has_names,
            is_first=is_empty,
        )

    def forecast(self, settings: Settings) -> "Forecast":
        """Return what the days need. Raise StoreError."""
        from fx_pipeline.ingestion.forecast import Forecast
        from fx_pipeline.ingestion.plan import plan_calls

        calls = plan_calls(self.dates, timeseries=settings.fixer_timeseries)
        endpoint = "timeseries" if settings.fixer_timeseries else "historical"
        skipped = len(self.selected) - len(self.dates)
        with open_ledger(settings) as ledger:
            return Forecast(calls, skipped, ledger.quota(), ledger.pace(endpoint))

    def want(self, settings: Settings) -> None:
        """Note that the selected days are wanted. Raise StoreError."""
        from fx_pipeline.store.store import RateStore

        with RateStore(settings.fx_database) as store:
            store.want(self.selected)

    def execute(self, settings: Settings, run_ended: "Callable[[RunReport], None]") -> "IngestResult":
        """Fetch the days. Warn if the quota is too small. Raise click's error if Dagster cannot run."""
        first_run_id = str(uuid4())
        if self.is_first and settings.demo:
            from fx_pipeline.commands.first_day import store_first_day

            store_first_day(settings, max(self.dates), first_run_id)
        from fx_pipeline.commands.runs import (
            RunError,
            materialise,
            materialise_symbols,
            planned,
        )
        from fx_pipeline.ingestion.plan import plan_calls, quota_warning
        from fx_pipeline.processes.dagster_home import open_instance

        runs = planned(self.dates, across_gaps=self.skip_stored and not self.by_name)
        # A series does not continue from one run into the next.
        calls = [call for run in runs for call in plan_calls(run, timeseries=settings.fixer_timeseries)]
        if (warning := quota_warning(calls, read_quota(settings))) is not None:
            errors.print(f"[bold yellow]quota[/]   {warning}")
        try:
            with open_instance(settings.dagster_home) as instance:
                reports = materialise(
                    instance,
                    runs,
                    skip_stored=self.skip_stored,
                    refetch_from=self.refetch_from,
                    ended=run_ended,
                    first_run_id=first_run_id,
                )
                untried = [date for run in runs[len(reports) :] for date in run]
                completed = not untried and not reports[-1].cancelled and not reports[-1].stops
                names_failure = None
                if self.with_names and completed and any(report.stored for report in reports):
                    names_failure = materialise_symbols(instance)
        except RunError as error:
            raise click.ClickException(str(error)) from None
        return IngestResult(reports, untried, names_failure)


@dataclass(frozen=True, slots=True)
class IngestResult:
    """The reports of an ingest's runs, the dates that no run tried, and why the names are missing."""

    reports: "Sequence[RunReport]"
    untried: Sequence[dt.date]
    names_failure: str | None

    @property
    def failed(self) -> bool:
        """Whether a day or the names could not be fetched."""
        return bool(self.names_failure or self.untried) or any(report.failure for report in self.reports)


def _print(settings: Settings, plan: IngestPlan, result: IngestResult, *, as_json: bool) -> None:
    from fx_pipeline.commands.reports import (
        failure_lines,
        ingest_document,
        stored_lines,
        symbol_lines,
        untried_lines,
    )
    from fx_pipeline.store.store import RateStore

    reports, untried, names_failure = result.reports, result.untried, result.names_failure
    with RateStore(settings.fx_database) as store:
        missing_symbols = store.missing_symbols(settings.fx_symbols)
    if as_json:
        document = ingest_document(reports, read_quota(settings), names_failure, untried, missing_symbols)
        click.echo(json.dumps(document, indent=2))
    else:
        for line in stored_lines(reports):
            console.print(line)
    for line in (*failure_lines(reports, names_failure), *symbol_lines(missing_symbols)):
        errors.print(line)
    if untried:
        rest = plan.dates - {date for report in reports for date in report.stored}
        for line in untried_lines(untried, rest, named=plan.by_name):
            errors.print(line)
