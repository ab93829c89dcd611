"""Checks the parameters of a canned query before Datasette runs it.

SQLite reads a date that does not exist as another one (29 February 2023 as 1 March), and Datasette ignores
unknown parameters. In both cases a client would get rows that it did not ask for. A range that ends before it
starts, a day in the future and an unknown currency would return no rows, where the API returns a 400.
"""

import contextlib
import datetime as dt
import re
from collections.abc import Collection
from urllib.parse import unquote

from datasette import Request
from datasette.utils import tilde_decode
from starlette.types import ASGIApp, Receive, Scope, Send

from fx_pipeline.api.datasette import FxDatasette
from fx_pipeline.api.endpoints.days import require_known
from fx_pipeline.api.endpoints.parameters import (
    Parameters,
    RateQuery,
    quoted,
    read_code,
    require_ordered,
)
from fx_pipeline.api.errors import INVALID_CURRENCY_CODES, INVALID_DATE, ApiError
from fx_pipeline.api.failures import refused
from fx_pipeline.api.reading.queries import DATABASE
from fx_pipeline.api.reading.reader import Size
from fx_pipeline.rates import NoSuchDate, parse_date
from fx_pipeline.sqlite import sqlite3

PAGE_PARAMETERS = {"rates_by_date": ("base",)}
"""Parameters of a query's page in addition to those of its SQL."""

_PATH = re.compile(rf"/{DATABASE}/([^/.]+)(\.[a-z]+)?/?")
_DATES = ("date", "start_date", "end_date", "month_start")
_INSTANTS = ("as_of", "since")
_TIME = re.compile(
    r"[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]+)?)? ?(Z|[+ -][0-9]{2}:[0-5][0-9])?",
    re.IGNORECASE,
)


class CannedQueries:
    """An ASGI application in front of `app` that refuses parameters which a canned query would misread."""

    def __init__(self, app: ASGIApp, datasette: FxDatasette) -> None:
        self.app = app
        self._datasette = datasette

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse parameters that a canned query would misread, and pass on the rest."""
        match = _PATH.fullmatch(unquote(scope["path"])) if scope["type"] == "http" else None
        if match is None or not scope["query_string"]:
            await self.app(scope, receive, send)
            return
        name, extension = tilde_decode(match[1]), match[2]
        await self._datasette.invoke_startup()
        queries = await self._datasette.get_canned_queries(DATABASE, None)
        try:
            if name in queries:
                known = (*queries[name]["params"], *(() if extension else PAGE_PARAMETERS.get(name, ())))
                query_string = scope["query_string"].decode("latin-1")
                # Names that start with an underscore are Datasette's own.
                parameters = Parameters.parse(query_string, self._datasette.clock())
                parameters.require_known(known, besides="_", what="endpoint" if extension else "page")
                await self._require_known(_check(parameters, known))
        except ApiError as error:
            # The page has no form, but Datasette's context asks for a function that makes CSRF tokens.
            request = Request({**scope, "csrftoken": str}, receive)
            response = await refused(self._datasette, request, error)
            await response.asgi_send(send)
            return
        await self.app(scope, receive, send)

    async def _require_known(self, codes: tuple[str, ...]) -> None:
        """Raise ApiError for a currency that was never stored."""
        if not codes:
            return
        with contextlib.suppress(sqlite3.Error):  # the canned query itself reports it
            await self._datasette.reader.run_unchecked(
                ("currencies", "latest_date"),
                lambda queries: require_known(queries, RateQuery(symbols=codes)),
                size=Size.SMALL,
            )


def _check(parameters: Parameters, known: Collection[str]) -> tuple[str, ...]:
    """Return the currencies that the parameters name.

    Raise ApiError for a parameter with two values, for a date that cannot be read or is in the future, for a
    range that ends before it starts, and for a bad currency code.
    """
    for name in known:
        parameters.text(name)
    dates = {name: _read_date(name, parameters.text(name)) for name in _DATES if name in known}
    today = parameters.now.date()
    for name, date in dates.items():
        if date and date > today:
            raise ApiError(INVALID_DATE, f"{name}: {date} is in the future: today is {today} (UTC).")
    start, end = dates.get("start_date"), dates.get("end_date")
    if start and end:
        require_ordered(start, end)
    for name in _INSTANTS:
        if name in known:
            _check_instant(name, parameters.text(name))
    if "symbols" in known:
        return parameters.symbols() or ()
    text = parameters.text("currency") if "currency" in known else ""
    return (read_code(text, quoted(text), INVALID_CURRENCY_CODES),) if text else ()


def _read_date(name: str, text: str) -> dt.date | None:
    try:
        return parse_date(text) if text else None
    except NoSuchDate as error:
        raise ApiError(INVALID_DATE, f"{name}: {error}.") from None
    except ValueError:
        raise ApiError(
            INVALID_DATE, f"{name}: {quoted(text)} is not a date of the form YYYY-MM-DD."
        ) from None


def _check_instant(name: str, text: str) -> None:
    _read_date(name, text[:10])
    if text[10:] and _TIME.fullmatch(text[10:]) is None:
        info = f"{name}: {quoted(text)} is neither a date nor a time such as 2026-01-31T12:00 (UTC)."
        raise ApiError(INVALID_DATE, info)
