"""Builds documents and CSV from rates. Keys and their order are Fixer's (its documentation, "Endpoints").

Numbers are written as the provider writes them: whole numbers without a point, others with the digits that
identify the double.
"""

import csv
import datetime as dt
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

import orjson

from fx_pipeline.api.endpoints.parameters import AsOf
from fx_pipeline.api.replies import Document, as_json
from fx_pipeline.rates import as_number, convert, fluctuation

Rates = Mapping[str, float]
Missing = Mapping[str, tuple[str, str]]
"""Currencies without a rate on some of the requested days, and the first and last day with one."""


class OneCurrency(Mapping[str, Rates]):
    """The days of a series of one currency, made from its rates by date. Fast for ten thousand days."""

    def __init__(self, code: str, rates: Rates) -> None:
        self._code = code
        self._rates = rates

    def __getitem__(self, date: str) -> Rates:
        return {self._code: self._rates[date]}

    def __iter__(self) -> Iterator[str]:
        return iter(self._rates)

    def __len__(self) -> int:
        return len(self._rates)

    def as_json(self) -> bytes:
        """Return the days as they are sent."""
        if not self:
            return b"{}"
        before = b'":{"%b":' % self._code.encode()
        # In this text, every colon is followed by a number, and every comma by a date.
        return b"%b}" % _numbers(self._rates).replace(b'":', before).replace(b',"', b'},"')


def day_json(
    *,
    date: str,
    base: str,
    timestamp: int,
    rates: Rates,
    historical: bool,
    as_of: AsOf | None,
    amount: Decimal | None = None,
    missing: Missing | None = None,
) -> bytes:
    """Return the rates of one day as they are sent."""
    document = {
        "success": True,
        "timestamp": timestamp,
        "historical": historical,
        "base": base,
        "date": date,
        **_optional(as_of, amount, missing),
    }
    return _with_rates(document, rates)


def series_json(
    *,
    start: str,
    end: str,
    base: str,
    days: Mapping[str, Rates],
    as_of: AsOf | None,
    amount: Decimal | None = None,
    missing: Missing | None = None,
) -> bytes:
    """Return the rates of several days as they are sent, oldest first. Days without rates are left out."""
    document = {
        "success": True,
        "timeseries": True,
        "start_date": start,
        "end_date": end,
        "base": base,
        **_optional(as_of, amount, missing),
    }
    return _with_rates(document, days)


def conversion_document(
    *,
    source: str,
    target: str,
    amount: Decimal,
    rate: float,
    date: str,
    timestamp: int,
    historical: bool,
    as_of: AsOf | None,
) -> Document:
    """Return a converted amount, with its rate and date. `historical` says that a date was requested."""
    return {
        "success": True,
        "query": {"from": source, "to": target, "amount": as_number(float(amount))},
        "info": {"timestamp": timestamp, "rate": as_number(rate)},
        **({"historical": True} if historical else {}),
        "date": date,
        **_optional(as_of),
        "result": as_number(convert(amount, rate)),
    }


def fluctuation_document(
    *,
    start: dt.date,
    end: dt.date,
    base: str,
    first: Rates,
    last: Rates,
    as_of: AsOf | None,
    missing: Missing | None = None,
) -> Document:
    """Return how much each rate changed. A currency without a rate on one of the days is left out."""
    changes = {}
    for code in (code for code in first if code in last):
        change, percentage = fluctuation(first[code], last[code])
        changes[code] = {
            "start_rate": as_number(first[code]),
            "end_rate": as_number(last[code]),
            "change": as_number(change),
            "change_pct": as_number(percentage),
        }
    return {
        "success": True,
        "fluctuation": True,
        "start_date": start.isoformat(),
        "end_date": end.isoformat(),
        "base": base,
        **_optional(as_of, missing=missing),
        "rates": changes,
    }


def rates_csv(base: str, days: Iterable[tuple[str, Rates]], amount: Decimal | None = None) -> bytes:
    """Return rows of `date,base,currency,rate` with a header (RFC 4180).

    If the rates are for an amount, it is a column after the base.
    """
    text = io.StringIO()
    rows = csv.writer(text)
    units = () if amount is None else (as_number(float(amount)),)
    rows.writerow(("date", "base", *(("amount",) if units else ()), "currency", "rate"))
    rows.writerows(
        (date, base, *units, code, as_number(rate)) for date, rates in days for code, rate in rates.items()
    )
    return text.getvalue().encode()


def wide_csv(days: Iterable[tuple[str, Rates]], codes: Sequence[str]) -> bytes:
    """Return a row for each day, with a column for each of `codes`. A cell is empty if there is no rate."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(("date", *codes))
    rows.writerows(
        (date, *(as_number(rates[code]) if code in rates else "" for code in codes)) for date, rates in days
    )
    return text.getvalue().encode()


def _optional(as_of: AsOf | None, amount: Decimal | None = None, missing: Missing | None = None) -> Document:
    """Return the keys that only some responses have."""
    keys: Document = {}
    if as_of:
        keys["as_of"] = as_of.shown
    if amount is not None:
        keys["amount"] = as_number(float(amount))
    if missing:
        keys["missing"] = {
            code: {"first_date": first, "last_date": last} for code, (first, last) in missing.items()
        }
    return keys


def _with_rates(document: Document, rates: Mapping[str, object]) -> bytes:
    """Return the document with `rates` as its last key, written ten times as fast as by `as_json`.

    The numbers are finite. Codes and dates never end in ".0", so only whole numbers are shortened.
    """
    written = rates.as_json() if isinstance(rates, OneCurrency) else _numbers(rates)
    return b'%b,"rates":%b}' % (as_json(document)[:-1], written)


def _numbers(rates: Mapping[str, object]) -> bytes:
    return orjson.dumps(rates).replace(b".0,", b",").replace(b".0}", b"}")
