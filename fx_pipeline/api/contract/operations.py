"""What the API does: its operations, and which errors each may be answered with.

The OpenAPI document, the page for people and the tools for assistants are all made from this list.
"""

from dataclasses import dataclass

from fx_pipeline.api import errors
from fx_pipeline.api.errors import Kind

KINDS = tuple(value for value in vars(errors).values() if isinstance(value, Kind))
"""Every kind of error there is."""

ALWAYS = (401, 403, 414, 500, 503)
"""The statuses that any question about rates may be answered with, whatever it asks."""

_DAY = (
    errors.INVALID_DATE,
    errors.NO_RATES_AVAILABLE,
    errors.INVALID_API_FUNCTION,
    errors.INVALID_PARAMETER,
)
_WANTED = (errors.INVALID_BASE_CURRENCY, errors.INVALID_CURRENCY_CODES)

ERRORS = {
    "Lists": (errors.INVALID_PARAMETER,),
    "Latest": (*_DAY, *_WANTED, errors.INVALID_CONVERSION_AMOUNT),
    "Days": (
        *_DAY,
        *_WANTED,
        errors.INVALID_CONVERSION_AMOUNT,
        errors.NO_TIMEFRAME_SUPPLIED,
        errors.INVALID_START_DATE,
        errors.INVALID_END_DATE,
        errors.INVALID_TIME_FRAME,
        errors.TIME_FRAME_TOO_LONG,
    ),
    "Conversion": (
        *_DAY,
        errors.INVALID_FROM_CURRENCY,
        errors.INVALID_TO_CURRENCY,
        errors.INVALID_CONVERSION_AMOUNT,
    ),
}
"""The kinds of error that operations have of their own, by the name under which `OPERATIONS` lists them.

A path that looks like a range is read as one: so questions about one day have those about ranges too.
"""

SECOND_NAMES = ("base_from", "symbols_to")
FORMS = ("format", "callback")

CSV_ROWS = (
    "Rows of `date,base,currency,rate` under a heading; an amount is a column after the base. The header "
    "`X-Missing-Rates` says what `missing` does in a document."
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing the API does: where, with which parameters, what it answers, and which errors are its own."""

    path: str
    name: str
    summary: str
    description: str
    answer: str
    """The name of the schema of a success."""
    parameters: tuple[str, ...] = ()
    errors: str | None = None

    @property
    def essential(self) -> tuple[str, ...]:
        """The parameters without those that only say the same in another way."""
        return tuple(name for name in self.parameters if name not in (*SECOND_NAMES, *FORMS))


_WHICH = ("base", "symbols", "as_of")
_ROWS = ("base", "base_from", "symbols", "symbols_to", "units", "as_of")
_RATES = (*_ROWS, *FORMS)

OPERATIONS = (
    Operation(
        "/rates/latest",
        "latest_rates",
        "The rates of the newest day",
        "Units of each currency for one unit of the base, on the newest stored day.",
        "Day",
        _RATES,
        "Latest",
    ),
    Operation(
        "/rates/{date}/",
        "rates_of_day",
        "The rates of one day",
        "Units of each currency for one unit of the base. Where nothing is stored of the day, a 404 names "
        "the nearest stored days.",
        "Day",
        ("day", *_RATES),
        "Days",
    ),
    Operation(
        "/rates/timeseries",
        "timeseries",
        "The rates of several days",
        "One day after another, oldest first; a day of which nothing is stored is not a key. The end must "
        "not lie before the start.",
        "Series",
        ("start_date", "end_date", *_RATES),
        "Days",
    ),
    Operation(
        "/rates/{start}..{end}/",
        "rates_of_range",
        "The same, with the range in the path",
        "As `timeseries`. The end must not lie before the start.",
        "Series",
        ("start", "end", *_RATES),
        "Days",
    ),
    Operation(
        "/rates/{start}../",
        "rates_since",
        "The same, from a day to the newest",
        "As `timeseries`, with the newest stored day as its end.",
        "Series",
        ("start", *_RATES),
        "Days",
    ),
    Operation(
        "/rates/convert",
        "convert",
        "An amount in another currency",
        "At the rate of one day, or of the newest. The answer names the rate and the day.",
        "Conversion",
        ("from", "to", "amount", "date", "as_of", *FORMS),
        "Conversion",
    ),
    Operation(
        "/rates/fluctuation",
        "fluctuation",
        "How much rates changed",
        "The rates of the first and of the last stored day of a range, their difference, and that in percent "
        "of the first. The end may lie before the start: the change is then the one backwards.",
        "Fluctuation",
        ("start_date", "end_date", *_WHICH, *FORMS),
        "Days",
    ),
    Operation(
        "/rates/symbols",
        "symbols",
        "Every currency and its name",
        "Every code of which a rate was ever stored.",
        "Symbols",
        FORMS,
        "Lists",
    ),
    Operation(
        "/rates/currencies",
        "currencies",
        "The same as a bare object",
        "As clients of other services expect it.",
        "Names",
        FORMS,
        "Lists",
    ),
    Operation(
        "/rates/latest.csv",
        "latest_rates_csv",
        "The rates of the newest day, for a spreadsheet",
        CSV_ROWS,
        "Csv",
        _ROWS,
        "Latest",
    ),
    Operation(
        "/rates/{date}.csv",
        "rates_of_day_csv",
        "The rates of one day, for a spreadsheet",
        CSV_ROWS,
        "Csv",
        ("day", *_ROWS),
        "Days",
    ),
    Operation(
        "/rates/{start}..{end}.csv",
        "rates_of_range_csv",
        "The rates of several days, for a spreadsheet",
        f"{CSV_ROWS} The end must not lie before the start.",
        "Csv",
        ("start", "end", *_ROWS),
        "Days",
    ),
    Operation(
        "/rates/",
        "index",
        "What there is",
        "The newest and the oldest stored day, and a link to each endpoint.",
        "Index",
        FORMS,
        "Lists",
    ),
    Operation(
        "/rates/openapi.json",
        "openapi",
        "This API, for programs",
        "An OpenAPI 3.1 document of this instance: the currencies and days that it has.",
        "OpenApi",
        FORMS,
        "Lists",
    ),
    Operation(
        "/rates/docs/",
        "docs",
        "This API, for people",
        "A page, with answers as they are now.",
        "Html",
    ),
    Operation(
        "/-/health",
        "health",
        "Whether the API works",
        "For supervisors: whether the process is up and the database can be read, with what is stored. Needs "
        "no token.",
        "Health",
    ),
    Operation(
        "/-/health/freshness",
        "freshness",
        "Whether the data is current",
        "503 when the newest stored day is too old. Needs no token. (A restart brings no data.)",
        "Freshness",
    ),
)
