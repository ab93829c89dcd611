"""What a request asks for, validated, or the error that says why not.

Only the text of a request is judged here, not what is stored. Parameters that nobody asked for are ignored:
clients send `access_key`, `format` and others. One that may be given once and is given twice, with different
values, is an error: guessing which was meant would be worse.
"""

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import parse_qs

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from fx_pipeline.api.errors import (
    INVALID_BASE_CURRENCY,
    INVALID_CONVERSION_AMOUNT,
    INVALID_CURRENCY_CODES,
    INVALID_DATE,
    INVALID_END_DATE,
    INVALID_START_DATE,
    INVALID_TIME_FRAME,
    NO_TIMEFRAME_SUPPLIED,
    ApiError,
    Kind,
)
from fx_pipeline.rates import is_code, parse_date

LONGEST_QUOTE = 40
"""Characters of a bad value that an error repeats."""

LARGEST_AMOUNT = Decimal("1e18")
"""The largest amount that is converted; the smallest is one part of as many."""

_AMOUNT = re.compile(r"([0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20})([eE][+ -]?[0-9]{1,3})?")
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]{5,15} ?[Zz0-9:+ -]{1,6}", re.ASCII)
_instant = TypeAdapter(AwareDatetime)


@dataclass(frozen=True, slots=True)
class AsOf:
    """An instant of which the API is asked what it knew then."""

    instant: dt.datetime

    @property
    def stored(self) -> str:
        """As instants are stored: UTC with six decimals, so that the order of the texts is that of time."""
        return self.instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")

    @property
    def shown(self) -> str:
        """As a document says it: UTC, with decimals only where there are any."""
        return self.instant.isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of the stored rates is asked for: in which base, which currencies, and as they were known when.

    None means the stored base, every currency, and now.
    """

    base: str | None = None
    symbols: tuple[str, ...] | None = None
    as_of: AsOf | None = None


@dataclass(frozen=True, slots=True)
class Parameters:
    """The query string of one request, read at the instant `now` (UTC)."""

    values: Mapping[str, list[str]]
    now: dt.datetime

    @classmethod
    def parse(cls, query_string: str, now: dt.datetime) -> "Parameters":
        """Decode a query string; what is not UTF-8 becomes U+FFFD, and so no valid value of anything."""
        return cls(parse_qs(query_string, keep_blank_values=True), now)

    def date(self, text: str, kind: Kind = INVALID_DATE) -> dt.date:
        """The day written in `text`, not later than today (UTC). Raises ApiError of that kind."""
        try:
            date = parse_date(text)
        except ValueError:
            raise ApiError(kind, f"{quoted(text)} is not a date of the form YYYY-MM-DD.") from None
        if date > self.now.date():
            raise ApiError(kind, f"{date} lies in the future: today is {self.now.date()} (UTC).")
        return date

    def wanted(self) -> Wanted:
        """The parameters that every question about rates may have."""
        return Wanted(self.base(), self.symbols(), self.as_of())

    def base(self) -> str | None:
        """The base asked for; None where none is."""
        text = self._one("base", INVALID_BASE_CURRENCY)
        if not text:
            return None
        return _code(text) or _refuse(
            INVALID_BASE_CURRENCY, f"The base {quoted(text)} is not a currency code of three letters."
        )

    def symbols(self) -> tuple[str, ...] | None:
        """The currencies asked for, in their order, each once; None where none is."""
        texts = [part.strip() for value in self.values.get("symbols", ()) for part in value.split(",")]
        codes = {text: _code(text) for text in dict.fromkeys(texts) if text}
        bad = [text for text, code in codes.items() if code is None]
        if bad:
            info = f"{quoted(bad[0])} among the symbols is not a currency code of three letters."
            raise ApiError(INVALID_CURRENCY_CODES, info)
        return tuple(dict.fromkeys(code for code in codes.values() if code)) or None

    def as_of(self) -> AsOf | None:
        """The instant asked for; a date means its end (UTC). None where none is."""
        text = self._one("as_of", INVALID_DATE)
        if not text:
            return None
        try:
            instant = _read_instant(text)
        except (ValueError, OverflowError):
            raise ApiError(
                INVALID_DATE,
                f"as_of {quoted(text)} is neither a date (YYYY-MM-DD) nor an instant with its zone, such as "
                "2026-01-31T12:00:00Z.",
            ) from None
        if instant.date() > self.now.date():
            raise ApiError(
                INVALID_DATE, f"as_of {quoted(text)} lies in the future: what will be is not known."
            )
        return AsOf(instant)

    def currency(self, name: str, kind: Kind) -> str:
        """The currency in the parameter `name`, which must be there. Raises ApiError of that kind."""
        text = self._one(name, kind)
        if not text:
            raise ApiError(kind, f"The parameter {name!r} is missing: it names a currency.")
        return _code(text) or _refuse(
            kind, f"{name!r} is {quoted(text)}, which is not a currency code of three letters."
        )

    def amount(self) -> Decimal:
        """The amount to convert: a decimal above 0, up to LARGEST_AMOUNT."""
        text = self._one("amount", INVALID_CONVERSION_AMOUNT)
        if not text:
            raise ApiError(INVALID_CONVERSION_AMOUNT, "The parameter 'amount' is missing: a number above 0.")
        # A "+" that a client did not encode arrives as a space.
        amount = Decimal(text.replace(" ", "+")) if _AMOUNT.fullmatch(text) else Decimal(0)
        if not 1 / LARGEST_AMOUNT <= amount <= LARGEST_AMOUNT:
            info = f"The amount {quoted(text)} is not a number above 0 (and at most {LARGEST_AMOUNT})."
            raise ApiError(INVALID_CONVERSION_AMOUNT, info)
        return amount

    def conversion_date(self) -> dt.date | None:
        """The day of a conversion; None where none is named: the newest."""
        text = self._one("date", INVALID_DATE)
        return self.date(text) if text else None

    def range(self) -> tuple[dt.date, dt.date]:
        """The days in `start_date` and `end_date`, in that order; both must be there."""
        start = self._one("start_date", INVALID_START_DATE)
        end = self._one("end_date", INVALID_END_DATE)
        missing = [name for name, text in (("start_date", start), ("end_date", end)) if not text]
        if not start or not end:
            raise ApiError(NO_TIMEFRAME_SUPPLIED, f"Missing: {' and '.join(missing)} (YYYY-MM-DD).")
        return self.date(start, INVALID_START_DATE), self.date(end, INVALID_END_DATE)

    def _one(self, name: str, kind: Kind) -> str:
        values = {value.strip() for value in self.values.get(name, ())}
        if len(values) > 1:
            raise ApiError(kind, f"The parameter {name!r} is given more than once.")
        return values.pop() if values else ""


def in_order(start: dt.date, end: dt.date) -> None:
    """Raise ApiError where `end` is before `start`."""
    if end < start:
        raise ApiError(INVALID_TIME_FRAME, f"The end {end} lies before the start {start}.")


def quoted(text: str) -> str:
    """A bad value as an error repeats it: shortened, control characters escaped."""
    return repr(text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + "…")


def _code(text: str) -> str | None:
    # ASCII first: some other letters become ASCII ones when upper-cased.
    code = text.upper() if text.isascii() else ""
    return code if is_code(code) else None


def _refuse(kind: Kind, info: str) -> str:
    raise ApiError(kind, info)


def _read_instant(text: str) -> dt.datetime:
    if len(text) == 10:
        return dt.datetime.combine(parse_date(text), dt.time.max, dt.timezone.utc)
    if _INSTANT.fullmatch(text) is None:
        raise ValueError(text)
    date, rest = text[:11], text[11:]
    try:
        # A "+" that a client did not encode arrives as a space.
        instant = _instant.validate_python(date + rest.replace(" ", "+"))
    except ValidationError:
        raise ValueError(text) from None
    return instant.astimezone(dt.timezone.utc)
