"""What a body of Fixer's says: validated days and names, or the error that says why it must not be believed.

Pure functions of the body and of what was asked, so that bodies kept years ago are read by the same rules as
those that arrive.
"""

import datetime as dt
import json
from collections.abc import Collection, Mapping
from dataclasses import replace

from fx_pipeline.clock import end_of_day
from fx_pipeline.fetch import Fetch
from fx_pipeline.fixer.bases import PROVIDER_BASE, check_base
from fx_pipeline.fixer.errors import (
    BadResponse,
    FixerError,
    InactiveAccount,
    InvalidKey,
    MislabelledBase,
    QuotaExhausted,
    RateLimited,
    Redirected,
    RequestRefused,
    ServerTrouble,
    Unfinished,
    UnknownEndpoint,
    meaning,
)
from fx_pipeline.rates import (
    LARGEST_RATE,
    SMALLEST_RATE,
    DayRates,
    cross_rate,
    is_code,
    parse_date,
    read_rates,
)

_LONGEST_QUOTE = 200


def parse_historical(
    body: bytes, date: dt.date, base: str, *, asked_at: dt.datetime, symbols: Collection[str] = ()
) -> tuple[DayRates, ...]:
    """The one day in an answer of `/<date>`.

    `asked_at` is when it was asked for: `date` must have been over by then, and the answer's timestamp must
    be from the end of that day, 23:59:59 UTC; anything earlier is provisional. An answer in EUR to a question
    in another base is divided into it (`rebase`). `symbols` are the currencies asked for; empty: all.

    Raises the FixerError that the body names; BadResponse if it is not JSON, about another day or base, or
    without one usable rate; MislabelledBase if its rates are not in the base that it names (`check_base`);
    Unfinished for a provisional day.
    """
    what = date.isoformat()
    if date >= asked_at.astimezone(dt.timezone.utc).date():
        raise Unfinished("the day is not over (UTC)", what)
    document = _document(body, what)
    _expect(document, "date", date.isoformat(), what)
    timestamp = _whole(document.get("timestamp"))
    if timestamp is None:
        raise BadResponse("the answer has no timestamp", what)
    end = end_of_day(date)
    if end - 86_399 <= timestamp < end:
        provisional = Unfinished("the answer was made before the day was over", what)
        provisional.retryable = True
        raise provisional
    if not end <= timestamp <= end + 86_400:
        raise BadResponse("the answer's timestamp is of another day", what)
    day = _day(date, _base(document, base, what), timestamp, document.get("rates"))
    if day is None:
        raise BadResponse("the answer has no usable rate", what)
    check_base([day], symbols, what)
    return (_in_base(day, base, what),)


def parse_timeseries(
    body: bytes,
    start: dt.date,
    end: dt.date,
    base: str,
    *,
    asked_at: dt.datetime,
    symbols: Collection[str] = (),
) -> tuple[DayRates, ...]:
    """The days in an answer of `/timeseries`, oldest first; a day without a usable rate is left out.

    Which days are missing is for the caller to see: Fixer may have none for some. The answer has no
    timestamps, so each day gets its end, as `/<date>` gives it. Raises as `parse_historical` does.
    """
    what = f"{start} to {end}"
    if end >= asked_at.astimezone(dt.timezone.utc).date():
        raise Unfinished("the last day is not over (UTC)", what)
    document = _document(body, what)
    _expect(document, "start_date", start.isoformat(), what)
    _expect(document, "end_date", end.isoformat(), what)
    found = _base(document, base, what)
    series = document.get("rates")
    days: list[DayRates] = []
    for text, rates in sorted(series.items()) if isinstance(series, dict) else ():
        try:
            date = parse_date(text)
        except ValueError:
            raise BadResponse("the answer has rates under what is no date", what) from None
        if not start <= date <= end:
            raise BadResponse("the answer has rates of days that were not asked for", what)
        day = _day(date, found, end_of_day(date), rates)
        if day is not None:
            days.append(day)
    if not days:
        raise BadResponse("the answer has no usable rate", what)
    check_base(days, symbols, what)
    return tuple(_in_base(day, base, what) for day in days)


def parse_symbols(body: bytes) -> Mapping[str, str]:
    """The names of the currencies in an answer of `/symbols`; what is no code or no name is left out.

    Raises the FixerError that the body names, BadResponse if it is not JSON or holds no name.
    """
    symbols = _document(body, "symbols").get("symbols")
    names = {
        code: name
        for code, name in (symbols.items() if isinstance(symbols, dict) else ())
        if is_code(code) and isinstance(name, str) and name.strip() and name.isprintable()
    }
    if not names:
        raise BadResponse("the answer has no names", "symbols")
    return names


def parse_body(answer: Fetch) -> Fetch:
    """The answer with the days and names that its body holds, as when it arrived.

    Raises the FixerError of the parsers above, ValueError for an endpoint that none of them reads.
    """
    start, end = answer.start_date, answer.end_date
    if answer.endpoint == "symbols":
        return replace(answer, names=parse_symbols(answer.body))
    if start is not None and end is not None and answer.endpoint == "historical":
        days = parse_historical(
            answer.body, start, answer.base, asked_at=answer.asked_at, symbols=answer.symbols
        )
    elif start is not None and end is not None and answer.endpoint == "timeseries":
        days = parse_timeseries(
            answer.body, start, end, answer.base, asked_at=answer.asked_at, symbols=answer.symbols
        )
    else:
        raise ValueError(f"no parser reads an answer of {answer.endpoint!r} about {start} to {end}")
    return replace(answer, days=days)


def parse_stored(answer: Fetch) -> Fetch:
    """Read an answer that was stored in the past, as `parse_body` does.

    One with a mislabelled base, stored by an earlier version, comes back without days, and with a status that
    says why.
    """
    try:
        return parse_body(answer)
    except MislabelledBase as wrong:
        return replace(answer, status=wrong.reason)


def refusal(
    status: int,
    body: bytes,
    asked_for: str,
    *,
    retry_after: float | None = None,
    quota_remaining: int | None = None,
) -> FixerError | None:
    """What an answer with this HTTP `status` says against the question; None if it is one to be read.

    An error in the body is told first: most come inside a 200. `retry_after` (seconds) and `quota_remaining`
    (calls left this month) are what the headers said.
    """
    try:
        said = _error_in(_load(body, asked_for), asked_for)
    except BadResponse as unreadable:
        # Fixer answers 400 with a page, and a guard before it 403, to questions that are good the next time.
        said = unreadable if status == 200 or (status in (400, 403) and _is_page(body)) else None
    if said is None and status != 200:
        kind = _by_status(status)
        said = kind(f"{kind.summary} (HTTP {status})", asked_for)
    if said is not None and status == 429:
        said = _limit(said, retry_after, quota_remaining)
    if said is not None and said.retryable:
        said.retry_after = retry_after
    return said


def rebase(day: DayRates, base: str) -> DayRates:
    """The same day in units for one unit of `base`: each rate is divided once and rounded once.

    Raises KeyError if the day has no rate of `base`.
    """
    divisor = day.rates[base]
    rates = {code: 1.0 if code == base else cross_rate(rate, divisor) for code, rate in day.rates.items()}
    return DayRates(date=day.date, base=base, timestamp=day.timestamp, rates=rates, rejected=day.rejected)


def _load(body: bytes, asked_for: str) -> dict[str, object]:
    """The JSON object in `body`, whatever its content type said. Raises BadResponse for anything else."""
    try:
        document = json.loads(body, object_pairs_hook=_unambiguous)
    except RecursionError:
        reason = "the answer is nested too deeply"
    except ValueError:  # not UTF-8 and not JSON are kinds of it, and so are numbers too long to be read
        reason = "the answer is a page of HTML" if _is_page(body) else "the answer is cut or not JSON"
    else:
        if isinstance(document, dict):
            return document
        reason = "the answer is not a JSON object"
    raise BadResponse(reason, asked_for)


def _is_page(body: bytes) -> bool:
    return body.lstrip().startswith(b"<")


def _unambiguous(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("a name stands twice in one object")
    for name in names:
        name.encode()  # half a surrogate pair cannot be stored; UnicodeEncodeError is a ValueError
    return names


def _error_in(document: Mapping[str, object], asked_for: str) -> FixerError | None:
    error = document.get("error")
    if document.get("success") is not False and not isinstance(error, dict):
        return None
    if not isinstance(error, dict):
        error = {}
    code, kind, info = error.get("code"), error.get("type"), error.get("info") or error.get("message")
    if isinstance(code, str) and not (code.isascii() and code.isdecimal()):
        code, kind = None, kind or code  # sibling products have the type where the code is here
    code = _whole(int(code) if isinstance(code, str) and len(code) < 10 else code)
    if code is not None and abs(code) >= 10**9:
        code = None
    kind = _quote(kind)
    means = meaning(code, kind)
    named = (
        " ".join(str(part) for part in (code, kind) if part is not None) or "an error without code and type"
    )
    return means(f"{means.summary} ({named})", asked_for, code=code, type=kind, info=_quote(info))


def _limit(said: FixerError, retry_after: float | None, quota_remaining: int | None) -> FixerError:
    """Which limit a 429 speaks of: the month's, or one that is over soon; an error of another kind stays."""
    if not isinstance(said, QuotaExhausted | RateLimited | ServerTrouble):
        return said
    kind: type[FixerError] = RateLimited
    if quota_remaining == 0:
        kind = QuotaExhausted
    elif isinstance(said, QuotaExhausted):
        # The vendor names both limits rate_limit_reached: then the headers tell, if there are any.
        soon = retry_after is not None or quota_remaining is not None
        kind = RateLimited if soon and (said.type or "").startswith("rate_limit") else QuotaExhausted
    reason = f"{kind.summary} (HTTP 429)"
    return kind(reason, said.asked_for, code=said.code, type=said.type, info=said.info)


def _by_status(status: int) -> type[FixerError]:
    named: dict[int, type[FixerError]] = {
        401: InvalidKey,
        403: InactiveAccount,
        404: UnknownEndpoint,
        408: ServerTrouble,
        425: ServerTrouble,
        429: RateLimited,
    }
    by_class: dict[int, type[FixerError]] = {3: Redirected, 4: RequestRefused, 5: ServerTrouble}
    return named.get(status) or by_class.get(status // 100, BadResponse)


def _quote(text: object) -> str | None:
    """What Fixer wrote, fit for one line of a terminal."""
    if not isinstance(text, str) or not text.strip():
        return None
    line = " ".join(text.split())[:_LONGEST_QUOTE]
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _document(body: bytes, asked_for: str) -> dict[str, object]:
    document = _load(body, asked_for)
    error = _error_in(document, asked_for)
    if error is not None:
        raise error
    if document.get("success") is not True:
        raise BadResponse("the answer does not say whether it is a success", asked_for)
    return document


def _whole(value: object) -> int | None:
    """Return the integer that a JSON number is, also where it is written 101.0 or 1.01e2; None for others."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if isinstance(value, int) or value.is_integer() else None


def _expect(document: Mapping[str, object], name: str, value: str, asked_for: str) -> None:
    if document.get(name) != value:
        raise BadResponse(f"the answer has another {name.replace('_', ' ')} than asked for", asked_for)


def _base(document: Mapping[str, object], asked: str, asked_for: str) -> str:
    found = document.get("base")
    if isinstance(found, str) and found in {asked, PROVIDER_BASE}:
        return found
    raise BadResponse("the answer has another base than asked for", asked_for)


def _day(date: dt.date, base: str, timestamp: int, raw: object) -> DayRates | None:
    try:
        rates, rejected = read_rates(date, raw) if isinstance(raw, dict) else ({}, ())
    except RecursionError:  # a value that could just be read is too deeply nested to be written down
        return None
    if not rates:
        return None
    return DayRates(date=date, base=base, timestamp=timestamp, rates=rates, rejected=rejected)


def _in_base(day: DayRates, base: str, asked_for: str) -> DayRates:
    if day.base == base:
        return day
    if base not in day.rates:
        raise BadResponse(f"the answer is in {day.base} and has no rate to make it {base}", asked_for)
    rebased = rebase(day, base)
    if not all(SMALLEST_RATE <= rate <= LARGEST_RATE for rate in rebased.rates.values()):
        raise BadResponse(f"the answer is in {day.base} and has no rate to make it {base}", asked_for)
    return rebased
