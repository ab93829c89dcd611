"""The groups of operations: by subject (tags), and by the errors that they may return."""

from fx_pipeline.api.endpoints.operation import ErrorGroup, Tag
from fx_pipeline.api.errors import (
    INVALID_API_FUNCTION,
    INVALID_BASE_CURRENCY,
    INVALID_CONVERSION_AMOUNT,
    INVALID_CURRENCY_CODES,
    INVALID_DATE,
    INVALID_END_DATE,
    INVALID_FROM_CURRENCY,
    INVALID_PARAMETER,
    INVALID_START_DATE,
    INVALID_TIME_FRAME,
    INVALID_TO_CURRENCY,
    NO_RATES_AVAILABLE,
    NO_TIMEFRAME_SUPPLIED,
    TIME_FRAME_TOO_LONG,
)

DAYS = Tag("days", "The rates of one day.")
RANGES = Tag("ranges", "The rates of several days, and how much they changed.")
CONVERSION = Tag("conversion", "Amounts in another currency.")
CURRENCIES = Tag("currencies", "The stored currencies.")
SPREADSHEETS = Tag("spreadsheets", "The same rates as CSV.")
ABOUT = Tag("about", "This API, described by itself.")
MONITORING = Tag("monitoring", "For Prometheus.")
HEALTH = Tag("health", "For supervisors and monitoring. Needs no token.")

_DAY = (INVALID_DATE, NO_RATES_AVAILABLE, INVALID_API_FUNCTION, INVALID_PARAMETER)
_RATES = (INVALID_BASE_CURRENCY, INVALID_CURRENCY_CODES, INVALID_CONVERSION_AMOUNT)

LIST_ERRORS = ErrorGroup("Lists", (INVALID_PARAMETER,))
LATEST_ERRORS = ErrorGroup("Latest", (*_DAY, *_RATES))
DAYS_ERRORS = ErrorGroup(
    "Days",
    (
        *LATEST_ERRORS.kinds,
        NO_TIMEFRAME_SUPPLIED,
        INVALID_START_DATE,
        INVALID_END_DATE,
        INVALID_TIME_FRAME,
        TIME_FRAME_TOO_LONG,
    ),
)
"""A path that looks like a range is read as one, so a request for one day may return these too."""
CONVERSION_ERRORS = ErrorGroup(
    "Conversion", (*_DAY, INVALID_FROM_CURRENCY, INVALID_TO_CURRENCY, INVALID_CONVERSION_AMOUNT)
)
