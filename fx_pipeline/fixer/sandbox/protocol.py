"""Fixer's protocol: one function per endpoint, from a history to the document, and the refusals.

Documents follow Fixer's documentation and recorded responses exactly: the order of keys, whole numbers
without a point, the base itself as the integer 1, `symbols` in the requested order. Nothing here knows HTTP.
"""

import datetime as dt
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from fx_pipeline.clock import end_of_day
from fx_pipeline.rates import FIRST_DATE, MAX_TIMESERIES_DAYS, as_number, date_range, parse_date

Plan = Literal["free", "basic", "professional", "plus"]
OutOfRange = Literal[302, 106]
Document = dict[str, object]

PLANS: Mapping[Plan, frozenset[str]] = {
    "free": frozenset(),
    "basic": frozenset({"base", "convert"}),
    "professional": frozenset({"base", "convert", "timeseries"}),
    "plus": frozenset({"base", "convert", "timeseries", "fluctuation"}),
}
"""What each plan offers besides `latest`, a date and `symbols` in euro."""

ENDPOINTS = ("latest", "symbols", "historical", "convert", "timeseries", "fluctuation")


@dataclass(eq=False)
class Refusal(Exception):
    """An error response: its code, its type, and the text if Fixer sends one."""

    code: int
    type: str
    info: str | None = None

    def document(self) -> Document:
        """Return the body: `{"success": false, "error": {...}}`."""
        error: Document = {"code": self.code, "type": self.type}
        if self.info is not None:
            error["info"] = self.info
        return {"success": False, "error": error}


def written(rate: float) -> int | float:
    """Return `rate` as Fixer writes it: 6 decimals and at most 15 significant digits; 8 digits below 0.0001.

    A small rate has an exponent (`3.9823669e-05`), and a whole rate is an integer.
    """
    if abs(rate) < 1e-4:
        return as_number(float(f"{rate:.8g}"))
    return as_number(round(rate, 6) if abs(rate) < 1e9 else float(f"{rate:.15g}"))


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Fixer's responses to an account with one `plan` at the instant `now` (UTC).

    `rates` returns units of each currency for one euro on a day; `names` has every code. A date in the future
    or before 1999 is refused with the code `out_of_range`: sources differ on which it is. A series has at
    most `series_days` days, first and last included.
    """

    rates: Callable[[dt.date], Mapping[str, float]]
    names: Mapping[str, str]
    now: dt.datetime
    plan: Plan = "plus"
    out_of_range: OutOfRange = 302
    series_days: int = MAX_TIMESERIES_DAYS

    def answer(self, endpoint: str, parameters: Mapping[str, str]) -> Document:
        """Return the document for one request; `historical` has its date among the parameters.

        Raise Refusal with Fixer's code if Fixer would refuse the request.
        """
        self._check_plan(endpoint, parameters)
        return {
            "latest": self._latest,
            "symbols": self._symbols,
            "historical": self._historical,
            "convert": self._convert,
            "timeseries": self._timeseries,
            "fluctuation": self._fluctuation,
        }[endpoint](parameters)

    def _check_plan(self, endpoint: str, parameters: Mapping[str, str]) -> None:
        if endpoint not in ENDPOINTS:
            raise Refusal(103, "invalid_api_function", "The requested API endpoint does not exist.")
        granted = PLANS[self.plan]
        if endpoint in PLANS["plus"] and endpoint not in granted:
            raise Refusal(
                105,
                "function_access_restricted",
                "Access Restricted - Your current Subscription Plan does not support this API Function.",
            )
        if "base" not in granted and parameters.get("base", "EUR").upper() not in ("", "EUR"):
            raise Refusal(105, "base_currency_access_restricted")

    def _latest(self, parameters: Mapping[str, str]) -> Document:
        base, symbols = self._base(parameters), self._wanted(parameters)
        today = self.now.date()
        return {
            "success": True,
            "timestamp": self._timestamp(today),
            "base": base,
            "date": today.isoformat(),
            "rates": self._day(today, base, symbols),
        }

    def _symbols(self, parameters: Mapping[str, str]) -> Document:
        return {"success": True, "symbols": dict(self.names)}

    def _historical(self, parameters: Mapping[str, str]) -> Document:
        date = self._date(parameters["date"])
        base, symbols = self._base(parameters), self._wanted(parameters)
        return {
            "success": True,
            "timestamp": self._timestamp(date),
            "historical": True,
            "base": base,
            "date": date.isoformat(),
            "rates": self._day(date, base, symbols),
        }

    def _convert(self, parameters: Mapping[str, str]) -> Document:
        source, target = parameters.get("from", "").upper(), parameters.get("to", "").upper()
        for code, side in ((source, "from"), (target, "to")):
            if code not in self.names:
                raise Refusal(
                    402, f"invalid_{side}_currency", f'You have entered an invalid "{side}" property.'
                )
        amount = _amount(parameters.get("amount", ""))
        asked = parameters.get("date", "")
        date = self._date(asked) if asked else self.now.date()
        rate = self._day(date, source, (target,))[target]
        document: Document = {
            "success": True,
            "query": {"from": source, "to": target, "amount": amount},
            "info": {"timestamp": self._timestamp(date), "rate": rate},
        }
        if asked:
            document["historical"] = True
        return document | {"date": date.isoformat(), "result": written(amount * rate)}

    def _timeseries(self, parameters: Mapping[str, str]) -> Document:
        start, end = self._frame(parameters)
        if end < start:
            raise Refusal(504, "invalid_time_frame", "The end date is before the start date.")
        if (end - start).days >= self.series_days:
            raise Refusal(
                505, "time_frame_too_long", f"The Time-Frame is too long: at most {self.series_days} days."
            )
        base, symbols = self._base(parameters), self._wanted(parameters)
        days = {date.isoformat(): self._values(date, base, symbols) for date in date_range(start, end)}
        rates = {date: values for date, values in days.items() if values}
        if not rates:
            raise _nothing()
        return {
            "success": True,
            "timeseries": True,
            "start_date": start.isoformat(),
            "end_date": end.isoformat(),
            "base": base,
            "rates": rates,
        }

    def _fluctuation(self, parameters: Mapping[str, str]) -> Document:
        start, end = self._frame(parameters)
        base, symbols = self._base(parameters), self._wanted(parameters)
        first, last = self._day(start, base, symbols), self._day(end, base, symbols)
        return {
            "success": True,
            "fluctuation": True,
            "start_date": start.isoformat(),
            "end_date": end.isoformat(),
            "base": base,
            "rates": {
                code: {
                    "start_rate": rate,
                    "end_rate": last[code],
                    "change": as_number(float(round(last[code] - rate, 4))),
                    "change_pct": as_number(round((last[code] - rate) / rate * 100, 4)),
                }
                for code, rate in first.items()
                if code in last
            },
        }

    def _day(self, date: dt.date, base: str, symbols: tuple[str, ...]) -> dict[str, int | float]:
        values = self._values(date, base, symbols)
        if not values:
            raise _nothing()
        return values

    def _values(self, date: dt.date, base: str, symbols: tuple[str, ...]) -> dict[str, int | float]:
        euro = self.rates(date)
        if base not in euro:
            return {}
        unit = euro[base]
        return {
            code: 1 if code == base else written(euro[code] / unit)
            for code in symbols or euro
            if code in euro
        }

    def _timestamp(self, date: dt.date) -> int:
        return int(self.now.timestamp()) if date == self.now.date() else end_of_day(date)

    def _base(self, parameters: Mapping[str, str]) -> str:
        base = parameters.get("base", "").upper() or "EUR"
        if base not in self.names:
            raise Refusal(201, "invalid_base_currency")
        return base

    def _wanted(self, parameters: Mapping[str, str]) -> tuple[str, ...]:
        codes = (code.strip().upper() for code in parameters.get("symbols", "").split(","))
        wanted = tuple(code for code in codes if code)
        if any(code not in self.names for code in wanted):
            raise Refusal(
                202, "invalid_currency_codes", "You have provided one or more invalid Currency Codes."
            )
        return wanted

    def _date(self, text: str) -> dt.date:
        try:
            date = parse_date(text)
        except ValueError:
            raise _bad_date() from None
        if not FIRST_DATE <= date <= self.now.date():
            raise _bad_date() if self.out_of_range == 302 else _nothing()
        return date

    def _frame(self, parameters: Mapping[str, str]) -> tuple[dt.date, dt.date]:
        if not (parameters.get("start_date") and parameters.get("end_date")):
            raise Refusal(501, "no_timeframe_supplied", "You have not specified a Time-Frame.")
        dates = []
        for name, code in (("start_date", 502), ("end_date", 503)):
            try:
                dates.append(self._date(parameters[name]))
            except Refusal as refusal:
                if refusal.code == 106:
                    raise
                raise Refusal(code, f"invalid_{name}", f'You have specified an invalid "{name}".') from None
        return dates[0], dates[1]


def _amount(text: str) -> int | float:
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not (math.isfinite(amount) and amount > 0):
        raise Refusal(403, "invalid_conversion_amount", "You have not specified an amount to be converted.")
    return as_number(amount)


def _bad_date() -> Refusal:
    return Refusal(302, "invalid_date", "You have entered an invalid date. [Required format: YYYY-MM-DD]")


def _nothing() -> Refusal:
    return Refusal(106, "no_rates_available", "Your query did not return any results. Please try again.")
