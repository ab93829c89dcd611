"""Reads the days and series for a handler, by the canned queries, or raises an error that says why not.

A currency that was never stored is a 400 that names it. A currency without a rate on the requested days is
reported with its first and last day: in the response, or in a 404 if the response would have no rate at all.
"""

import datetime as dt
import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from fx_pipeline.api.endpoints.bodies import OneCurrency
from fx_pipeline.api.endpoints.parameters import AsOf, RateQuery
from fx_pipeline.api.errors import (
    INVALID_BASE_CURRENCY,
    INVALID_CURRENCY_CODES,
    NO_RATES_AVAILABLE,
    TIME_FRAME_TOO_LONG,
    ApiError,
    ErrorKind,
)
from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.rates import rebase

MOST_RATES = 200_000
"""The most rates in one response."""


Row = tuple[str, str, float]
"""A date, a currency, its rate."""


class Day(NamedTuple):
    """The stored rates of one day, all of them, for one unit of the stored base."""

    date: str
    base: str
    timestamp: int
    rates: Mapping[str, float]


class StoredDays(NamedTuple):
    """A summary of the stored days of a range: a row of the canned query `stored_days`."""

    base: str | None
    first: str | None
    last: str | None
    days: int
    rates: int
    before: str | None
    after: str | None


class Lifespan(NamedTuple):
    """The first and the last stored day with a rate of a currency."""

    first_date: str
    last_date: str


Lifespans = Mapping[str, Lifespan]
"""Currencies and the days between which they have rates."""


class Series(NamedTuple):
    """The requested rates of each day of a range that has any, oldest first, and its last stored day.

    `missing` holds the requested currencies without a rate on some of the stored days.
    """

    base: str
    last: str
    days: Mapping[str, Mapping[str, float]]
    missing: Lifespans


def stored_days(queries: Queries, start: dt.date, end: dt.date | None, as_of: AsOf | None) -> StoredDays:
    """Return a summary of the stored days from `start` to `end`, or to the newest."""
    ((*row,),) = queries.rows(
        "stored_days", start_date=start.isoformat(), end_date=_text(end), as_of=_instant(as_of)
    )
    return StoredDays(*row)


def read_day(queries: Queries, date: dt.date | None, wanted: RateQuery) -> Day:
    """Return one day, or the newest. Raise ApiError, with the nearest days, if it is not stored."""
    rows = queries.rows("rates_by_date", date=_text(date), as_of=_instant(wanted.as_of))
    if rows:
        day, base, timestamp, *_ = rows[0]
        return Day(day, base, timestamp, {currency: rate for _, _, _, currency, rate in rows})
    require_known(queries, wanted)
    if date is None:
        raise ApiError(NO_RATES_AVAILABLE, f"No rates {_verb(wanted.as_of)}.")
    raise nothing_stored(f"for {date}", stored_days(queries, date, date, wanted.as_of), wanted.as_of)


def rates_of(queries: Queries, day: Day, wanted: RateQuery) -> dict[str, float]:
    """Return the requested rates of a day, in the requested base."""
    base = wanted.base or day.base
    rates = rebase(day.rates, stored_base=day.base, base=base, symbols=wanted.symbols)
    if rates is None or len(rates) < len(wanted.symbols or ()):
        require_known(queries, wanted)
    span = f"for {day.date}"
    if rates is None:
        raise _no_base(queries, base, span, wanted.as_of)
    if wanted.symbols and not rates:
        raise no_rate_of(queries, wanted.symbols, span, wanted.as_of)
    return rates


def lifespans(queries: Queries, codes: Iterable[str]) -> Lifespans:
    """Return the first and last day of each of these currencies, in their order."""
    codes = tuple(codes)
    if not codes:
        return {}
    known = {code: Lifespan(first, last) for code, _, first, last in queries.rows("currencies")}
    return {code: known[code] for code in codes if code in known}


def no_rate_of(
    queries: Queries, codes: Sequence[str], span: str, as_of: AsOf | None, *, what: str = ""
) -> ApiError:
    """Return the error for currencies without a rate on these days, with the days that have one.

    `what` names them, if their codes are not enough.
    """
    when = (
        f"{code} has rates from {first} to {last}."
        for code, (first, last) in lifespans(queries, codes).items()
    )
    info = f"No rate of {what or ', '.join(codes)} {_verb(as_of, one=True)} {span}."
    return ApiError(NO_RATES_AVAILABLE, " ".join((info, *when)))


def read_series(queries: Queries, start: dt.date, end: dt.date | None, wanted: RateQuery) -> Series:
    """Return the days from `start` to `end`, or to the newest.

    Raise ApiError if none of them is stored, or if they hold more than MOST_RATES.
    """
    span = span_of(start, end)
    bounded = _surely_fits(queries, start, end, wanted)
    stored_base, last, total = bounded or _counted(queries, start, end, wanted, span)
    days, counts = _read(queries, start, end, wanted, stored_base)
    if bounded and not days:
        # If nothing is stored there at all, this raises a more precise error.
        _counted(queries, start, end, wanted, span)
    base = wanted.base or stored_base
    named = [code for code in dict.fromkeys((*(wanted.symbols or ()), base)) if code != stored_base]
    if not counts.keys() >= set(named):
        require_known(queries, wanted)
    if base not in counts and base != stored_base:
        raise _no_base(queries, base, span, wanted.as_of)
    lacking = [code for code in named if counts[code] < total]
    if lacking and bounded:
        # The other days may not be stored at all.
        total = stored_days(queries, start, end, wanted.as_of).days
        lacking = [code for code in lacking if counts[code] < total]
    missing = lifespans(queries, lacking)
    if wanted.symbols and base == stored_base and base not in wanted.symbols:
        # The rates are in this base already.
        return Series(base, last, days, missing)
    rebased = (
        (date, rebase(rates, stored_base=stored_base, base=base, symbols=wanted.symbols))
        for date, rates in queries.paced(days.items())
    )
    return Series(base, last, {date: rates for date, rates in rebased if rates}, missing)


def require_ends(queries: Queries, earlier: dt.date, later: dt.date, wanted: RateQuery) -> None:
    """Raise ApiError if one of two days is not stored. It names the stored days next to them.

    These are the first and the last stored day between them, if there is any.
    """
    stored = stored_days(queries, earlier, later, wanted.as_of)
    if (stored.first, stored.last) == (earlier.isoformat(), later.isoformat()):
        return
    require_known(queries, wanted)
    span = span_of(earlier, later)
    if not stored.first or not stored.last:
        raise nothing_stored(span, stored, wanted.as_of)
    ends = {earlier.isoformat(): stored.first, later.isoformat(): stored.last}
    lacking = " and ".join(day for day, nearest in ends.items() if day != nearest)
    raise ApiError(
        NO_RATES_AVAILABLE,
        f"No rates {_verb(wanted.as_of)} for {lacking}. The first day {span} that has rates is "
        f"{stored.first}, and the last is {stored.last}.",
    )


def require_known(queries: Queries, wanted: RateQuery) -> None:
    """Raise ApiError if the base or a symbol was never stored. Accept any while nothing is stored."""
    if wanted.base:
        require_currency(queries, wanted.base, INVALID_BASE_CURRENCY)
    known = known_codes(queries)
    bad = [code for code in wanted.symbols or () if known and code not in known]
    if bad:
        more = f" and {len(bad) - 10} more" if len(bad) > 10 else ""
        raise _never_stored(f"{', '.join(bad[:10])}{more}", INVALID_CURRENCY_CODES)


def require_currency(queries: Queries, code: str, kind: ErrorKind) -> None:
    """Raise ApiError of that kind if `code` was never stored."""
    known = known_codes(queries)
    if known and code not in known:
        raise _never_stored(code, kind)


def known_codes(queries: Queries) -> set[str]:
    """Return every code that was ever stored, and the base."""
    codes = {code for code, *_ in queries.rows("currencies")}
    ((_, _, base),) = queries.rows("latest_date")
    return codes | {base} if base else codes


def nothing_stored(span: str, stored: StoredDays, as_of: AsOf | None) -> ApiError:
    """Return the error for days that are not stored, with the nearest stored days on both sides."""
    near = [day for day in (stored.before, stored.after) if day]
    hint = f" Nearest: {' and '.join(near)}." if near else ""
    return ApiError(NO_RATES_AVAILABLE, f"No rates {_verb(as_of)} {span}.{hint}")


def require_fitting(stored: StoredDays, wanted: RateQuery) -> None:
    """Raise ApiError if the requested rates of these stored days are more than MOST_RATES."""
    per_day = len(wanted.symbols) if wanted.symbols else math.ceil(stored.rates / stored.days)
    if stored.days * per_day > MOST_RATES:
        raise ApiError(
            TIME_FRAME_TOO_LONG,
            f"That would be about {stored.days * per_day} rates: {stored.days} days of {per_day} currencies. "
            f"A response has at most {MOST_RATES}: request at most {MOST_RATES // per_day} days, or at "
            f"most {MOST_RATES // stored.days} symbols.",
        )


def span_of(start: dt.date, end: dt.date | None) -> str:
    """Return a range of days as errors name it."""
    return f"from {start} to {end}" if end else f"from {start} on"


def _no_base(queries: Queries, base: str, span: str, as_of: AsOf | None) -> ApiError:
    return no_rate_of(queries, (base,), span, as_of, what=f"the base {base}")


def _never_stored(codes: str, kind: ErrorKind) -> ApiError:
    return ApiError(kind, f"Unknown currency: {codes}. See /rates/symbols for the available codes.")


def _surely_fits(
    queries: Queries, start: dt.date, end: dt.date | None, wanted: RateQuery
) -> tuple[str, str, int] | None:
    """Return the stored base, the last day and the most days of a range that surely fits in a response.

    None means that the stored days must be counted, which takes longer than reading a few currencies.
    """
    if wanted.symbols is None or wanted.as_of:
        return None
    ((newest, _, base),) = queries.rows("latest_date")
    if newest is None or newest < start.isoformat():
        return None
    last = min(end.isoformat(), newest) if end else newest
    days = (dt.date.fromisoformat(last) - start).days + 1
    return (base, last, days) if days * len(wanted.symbols) <= MOST_RATES else None


def _counted(
    queries: Queries, start: dt.date, end: dt.date | None, wanted: RateQuery, span: str
) -> tuple[str, str, int]:
    """Return the stored base, the last stored day and the number of days of a range, or raise ApiError."""
    stored = stored_days(queries, start, end, wanted.as_of)
    if not stored.base or not stored.last:
        require_known(queries, wanted)
        raise nothing_stored(span, stored, wanted.as_of)
    require_fitting(stored, wanted)
    return stored.base, stored.last, stored.days


def _read(
    queries: Queries, start: dt.date, end: dt.date | None, wanted: RateQuery, stored_base: str
) -> tuple[Mapping[str, Mapping[str, float]], Counter[str]]:
    """Return the stored rates of the requested currencies and the base by date, oldest first.

    Also return how many days have a rate of each currency.
    """
    span = {"start_date": start.isoformat(), "end_date": _text(end), "as_of": _instant(wanted.as_of)}
    if wanted.symbols is None:
        rows: list[Row] = queries.rows("rates_by_range", **span)
        by_date = _as_ordered(queries, rows)
    else:
        divisor = (wanted.base,) if wanted.base and wanted.base != stored_base else ()
        codes = tuple(dict.fromkeys((*wanted.symbols, *divisor)))
        if len(codes) == 1:
            (code,) = codes
            days = OneCurrency(code, dict(zip(*queries.history(code, **span), strict=True)))
            return days, Counter({code: len(days)} if days else {})
        rows = queries.rows("rate_history", symbols=",".join(codes), **span)
        by_date = _by_date(queries, rows, codes)
    return by_date, Counter(map(itemgetter(1), rows))


def _as_ordered(queries: Queries, rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """Group rows that are sorted by date."""
    days = queries.paced(groupby(rows, itemgetter(0)), every=8)
    return {date: {code: rate for _, code, rate in of_day} for date, of_day in days}


def _by_date(queries: Queries, rows: Sequence[Row], codes: Iterable[str]) -> dict[str, dict[str, float]]:
    """Group rows that are sorted by currency and date: oldest day first, rates in the order of `codes`."""
    days: dict[str, dict[str, float]] = {}
    currency = itemgetter(1)
    for code in queries.paced(codes, every=1):
        of_code = rows[bisect_left(rows, code, key=currency) : bisect_right(rows, code, key=currency)]
        if not days:
            days = {date: {code: rate} for date, _, rate in of_code}
            continue
        for date, _, rate in of_code:
            if date in days:
                days[date][code] = rate
            else:
                days[date] = {code: rate}
    dates = sorted(days)
    return days if dates == list(days) else {date: days[date] for date in dates}


def _verb(as_of: AsOf | None, *, one: bool = False) -> str:
    if as_of:
        return f"{'was' if one else 'were'} known at {as_of.shown}"
    return "is stored" if one else "are stored"


def _text(date: dt.date | None) -> str:
    return date.isoformat() if date else ""


def _instant(as_of: AsOf | None) -> str:
    return as_of.stored if as_of else ""
