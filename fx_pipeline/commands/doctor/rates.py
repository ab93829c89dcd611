"""Checks of the stored rates and the month's quota, as `status` judges them."""

from collections.abc import Iterator

from fx_pipeline.clock import today
from fx_pipeline.commands.database import read_quota
from fx_pipeline.commands.doctor.facts import Facts
from fx_pipeline.commands.doctor.findings import Finding, fault, ok, warning
from fx_pipeline.rates import counted


def rates(facts: Facts) -> Iterator[Finding]:
    """Check that the newest day is recent, no wanted day is missing, and every wanted currency is there."""
    settings = facts.settings
    with facts.stored() as store:
        coverage, missing_symbols = store.coverage(), store.missing_symbols(settings.fx_symbols)
        content = store.content_age()
    if coverage.last is None:
        yield fault("rates", "no day is stored", "Run `fx-pipeline ingest`, and see why it fails.")
        return
    age = (today() - coverage.last).days
    wrong = []
    if age > settings.fx_max_age_days:
        text = f"the newest day, {coverage.last}, is {counted(age, 'day')} old"
        allowed = f"FX_MAX_AGE_DAYS allows {settings.fx_max_age_days}"
        remedy = "See the lines `daemon` and `last run`, or fetch it with `fx-pipeline ingest --missing`."
        wrong.append(fault("rates", f"{text}. {allowed}", remedy))
    if content and content.state == "frozen":
        repeated = counted(content.business_days, "business day")
        text = f"the provider sends old rates: those of {content.unchanged_since} again for {repeated}"
        remedy = "Ask the provider, and refetch the later days when its rates change again."
        wrong.append(fault("rates", text, remedy))
    if missing := sum((last - first).days + 1 for first, last in coverage.gaps):
        first, last = coverage.gaps[0][0], coverage.gaps[-1][1]
        are = "is" if missing == 1 else "are"
        text = f"{counted(missing, 'day')} {are} missing between {first} and {last}"
        remedy = f"Run `fx-pipeline ingest --from {first} --to {last} --missing`."
        wrong.append(fault("rates", text, remedy))
    for code, reason in missing_symbols.items():
        text = f"{code} in FX_SYMBOLS: {reason}"
        wrong.append(fault("rates", text, "Correct or remove it in FX_SYMBOLS."))
    yield from wrong or [ok("rates", f"{counted(coverage.days, 'day')}, the newest is {coverage.last}")]


def quota(facts: Facts) -> Iterator[Finding]:
    """Check how many calls of the month are left."""
    settings = facts.settings
    if settings.fixer_monthly_quota is None:
        if settings.known_provider == "fixer":
            yield warning(
                "quota",
                "FIXER_MONTHLY_QUOTA is not set, so a backfill may use up the plan's calls",
                "Set it to the calls that your plan allows in a month.",
            )
        else:
            yield ok("quota", "FIXER_MONTHLY_QUOTA is not set")
        return
    facts.require_database()
    found = read_quota(settings, writing=False)
    assert found is not None  # noqa: S101  # there is a limit
    used = f"{found.used:,} of the month's {found.limit:,} calls are used. It renews on {found.renewed_on}"
    if found.used >= found.limit:
        yield fault("quota", used, "Wait until then, or upgrade the plan and set FIXER_MONTHLY_QUOTA.")
    elif found.nearly_used:
        yield warning("quota", used, f"{found.left(daily=True):,} are left for the daily runs.")
    else:
        yield ok("quota", used)
