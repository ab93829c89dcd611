"""What can go wrong with an answer of the sandbox: each kind of fault, its rate, and how it is drawn.

Whether an answer is faulty, and how, follows from the seed, the question and how often that question has been
asked, and from nothing else: the order in which concurrent questions arrive changes nothing, and a second try
may succeed.
"""

import datetime as dt
import hashlib
import random
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from fx_pipeline.fixer.sandbox.protocol import written
from fx_pipeline.rates import FIRST_DATE, MAJORS, parse_date

KINDS: Mapping[str, str] = {
    "rate-limit": "HTTP 429, half of them with Retry-After",
    "server-error": "HTTP 500, 502 or 503",
    "timeout": "no answer until long after a client has given up",
    "reset": "the connection is reset without an answer",
    "cut": "the body ends in the middle",
    "html": "a page of HTML with status 200, 400 or 502",
    "plain": "a good answer, pretty-printed, as text/plain: harmless",
    "wrong-date": "the answer for another day, or for a series shifted by days",
    "wrong-base": "the answer in another base",
    "mislabelled-base": "rates in another base under the name of the one asked for",
    "empty": "status 200 and an empty body, or no rates in it",
    "fixer-error": "an error of Fixer's own making (code 500) inside HTTP 200",
    "bad-value": "null, 0, a negative number, NaN or a string instead of a rate",
    "off-by-100": "a rate a hundred times too large or too small",
    "missing": "a major currency left out",
    "gap": "a day of a series left out, or sent as []",
    "revision": "other values from the second reading of a date on",
}
"""Each kind and what a client sees of it."""

TRANSIENT = (
    "rate-limit",
    "server-error",
    "timeout",
    "reset",
    "cut",
    "html",
    "plain",
    "empty",
    "wrong-date",
    "fixer-error",
)
"""Over these the rate of `transient` is spread evenly: a good client gets over them by asking again."""

TRANSPORT = frozenset(
    {"rate-limit", "server-error", "timeout", "reset", "cut", "html", "plain", "fixer-error"}
)
"""Kinds that can befall any answer, also a refusal; the others need rates to spoil."""

SPOILT = frozenset({"bad-value", "off-by-100", "missing", "gap"})
"""Kinds that change values in an answer that is otherwise right."""

_MAJORS = {*MAJORS} - {"EUR", "CNY"}
"""The majors that the sandbox has had on every day since 1999, besides its base."""
_REVISED_SHARE = 0.5
_REVISED_BY = 0.03


def parse_faults(items: Iterable[str]) -> dict[str, float]:
    """Read `KIND=RATE` items, as given to `--fault`, into rates from 0 to 1.

    `transient` is kept as it is. Raises ValueError, naming the item and the known kinds, for an unknown kind,
    one given twice, a rate that is not a number from 0 to 1, or rates that add up to more than 1.
    """
    rates: dict[str, float] = {}
    for item in items:
        kind, _, text = item.partition("=")
        try:
            rate = float(text)
        except ValueError:
            raise ValueError(f"{item!r} is not KIND=RATE with a rate from 0 to 1, as in cut=0.1.") from None
        if kind in rates:
            raise ValueError(f"The fault {kind!r} is given twice.")
        rates[kind] = rate
    spread(rates)
    return rates


def spread(faults: Mapping[str, float]) -> dict[str, float]:
    """The rate of each kind in the order of KINDS, with `transient` shared out among its ten.

    Raises ValueError for an unknown kind, a rate outside 0 to 1, or a sum over 1 (`revision` apart: it is
    drawn for itself).
    """
    for kind, rate in faults.items():
        if kind not in KINDS and kind != "transient":
            raise ValueError(f"There is no fault {kind!r}. Known: transient, {', '.join(KINDS)}.")
        if not 0 <= rate <= 1:
            raise ValueError(f"The rate of the fault {kind!r} must be from 0 to 1, not {rate}.")
    share = faults.get("transient", 0.0) / len(TRANSIENT)
    rates = {kind: faults.get(kind, 0.0) + (share if kind in TRANSIENT else 0.0) for kind in KINDS}
    together = sum(rate for kind, rate in rates.items() if kind != "revision")
    if together > 1 + 1e-9:
        raise ValueError(f"The rates of the faults add up to {together:g}; an answer has one fault at most.")
    return rates


@dataclass(frozen=True)
class Fault:
    """One fault that was drawn for an answer; `dice` decides its details, the same each time."""

    kind: str
    dice: random.Random


@dataclass(frozen=True)
class Faults:
    """The faults of a sandbox: rates as `spread` takes them, and the seed."""

    rates: Mapping[str, float]
    seed: int = 0

    def draw(self, question: str, nth: int) -> Fault | None:
        """The fault of the answer to `question` when it is asked for the `nth` time, or None."""
        dice = self._dice(question, str(nth))
        point = dice.random()
        for kind, rate in spread(self.rates).items():
            if kind == "revision":
                continue
            if point < rate:
                return Fault(kind, dice)
            point -= rate
        return None

    def revised(self, date: dt.date, rates: Mapping[str, float]) -> Mapping[str, float]:
        """`rates` as they stand after the revision of `date`, if that date is among the revised ones.

        The dollar and about half of the others move, by up to 3 %; they stay so.
        """
        dice = self._dice("revision", date.isoformat())
        if dice.random() >= self.rates.get("revision", 0.0):
            return rates
        return {
            code: rate * (1 + dice.uniform(-_REVISED_BY, _REVISED_BY))
            if code != "EUR" and (dice.random() < _REVISED_SHARE or code == "USD")
            else rate
            for code, rate in rates.items()
        }

    def _dice(self, *parts: str) -> random.Random:
        digest = hashlib.blake2b("\n".join((str(self.seed), *parts)).encode(), digest_size=8).digest()
        return random.Random(int.from_bytes(digest, "big"))  # noqa: S311  # a seeded draw is what is wanted


def misread(
    fault: Fault, endpoint: str, parameters: Mapping[str, str], latest: dt.date
) -> dict[str, str] | None:
    """The question that a wrong date or base answers instead; None where that is not possible.

    `latest` is the newest day that may be asked for.
    """
    if fault.kind == "wrong-base" and endpoint in ("latest", "historical", "timeseries"):
        base = parameters.get("base", "").upper() or "EUR"
        return {**parameters, "base": "GBP" if base == "USD" else "USD"}
    if fault.kind == "mislabelled-base" and endpoint in ("latest", "historical", "timeseries"):
        base = parameters.get("base", "").upper() or "EUR"
        return {**parameters, "base": "USD" if base == "EUR" else "EUR"}
    if fault.kind == "wrong-date" and endpoint in ("historical", "timeseries"):
        names = ("date",) if endpoint == "historical" else ("start_date", "end_date")
        dates = [parse_date(parameters[name]) for name in names]
        days = dt.timedelta(fault.dice.randint(1, 3))
        if dates[0] - FIRST_DATE < days:
            days = -days
        shifted = [min(date - days, latest) for date in dates]
        if shifted == dates:
            return None
        return {**parameters, **{name: date.isoformat() for name, date in zip(names, shifted, strict=True)}}
    return None


def spoil(fault: Fault, document: dict[str, Any]) -> dict[str, Any] | None:
    """`document` with one value spoilt as `bad-value`, `off-by-100` or `missing` say; None if it has none.

    In a series one day is spoilt; `gap` takes one away.
    """
    if "rates" not in document or document.get("fluctuation"):
        return None
    document = deepcopy(document)
    rates = document["rates"]
    if fault.kind == "gap":
        return _with_gap(fault, document) if document.get("timeseries") and len(rates) > 1 else None
    if document.get("timeseries"):
        rates = rates[fault.dice.choice(list(rates))]
    codes = [code for code in rates if code != document["base"]]
    if fault.kind == "missing":
        codes = [code for code in codes if code in _MAJORS] or codes
    if not codes:
        return None
    code = fault.dice.choice(codes)
    if fault.kind == "missing":
        del rates[code]
    elif fault.kind == "off-by-100":
        rates[code] = written(rates[code] * (100 if fault.dice.random() < 0.5 else 0.01))
    else:
        rates[code] = fault.dice.choice([None, 0, -rates[code], float("nan"), str(rates[code])])
    return document


def _with_gap(fault: Fault, document: dict[str, Any]) -> dict[str, Any]:
    date = fault.dice.choice(list(document["rates"]))
    if fault.dice.random() < 0.5:
        del document["rates"][date]
    else:
        document["rates"][date] = []
    return document
