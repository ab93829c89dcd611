"""Which endpoint a path under ``/rates/`` is of, what that reads, and which parameters it has."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fx_pipeline.api.endpoints import endpoints
from fx_pipeline.api.endpoints.parameters import BASE_NAMES, SYMBOLS_NAMES, Parameters, quoted
from fx_pipeline.api.errors import INVALID_API_FUNCTION, ApiError
from fx_pipeline.api.replies import Reply

RATES_OF_DAY = 200
"""What one day without `symbols` is estimated to hold: Fixer has about 170 currencies."""

RATES_OF_PAGE = 5_000
"""The estimate for what takes as long as a page."""


def _none(parameters: Parameters, **parts: str | None) -> int:
    return 0


def _of_page(parameters: Parameters, **parts: str | None) -> int:
    return RATES_OF_PAGE


def _of_series(parameters: Parameters, *, start: str = "", end: str = "", csv: str | None = None) -> int:
    try:
        if start:
            first, last = parameters.date(start), parameters.date(end) if end else parameters.now.date()
        else:
            first, last = parameters.range()
        symbols = parameters.symbols()
    except ApiError:
        return 0  # it is refused before anything is read
    days = (last - first).days + 1
    return days * (len(symbols) + 1) if symbols else days * RATES_OF_DAY


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A function of `endpoints`, and the canned queries it reads: who may not see these, may not see it.

    `rates` estimates how many rates it reads in addition to one whole day.
    """

    answer: Callable[..., Reply]
    queries: tuple[str, ...]
    rates: Callable[..., int]
    parameters: tuple[str, ...]

    def known(self, parts: Mapping[str, str | None]) -> tuple[str, ...]:
        """Return the parameters that it has, for a path with these parts: rows have no other form."""
        return self.parameters if parts.get("csv") else (*self.parameters, *RENDERING)


RENDERING = ("format", "callback")
"""The parameters that choose the form of a document, which every one may have."""

_LOOKUPS = ("symbols", "latest_date", "stored_days")
_SERIES = ("rates_by_range", "rate_history", *_LOOKUPS)
_DATE = "[0-9.-]*?"
_WANTED = (*BASE_NAMES, *SYMBOLS_NAMES, "amount", "as_of")
_FRAME = ("start_date", "end_date")

ROUTES = [
    (re.compile(pattern), Endpoint(answer, queries, rates, parameters))
    for pattern, answer, queries, rates, parameters in (
        ("", endpoints.index, ("latest_date",), _none, ()),
        ("symbols", endpoints.symbols, ("symbols",), _none, ()),
        ("currencies", endpoints.currencies, ("symbols",), _none, ()),
        (r"openapi\.json", endpoints.description, ("symbols", "latest_date"), _of_page, ()),
        ("timeseries", endpoints.timeseries, _SERIES, _of_series, (*_FRAME, *_WANTED)),
        (
            "convert",
            endpoints.convert,
            ("rates_by_date", *_LOOKUPS),
            _none,
            ("from", "to", "amount", "date", "as_of"),
        ),
        (
            "fluctuation",
            endpoints.fluctuation,
            ("rates_by_date", *_LOOKUPS),
            _of_page,
            (*_FRAME, "base", "symbols", "as_of"),
        ),
        (
            rf"(?P<start>{_DATE})\.\.(?P<end>{_DATE})(?P<csv>\.csv)?",
            endpoints.date_range,
            _SERIES,
            _of_series,
            _WANTED,
        ),
        (
            rf"(?P<date>latest|{_DATE})(?P<csv>\.csv)?",
            endpoints.date,
            ("rates_by_date", *_LOOKUPS),
            _none,
            _WANTED,
        ),
    )
]


def find(path: str) -> tuple[Endpoint, dict[str, str | None]]:
    """Return the endpoint of a path under ``/rates/``, and the parts of the path that it is given.

    Raises ApiError where there is none.
    """
    for pattern, endpoint in ROUTES:
        match = pattern.fullmatch(path)
        if match:
            return endpoint, match.groupdict()
    info = f"There is nothing at /rates/{quoted(path)[1:-1]}. /rates/ lists what there is."
    raise ApiError(INVALID_API_FUNCTION, info)
