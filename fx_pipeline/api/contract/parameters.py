"""The parameters of the operations."""

from fx_pipeline.api.endpoints.operation import Parameter, Schema, Stored
from fx_pipeline.api.endpoints.parameters import LARGEST_AMOUNT, SMALLEST_AMOUNT


def ref(kind: str, name: str) -> Schema:
    """Return a reference to a component of the OpenAPI document."""
    return {"$ref": f"#/components/{kind}/{name}"}


def _first(stored: Stored) -> str:
    return stored.last_days[0]


def _last(stored: Stored) -> str:
    return stored.last_days[1]


_DATE, _CURRENCY = ref("schemas", "Date"), ref("schemas", "Currency")
_CURRENCIES: Schema = {"type": "array", "items": _CURRENCY}
_INSTANT: Schema = {"anyOf": [ref("schemas", "Date"), ref("schemas", "Instant")]}
_AMOUNT: Schema = {"type": "number", "minimum": float(SMALLEST_AMOUNT), "maximum": float(LARGEST_AMOUNT)}
_SWITCH: Schema = {"type": "integer", "minimum": 0, "maximum": 1}

DAY = Parameter(
    "date",
    "The day.",
    _DATE,
    _last,
    place="path",
    required=True,
    component="day",
)
START = Parameter("start", "The first day.", _DATE, _first, place="path", required=True)
END = Parameter("end", "The last day.", _DATE, _last, place="path", required=True)
START_DATE = Parameter("start_date", "The first day.", _DATE, _first, required=True)
END_DATE = Parameter("end_date", "The last day.", _DATE, _last, required=True)
DATE = Parameter("date", "The day. Default: the latest.", _DATE, _last)
FROM = Parameter(
    "from",
    "The currency of the amount.",
    _CURRENCY,
    lambda stored: stored.usual_codes[1 % len(stored.usual_codes)],
    required=True,
)
TO = Parameter(
    "to", "The currency to convert to.", _CURRENCY, lambda stored: stored.usual_codes[0], required=True
)
AMOUNT = Parameter("amount", "The amount.", _AMOUNT, lambda _: 25, required=True)
UNITS = Parameter(
    "amount",
    "The rates are for this many units of the base. Default: one.",
    _AMOUNT,
    lambda _: 100,
    component="units",
)
BASE = Parameter(
    "base",
    "The base of all rates. Default: the stored base.",
    _CURRENCY,
    lambda stored: stored.usual_codes[0],
)
BASE_FROM = Parameter(
    "from",
    "Frankfurter's name for `base`.",
    _CURRENCY,
    lambda stored: stored.usual_codes[0],
    essential=False,
    component="base_from",
)
SYMBOLS = Parameter(
    "symbols",
    "Only these currencies, in this order. Default: all, in alphabetical order.",
    _CURRENCIES,
    lambda stored: stored.usual_codes[-2:],
)
SYMBOLS_TO = Parameter(
    "to",
    "Frankfurter's name for `symbols`.",
    _CURRENCIES,
    lambda stored: stored.usual_codes[-2:],
    essential=False,
    component="symbols_to",
)
AS_OF = Parameter(
    "as_of",
    "The data as known at this instant, or at the end of this day (UTC).",
    _INSTANT,
    lambda stored: stored.today.isoformat() if stored.today else stored.last_days[1],
)
FORMAT = Parameter(
    "format",
    "1: indented, for people.",
    _SWITCH,
    lambda _: 1,
    essential=False,
)
CALLBACK_NAME = Parameter(
    "callback",
    "JSONP: the document as a script that calls this function; errors also have status 200. Only for "
    "pages of other sites, and only without a token.",
    {"type": "string"},
    lambda _: "show",
    essential=False,
)
WIDE = Parameter(
    "wide",
    "1: a row for each day, with a column for each currency.",
    _SWITCH,
    lambda _: 1,
    essential=False,
)

WHICH_RATES = (BASE, BASE_FROM, SYMBOLS, SYMBOLS_TO, UNITS, AS_OF)
"""Which rates, in any form."""

FORM = (FORMAT, CALLBACK_NAME)
"""The form of a document."""

CSV_RATES = (*WHICH_RATES, WIDE)
"""Which rates, as rows, and the form of the rows."""

RATES = (*WHICH_RATES, *FORM)
"""Which rates, as a document, and its form."""
