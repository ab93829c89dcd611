"""The command `fx-pipeline`. Each subcommand imports what it needs when it runs, so that all start fast.

Exit codes: 0 all done; 1 something failed, and the output says what; 2 the command or a setting is wrong.
"""

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import Progress

from fx_pipeline.fetch import Fetch
from fx_pipeline.rates import date_range, parse_date
from fx_pipeline.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from fx_pipeline.commands.tokens import Access
    from fx_pipeline.store.ledger import Quota
    from fx_pipeline.store.store import RateStore

console = Console(highlight=False, soft_wrap=True)
errors = Console(highlight=False, soft_wrap=True, stderr=True)

_MAKE_DATABASE = "from fx_pipeline.commands.cli import make_database; make_database()"


class Date(click.ParamType[dt.date]):
    """A day, `YYYY-MM-DD`, that is over (UTC)."""

    name = "date"

    def convert(
        self, value: str | dt.date, param: click.Parameter | None, ctx: click.Context | None
    ) -> dt.date:
        """The day; click's usage error if it is none, or not yet over."""
        if isinstance(value, dt.date):
            return value
        try:
            date = parse_date(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        if date > _yesterday():
            self.fail(
                f"{value} is not over yet: the newest day that can be fetched is {_yesterday()} (UTC).",
                param,
                ctx,
            )
        return date


class Commands(click.Group):
    """The group: one line for a setting that cannot be used (exit code 2) or a file that cannot (1)."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            raise click.UsageError(str(error)) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            from fx_pipeline.store.database import StoreError

            if isinstance(error, StoreError):
                raise click.ClickException(str(error)) from None
            raise


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="fx-pipeline")
def main() -> None:
    """Daily exchange rates: fetched once from Fixer, kept with their revisions in SQLite, served for ever."""


@main.command()
def up() -> None:
    """Run everything, here, until Ctrl-C.

    Starts the sandbox if no key is set, Dagster (UI and daemon) and the API; fetches the days that are
    missing of the last 10 (of the last 90 from the sandbox, where they cost nothing).
    """
    from fx_pipeline.processes.up import check_ports, report_killed, run_all

    settings = load_settings()
    report_killed(settings)
    check_ports(settings)

    from fx_pipeline.commands.runs import only_servers
    from fx_pipeline.store.database import open_database

    open_database(settings.fx_database).close()

    with only_servers(settings.dagster_home):
        raise SystemExit(run_all(settings))


@main.command()
@click.option("--days", type=click.IntRange(1), help="The last N days. The default, with 10.")
@click.option("--date", "dates", type=Date(), multiple=True, help="This day; can be repeated.")
@click.option("--from", "first", type=Date(), help="All days from this one on.")
@click.option("--to", "last", type=Date(), help="With --from: up to this day, yesterday if not given.")
@click.option("--missing", is_flag=True, help="Leave out the days that are stored.")
@click.option(
    "--revise",
    is_flag=True,
    help="With --missing: but not yesterday and the FX_REVISION_DAYS days before it.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def ingest(
    days: int | None,
    dates: tuple[dt.date, ...],
    first: dt.date | None,
    last: dt.date | None,
    missing: bool,
    revise: bool,
    as_json: bool,
) -> None:
    """Fetch days through Dagster, here and now; the UI shows each run.

    Newest days first, in runs as long as a backfill's. Exits with 1 if a day could not be fetched; those that
    could are stored.
    """
    settings = load_settings()
    wanted = _wanted(settings, days, dates, first, last)
    settings.require_key()
    with _open_store(settings) as store:
        store.check_source(settings.fx_base, settings.known_provider)
        stored = store.stored_dates(min(wanted), max(wanted)) if missing else set()
        unnamed = not store.has_names()
    _say(f"Database {settings.fx_database}, Dagster's home {settings.dagster_home}.")
    window = _yesterday() - dt.timedelta(days=settings.fx_revision_days)
    kept = {date for date in stored if not (revise and date >= window)}
    if not wanted - kept:
        errors.print(f"All {len(wanted)} days are stored already; nothing was asked.")
        if as_json:
            lists: dict[str, object] = {"stored": {}, "runs": [], "not_tried": []}
            click.echo(json.dumps({**lists, "symbols_failure": None, "missing_symbols": {}, "quota": None}))
        return

    from fx_pipeline.commands.progress import shown_progress

    left = wanted - kept
    with shown_progress(errors, settings.fx_database, left, lines=not as_json) as run_ended:
        # Dagster takes seconds to import: the progress is shown first.
        from fx_pipeline.commands.reports import (
            failure_lines,
            ingest_document,
            stored_lines,
            symbol_lines,
            untried_lines,
        )
        from fx_pipeline.commands.runs import (
            RunError,
            materialise,
            materialise_symbols,
            open_instance,
            planned,
        )
        from fx_pipeline.ingestion.plan import plan_calls, quota_warning

        runs = planned(left, across_gaps=missing and not dates)
        # A series does not reach from one run into another.
        asked = [one for run in runs for one in plan_calls(run, timeseries=settings.fixer_timeseries)]
        if (short := quota_warning(asked, _quota(settings))) is not None:
            errors.print(f"[bold yellow]quota[/]   {short}")
        try:
            with open_instance(settings.dagster_home) as instance:
                reports = materialise(
                    instance,
                    runs,
                    skip_stored=missing,
                    refetch_from=window if revise else None,
                    ended=run_ended,
                )
                whole = len(reports) == len(runs) and not reports[-1].cancelled and not reports[-1].stops
                named = not unnamed or not whole or not any(report.stored for report in reports)
                failure = None if named else materialise_symbols(instance)
        except RunError as error:
            raise click.ClickException(str(error)) from None
    untried = [date for run in runs[len(reports) :] for date in run]
    with _open_store(settings) as store:
        missing_symbols = store.missing_symbols(settings.fx_symbols)
    if as_json:
        document = ingest_document(reports, _quota(settings), failure, untried, missing_symbols)
        click.echo(json.dumps(document, indent=2))
    else:
        for line in stored_lines(reports):
            console.print(line)
    for line in (*failure_lines(reports, failure), *symbol_lines(missing_symbols)):
        errors.print(line)
    if untried:
        rest = left - {date for report in reports for date in report.stored}
        for line in untried_lines(untried, rest, named=bool(dates)):
            errors.print(line)
    if failure or untried or any(report.failure for report in reports):
        raise SystemExit(1)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="Default: FX_API_PORT.")
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that answer."
)
@click.option("--access-log", is_flag=True, help="A line per request; no key or token is in it. Costs speed.")
def serve(host: str, port: int | None, workers: int, access_log: bool) -> None:
    """Serve the API from the database file, which `ingest` or `up` has made."""
    settings = _existing(load_settings())

    from fx_pipeline.api.reading.served import ServeError
    from fx_pipeline.api.server import serve as run
    from fx_pipeline.api.tokens.file import TokenError

    try:
        _make_database()
        run(host, port or settings.fx_api_port, workers, access_log=access_log)
    except (ServeError, TokenError) as error:
        raise SettingsError(str(error)) from None


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="Default: FX_DAGSTER_PORT.")
def webserver(host: str, port: int | None) -> None:
    """Serve the Dagster UI, closed to web pages of other sites.

    With FX_DAGSTER_PASSWORD it asks for that password. Without, it only listens on this machine.
    """
    settings = load_settings()

    from fx_pipeline.dagster_ui.webserver import run

    run(settings, host, port or settings.fx_dagster_port)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="Default: FX_SANDBOX_PORT.")
@click.option(
    "--plan",
    type=click.Choice(["free", "basic", "professional", "plus"]),
    default="plus",
    show_default=True,
    help="What may be called, as on Fixer's plans.",
)
@click.option("--quota", type=click.IntRange(1), help="Calls until error 104. Default: none.")
@click.option("--latency", type=click.FloatRange(0), default=0.0, help="Seconds before each answer.")
@click.option(
    "--fault", "faults", multiple=True, metavar="KIND=RATE", help="A share of wrong answers; repeatable."
)
@click.option("--seed", type=int, default=0, help="Which answers are wrong.")
@click.option(
    "--errors",
    type=click.Choice(["legacy", "strict"]),
    default="legacy",
    show_default=True,
    help="Errors inside HTTP 200, or with a 4xx status.",
)
@click.option("--key", help="The only key that is good. Default: any.")
@click.option(
    "--failed-calls-count/--no-failed-calls-count",
    default=True,
    show_default=True,
    help="Whether calls that bring no data use up the quota. (Fixer does not say.)",
)
@click.option(
    "--out-of-range-code",
    type=click.Choice(["302", "106"]),
    default="302",
    show_default=True,
    help="What a date before 1999 or after today is answered. (Sources differ.)",
)
@click.option(
    "--series-days",
    type=click.IntRange(1, 365),
    default=365,
    show_default=True,
    help="The most days of a timeseries, first and last included; error 505 above.",
)
@click.option(
    "--currencies",
    type=click.IntRange(0, 700),
    default=0,
    help="Fill each day up to so many currencies, with made-up ones. Default: none.",
)
def sandbox(
    host: str,
    port: int | None,
    plan: str,
    quota: int | None,
    latency: float,
    faults: tuple[str, ...],
    seed: int,
    errors: str,
    key: str | None,
    failed_calls_count: bool,
    out_of_range_code: str,
    series_days: int,
    currencies: int,
) -> None:
    """Run a local Fixer: its protocol over the European Central Bank's daily history.

    It stands in for Fixer where there is no key or no network. After the history's last day its values are
    made up.
    """
    from fx_pipeline.fixer.sandbox.app import SandboxOptions
    from fx_pipeline.fixer.sandbox.app import serve as serve_sandbox
    from fx_pipeline.fixer.sandbox.faults import parse_faults

    try:
        options = SandboxOptions(
            plan=plan,  # type: ignore[arg-type]  # click has checked it
            quota=quota,
            latency=latency,
            faults=parse_faults(faults),
            seed=seed,
            errors=errors,  # type: ignore[arg-type]
            key=key,
            failed_calls_count=failed_calls_count,
            out_of_range_code=int(out_of_range_code),  # type: ignore[arg-type]
            series_days=series_days,
            currencies=currencies,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    port = port or load_settings().fx_sandbox_port
    try:
        serve_sandbox(options, host, port)
    except OSError as error:
        raise SettingsError(
            f"The sandbox cannot listen on {host}:{port}: {error.strerror}. "
            "Set FX_SANDBOX_PORT to a free port."
        ) from None


@main.command()
def rebuild() -> None:
    """Make the rates again from the stored answers, without one call.

    Fetches that are dated in the future, because the clock was ahead, are dated just before now.

    Nothing is lost if it is interrupted: the tables are replaced all at once.
    """
    from fx_pipeline.fixer.errors import FixerError
    from fx_pipeline.fixer.parsing import parse_stored

    refused: list[Fetch] = []

    def read(answer: Fetch) -> Fetch:
        answer = parse_stored(answer)
        if answer.status != "ok":
            refused.append(answer)
        return answer

    settings = _existing(load_settings())
    _say(f"Database {settings.fx_database}.")
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    with _open_store(settings) as store, bar as progress:
        ahead = store.ahead()
        task = progress.add_task("Reading answers", total=store.coverage().fetches)
        try:
            count = store.rebuild(read, lambda done: progress.update(task, completed=done))
        except FixerError as error:
            raise click.ClickException(f"Nothing was changed. {error}") from None
    console.print(f"The rates were made again from {count - len(refused)} answers.")
    if ahead.count:
        console.print(f"Fetches that were dated in the future and are dated now: {ahead.count:,}.")
    for answer in refused:
        dates = f"{answer.start_date} to {answer.end_date}"
        console.print(f"Left out: {dates}: {answer.status}. Fetch these days again.", soft_wrap=True)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def status(as_json: bool) -> None:
    """Show what is stored, what is missing, how fresh it is, and how the last run ended."""
    from fx_pipeline.commands.reports import status_document, status_lines
    from fx_pipeline.commands.runs import last_run
    from fx_pipeline.commands.tokens import Access

    settings = _existing(load_settings())
    with _open_store(settings) as store:
        coverage = store.coverage()
        missing_symbols, ahead = store.missing_symbols(settings.fx_symbols), store.ahead()
    run = last_run(settings.dagster_home)
    today, access = _yesterday() + dt.timedelta(1), Access(settings).state()
    document = status_document(
        settings, coverage, _quota(settings), run, today, access, missing_symbols, ahead
    )
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        for line in status_lines(document):
            console.print(line)


@main.group()
def token() -> None:
    """Make, list and revoke API tokens.

    As soon as one is made, the API asks everybody for a token, and goes on asking when the last one has been
    revoked. `token off` ends that.
    """


@token.command("create")
@click.argument("name")
def create_token(name: str) -> None:
    """Make a token and print it.

    It cannot be shown again: only its hash is kept.
    """
    with _access() as access:
        before = access.state()
        click.echo(access.create(name))
    errors.print(f"This is the token of {name}. It cannot be shown again: only its hash is kept.")
    if before.problem:
        errors.print("The tokens are trusted as they are now: `fx-pipeline token list` shows them all.")
    elif before.mode == "open":
        errors.print("It is the first: from now on the API asks everybody for a token.")


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def list_tokens(as_json: bool) -> None:
    """Show all tokens, revoked ones too, and their use."""
    with _access() as access:
        records, access_state = access.records(), access.state()
    if as_json:
        click.echo(json.dumps([asdict(record) for record in records], indent=2))
        return
    width = max((len(record.name) for record in records), default=0)
    for record in records:
        state = f"revoked {record.revoked_at}" if record.revoked_at else "valid"
        last = f", last {record.last_used_at}" if record.last_used_at else ""
        made = f"made {record.created_at}  {state:<28}"
        click.echo(f"{record.name:<{width}}  {made}  {record.requests} requests{last}")
    if access_state.problem:
        errors.print(access_state.problem)
    elif not access_state.valid:
        whom = "everybody" if access_state.mode == "open" else "nobody"
        errors.print(f"No token is valid: the API answers {whom}.")


@token.command("revoke")
@click.argument("name")
def revoke_token(name: str) -> None:
    """Make a token worthless, at once and everywhere."""
    with _access() as access:
        left = access.revoke(name)
    errors.print(f"The token of {name} is revoked.")
    if left == 0:
        errors.print(
            "It was the last: the API answers nobody now. `fx-pipeline token create` makes another; "
            "`fx-pipeline token off` opens the API to everybody."
        )


@token.command("off")
def forget_tokens() -> None:
    """Forget all tokens: the API is open again."""
    with _access() as access:
        count = access.off()
    errors.print(f"{count} {'token is' if count == 1 else 'tokens are'} forgotten.")
    if load_settings().fx_require_token:
        errors.print("FX_REQUIRE_TOKEN is set: the API still asks for a token, and there is none.")
    else:
        errors.print("The API answers everybody.")


@contextmanager
def _access() -> Iterator["Access"]:
    """Yield the tokens of the installation; raise click's error for what cannot be done with them."""
    from fx_pipeline.api.tokens.file import TokenError
    from fx_pipeline.commands.tokens import Access

    settings = _existing(load_settings())
    access = Access(settings)
    _say(f"Database {settings.fx_database}, tokens {settings.tokens_database}.")
    try:
        access.keep_mark()
        yield access
    except TokenError as error:
        raise click.ClickException(str(error)) from None


def _existing(settings: Settings) -> Settings:
    """Return the settings. Raise SettingsError where their database does not exist: it is not made here."""
    if not settings.fx_database.exists():
        raise SettingsError(
            f"There is no database at {settings.fx_database}. Run this in the folder where "
            "`fx-pipeline up` or `ingest` made it, or set FX_DATABASE to its path."
        )
    return settings


def _say(line: str) -> None:
    """Print what the command works on, where it disturbs no program that reads the output."""
    click.echo(line, err=True)


def _yesterday() -> dt.date:
    return dt.datetime.now(dt.timezone.utc).date() - dt.timedelta(days=1)


def _wanted(
    settings: Settings,
    days: int | None,
    dates: Sequence[dt.date],
    first: dt.date | None,
    last: dt.date | None,
) -> set[dt.date]:
    if sum((days is not None, bool(dates), first is not None)) > 1:
        raise click.UsageError("Give one of --days, --date and --from.")
    if last is not None and first is None:
        raise click.UsageError("--to needs --from.")
    if dates:
        wanted = set(dates)
    elif first is not None:
        wanted = set(date_range(first, last or _yesterday()))
        if not wanted:
            raise click.UsageError(f"--from {first} is after --to {last}.")
    else:
        wanted = set(date_range(_yesterday() - dt.timedelta(days=(days or 10) - 1), _yesterday()))
    early = {date for date in wanted if date < settings.fx_start_date}
    if early == wanted or (early and (dates or first)):
        raise click.UsageError(f"{min(early)} is before FX_START_DATE, {settings.fx_start_date}.")
    return wanted - early


def _quota(settings: Settings) -> "Quota | None":
    from fx_pipeline.store.ledger import Ledger

    with Ledger(
        settings.fx_database, limit=settings.fixer_monthly_quota, daily_calls=settings.daily_calls
    ) as ledger:
        return ledger.quota()


def make_database() -> None:
    """Make the database and bring it up to date, and with it the mark that tokens are on.

    Raises SettingsError, StoreError or TokenError.
    """
    from fx_pipeline.commands.tokens import Access
    from fx_pipeline.store.database import open_database

    settings = load_settings()
    open_database(settings.fx_database).close()
    Access(settings).keep_mark()


def _make_database() -> None:
    """Call `make_database` in a process of its own.

    Where pandas is installed sqlite-utils loads it: 40 MB, which the server would have for good.
    """
    made = subprocess.run([sys.executable, "-c", _MAKE_DATABASE], check=False, capture_output=True)
    if made.returncode:
        make_database()  # says why


def _open_store(settings: Settings) -> "RateStore":
    from fx_pipeline.store.store import RateStore

    return RateStore(settings.fx_database)
