"""The faults of the sandbox: each kind, its rate, and how it is drawn.

Faults depend only on the seed, the request and the number of its repetitions. So the order of concurrent
requests changes nothing, and a retry may succeed.
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
    "timeout": "no response until long after a client has given up",
    "reset": "the connection is reset without a response",
    "cut": "the body is cut off in the middle",
    "html": "an HTML page with status 200, 400 or 502",
    "plain": "a correct response, pretty-printed, as text/plain: harmless",
    "wrong-date": "the response for another day, or for a series shifted by days",
    "wrong-base": "the response in another base",
    "mislabelled-base": "rates in another base, labelled with the requested base",
    "old-timestamp": "the right rates, with the timestamp of the day before",
    "empty": "status 200 and an empty body, or no rates in it",
    "fixer-error": "an internal error of Fixer (code 500) inside HTTP 200",
    "bad-value": "null, 0, a negative number, NaN or a string instead of a rate",
    "off-by-100": "a rate a hundred times too large or too small",
    "missing": "a major currency left out",
    "gap": "a day of a series left out, or sent as []",
    "revision": "different values from the second request for a date onwards",
}
"""Each kind, and what a client sees."""

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
"""The rate of `transient` is spread evenly over these. A retry gets past them."""

TRANSPORT = frozenset(
    {"rate-limit", "server-error", "timeout", "reset", "cut", "html", "plain", "fixer-error"}
)
"""Kinds that any response can have, even a refusal. The others need rates to spoil."""

SPOILT = frozenset({"bad-value", "off-by-100", "missing", "gap", "old-timestamp"})
"""Kinds that change values in an otherwise correct response."""

_MAJORS = {*MAJORS} - {"EUR", "CNY"}
"""The majors that the sandbox has had on every day since 1999, besides its base."""
_REVISED_SHARE = 0.5
_REVISED_BY = 0.03


def parse_faults(items: Iterable[str]) -> dict[str, float]:
    """Read `KIND=RATE` items, as given to `--fault`, into rates from 0 to 1.

    `transient` stays one item. Raise ValueError for an unknown kind, a repeated kind, a rate that is not from
    0 to 1, or a sum above 1.
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
    """Return the rate of each kind in the order of KINDS, with `transient` spread over its ten.

    Raise ValueError for an unknown kind, a rate outside 0 to 1, or a sum above 1 (without `revision`, which
    is drawn separately).
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
        raise ValueError(
            f"The rates of the faults add up to {together:g}, but a response has one fault at most."
        )
    return rates


@dataclass(frozen=True)
class Fault:
    """One fault drawn for a response. `dice` decides its details, the same each time."""

    kind: str
    dice: random.Random


@dataclass(frozen=True)
class Faults:
    """The faults of a sandbox: rates as in `spread`, and the seed."""

    rates: Mapping[str, float]
    seed: int = 0

    def draw(self, question: str, nth: int) -> Fault | None:
        """Return the fault of the `nth` response to `question`, or None."""
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
        """Return `rates` after the revision of `date`, if that date is revised.

        The dollar and about half of the others move once, by up to 3 %.
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
        return random.Random(int.from_bytes(digest, "big"))  # noqa: S311  # deliberately seeded


def misread(
    fault: Fault, endpoint: str, parameters: Mapping[str, str], latest: dt.date
) -> dict[str, str] | None:
    """Return the request that a wrong date or base responds to instead; None if there is none.

    `latest` is the newest day that may be requested.
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
    """Return `document` with one value spoilt by `bad-value`, `off-by-100` or `missing`; None if it has none.

    `old-timestamp` spoils the timestamp, which a series does not have.

    In a series, one day is spoilt; `gap` removes one.
    """
    if "rates" not in document or document.get("fluctuation"):
        return None
    document = deepcopy(document)
    if fault.kind == "old-timestamp":
        return {**document, "timestamp": document["timestamp"] - 86_400} if "timestamp" in document else None
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
