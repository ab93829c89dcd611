"""The parameters of a request, validated without reading any data.

An unknown parameter is an error, and so is one with two different values: ignoring it would return rates that
the client did not ask for. Only the parameters that `is_harmless` names are ignored.
"""

import datetime as dt
import re
from collections.abc import Collection, Mapping
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
    INVALID_PARAMETER,
    INVALID_START_DATE,
    INVALID_TIME_FRAME,
    NO_TIMEFRAME_SUPPLIED,
    ApiError,
    ErrorKind,
)
from fx_pipeline.api.replies import Rendering
from fx_pipeline.rates import NoSuchDate, is_code, parse_date

BASE_NAMES = ("base", "from")
SYMBOLS_NAMES = ("symbols", "to")
"""The names that Fixer and Frankfurter give the base and the currencies."""

CALLBACK = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*(\.[A-Za-z_$][A-Za-z0-9_$]*)*", re.ASCII)
"""The name of a function, and nothing that could be other code."""

LONGEST_CALLBACK = 100
LONGEST_QUOTE = 40
"""Characters of a bad value that an error repeats."""

LARGEST_AMOUNT = Decimal("1e18")
SMALLEST_AMOUNT = 1 / LARGEST_AMOUNT
"""The limits of an amount that is converted."""

HARMLESS = frozenset({"_", "access_key", "apikey"})
"""Parameters that no response depends on: keys, which the gate reads, and jQuery's against caching."""

_TRACKING = "utm_"
_AMOUNT = re.compile(r"([0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20})([eE][+ -]?[0-9]{1,3})?")
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]{5,15} ?[Zz0-9:+ -]{1,6}", re.ASCII)
_instant = TypeAdapter(AwareDatetime)


@dataclass(frozen=True, slots=True)
class AsOf:
    """The instant for which a client requests the data as it was known."""

    instant: dt.datetime

    @property
    def stored(self) -> str:
        """The instant as the database has it: UTC with six decimals, so that texts sort by time."""
        return self.instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")

    @property
    def shown(self) -> str:
        """The instant as a document has it: UTC, with decimals only if there are any."""
        return self.instant.isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class RateQuery:
    """Which rates a client requests: the base, the currencies, and the instant at which they were known.

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
        """Decode a query string. Bytes that are not UTF-8 become U+FFFD, which no valid value has."""
        return cls(parse_qs(query_string, keep_blank_values=True), now)

    def require_known(
        self, known: Collection[str], *, besides: str | None = None, what: str = "endpoint"
    ) -> None:
        """Raise ApiError for a parameter that is neither known nor harmless, nor starts with `besides`."""
        unknown = [
            quoted(name)
            for name in self.values
            if not (name in known or is_harmless(name) or (besides and name.startswith(besides)))
        ]
        if unknown:
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            has = f"It has: {', '.join(known)}." if known else "It has none."
            info = f"This {what} has no parameter {', '.join(unknown[:5])}{more}. {has}"
            raise ApiError(INVALID_PARAMETER, info)

    def text(self, name: str, kind: ErrorKind = INVALID_PARAMETER) -> str:
        """Return the value of a parameter, or an empty text. Raise ApiError of that kind for two values."""
        values = {value.strip() for value in self.values.get(name, ())}
        if len(values) > 1:
            raise ApiError(kind, f"The parameter {name!r} is given more than once.")
        return values.pop() if values else ""

    def flag(self, name: str, meaning: str) -> bool:
        """Return whether a parameter is 1. Raise ApiError unless it is 1, 0 or empty."""
        text = self.text(name)
        if text not in ("", "0", "1"):
            info = f"{name!r} is {quoted(text)}, which is neither 1 ({meaning}) nor 0."
            raise ApiError(INVALID_PARAMETER, info)
        return text == "1"

    def date(self, text: str, kind: ErrorKind = INVALID_DATE) -> dt.date:
        """Return the day in `text`, which must not be after today (UTC). Raise ApiError of that kind."""
        try:
            date = parse_date(text)
        except NoSuchDate as error:
            raise ApiError(kind, f"{error}.") from None
        except ValueError:
            raise ApiError(kind, f"{quoted(text)} is not a date of the form YYYY-MM-DD.") from None
        if date > self.now.date():
            raise ApiError(kind, f"{date} is in the future: today is {self.now.date()} (UTC).")
        return date

    def rate_query(self) -> RateQuery:
        """Return the parameters that most operations have."""
        return RateQuery(self.base(), self.symbols(), self.as_of())

    def base(self) -> str | None:
        """Return the base in `base` or `from`, or None."""
        texts = {name: text for name in BASE_NAMES if (text := self.text(name, INVALID_BASE_CURRENCY))}
        codes = {
            read_code(text, f"The base {quoted(text)}", INVALID_BASE_CURRENCY) for text in texts.values()
        }
        if len(codes) > 1:
            raise ApiError(INVALID_BASE_CURRENCY, f"{_in_conflict(texts)} Send one of them.")
        return codes.pop() if codes else None

    def symbols(self) -> tuple[str, ...] | None:
        """Return the currencies in `symbols` or `to`, in order and without repeats. None means all."""
        chosen = {name: codes for name in SYMBOLS_NAMES if (codes := self._codes(name))}
        if len(set(chosen.values())) > 1:
            texts = {name: ",".join(codes) for name, codes in chosen.items()}
            raise ApiError(INVALID_CURRENCY_CODES, f"{_in_conflict(texts)} Send one of them.")
        return next(iter(chosen.values()), None)

    def multiplier(self) -> Decimal | None:
        """Return the units of the base that the rates are for; None if the request does not say."""
        return self._amount() if self.text("amount", INVALID_CONVERSION_AMOUNT) else None

    def rendering(self) -> Rendering:
        """Return the form of the response that `format` and `callback` ask for."""
        form = self.text("format")
        if form not in ("", "0", "1"):
            info = f"The format {quoted(form)} is neither 1 (indented) nor 0. CSV is at paths with .csv."
            raise ApiError(INVALID_PARAMETER, info)
        callback = self.text("callback")
        if callback and (len(callback) > LONGEST_CALLBACK or CALLBACK.fullmatch(callback) is None):
            raise ApiError(
                INVALID_PARAMETER,
                f"The callback {quoted(callback)} is not a function name: use letters, digits, _ and $, "
                f"dots between names, and at most {LONGEST_CALLBACK} characters.",
            )
        return Rendering(indented=form == "1", callback=callback or None)

    def is_wide(self) -> bool:
        """Return whether `wide` asks for a column for each currency."""
        return self.flag("wide", "a column for each currency")

    def as_of(self) -> AsOf | None:
        """Return the instant in `as_of`, or None. A date means its end (UTC)."""
        text = self.text("as_of", INVALID_DATE)
        if not text:
            return None
        try:
            instant = _read_instant(text)
        except NoSuchDate as error:
            raise ApiError(INVALID_DATE, f"as_of: {error}.") from None
        except (ValueError, OverflowError):
            raise ApiError(
                INVALID_DATE,
                f"as_of {quoted(text)} is neither a date (YYYY-MM-DD) nor an instant with its zone, such as "
                "2026-01-31T12:00:00Z.",
            ) from None
        if instant.date() > self.now.date():
            raise ApiError(INVALID_DATE, f"as_of {quoted(text)} is in the future.")
        return AsOf(instant)

    def currency(self, name: str, kind: ErrorKind) -> str:
        """Return the currency in the required parameter `name`. Raise ApiError of that kind."""
        text = self.text(name, kind)
        if not text:
            raise ApiError(kind, f"The parameter {name!r} is missing. It names a currency.")
        return read_code(text, f"{name!r} is {quoted(text)}, which", kind)

    def amount(self) -> Decimal:
        """Return the required amount to convert: a decimal from SMALLEST_AMOUNT to LARGEST_AMOUNT."""
        if not self.text("amount", INVALID_CONVERSION_AMOUNT):
            raise ApiError(
                INVALID_CONVERSION_AMOUNT, "The parameter 'amount' is missing. It is a number above 0."
            )
        return self._amount()

    def conversion_date(self) -> dt.date | None:
        """Return the day of a conversion. None means the newest."""
        text = self.text("date", INVALID_DATE)
        return self.date(text) if text else None

    def range(self) -> tuple[dt.date, dt.date]:
        """Return the days in `start_date` and `end_date`. Both are required."""
        start = self.text("start_date", INVALID_START_DATE)
        end = self.text("end_date", INVALID_END_DATE)
        missing = [name for name, text in (("start_date", start), ("end_date", end)) if not text]
        if not start or not end:
            raise ApiError(NO_TIMEFRAME_SUPPLIED, f"Missing: {' and '.join(missing)} (YYYY-MM-DD).")
        return self.date(start, INVALID_START_DATE), self.date(end, INVALID_END_DATE)

    def _amount(self) -> Decimal:
        text = self.text("amount", INVALID_CONVERSION_AMOUNT)
        # A client that does not encode "+" sends a space.
        amount = Decimal(text.replace(" ", "+")) if _AMOUNT.fullmatch(text) else Decimal(0)
        if not SMALLEST_AMOUNT <= amount <= LARGEST_AMOUNT:
            info = f"The amount {quoted(text)} is not a number from {SMALLEST_AMOUNT} to {LARGEST_AMOUNT}."
            raise ApiError(INVALID_CONVERSION_AMOUNT, info)
        return amount

    def _codes(self, name: str) -> tuple[str, ...]:
        texts = [part.strip() for value in self.values.get(name, ()) for part in value.split(",")]
        where = f"among the {name}" if name == "symbols" else f"in {name!r}"
        codes = [read_code(text, f"{quoted(text)} {where}", INVALID_CURRENCY_CODES) for text in texts if text]
        return tuple(dict.fromkeys(codes))


def is_harmless(name: str) -> bool:
    """Return whether every operation ignores a parameter of this name."""
    return name in HARMLESS or name.startswith(_TRACKING)


def require_ordered(start: dt.date, end: dt.date) -> None:
    """Raise ApiError if `end` is before `start`."""
    if end < start:
        raise ApiError(INVALID_TIME_FRAME, f"The end {end} is before the start {start}.")


def quoted(text: str) -> str:
    """Return a bad value as errors quote it: shortened, with control characters escaped."""
    return repr(text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + "…")


def read_code(text: str, subject: str, kind: ErrorKind) -> str:
    """Return the currency code in `text`, in capital letters.

    Raise ApiError of that kind. Its message starts with `subject`.
    """
    # ASCII first: some other letters become ASCII ones when upper-cased.
    code = text.upper() if text.isascii() else ""
    if not is_code(code):
        raise ApiError(kind, f"{subject} is not a three-letter currency code.")
    if text not in (code, code.lower()):
        raise ApiError(
            kind,
            f"{subject} mixes upper and lower case, as codes of minor units do (GBp is pence). "
            f"For the currency, write {code}.",
        )
    return code


def _in_conflict(texts: Mapping[str, str]) -> str:
    """Return the message for two parameters that mean the same and have different values."""
    (one, first), (other, second) = texts.items()
    return f"{one!r} is {quoted(first)} and {other!r} is {quoted(second)}, but both mean the same."


def _read_instant(text: str) -> dt.datetime:
    if len(text) == 10:
        return dt.datetime.combine(parse_date(text), dt.time.max, dt.timezone.utc)
    if _INSTANT.fullmatch(text) is None:
        raise ValueError(text)
    parse_date(text[:10])
    date, rest = text[:11], text[11:]
    try:
        # A client that does not encode "+" sends a space.
        instant = _instant.validate_python(date + rest.replace(" ", "+"))
    except ValidationError:
        raise ValueError(text) from None
    return instant.astimezone(dt.timezone.utc)
