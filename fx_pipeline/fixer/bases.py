"""Checks that rates are in the base that their response names.

A provider can echo the requested base and send rates in another.
"""

from collections.abc import Collection, Sequence

from fx_pipeline.fixer.errors import MislabelledBase
from fx_pipeline.rates import DayRates

PROVIDER_BASE = "EUR"
"""The base in every plan of Fixer, and the base of a provider that ignores `base`."""

_USD_PEGS = {
    "AED": 3.6725,
    "BHD": 0.376,
    "BMD": 1.0,
    "BSD": 1.0,
    "HKD": 7.8,
    "OMR": 0.3845,
    "PAB": 1.0,
    "QAR": 3.64,
    "SAR": 3.75,
}
"""Currencies pegged to the dollar. HKD moves within 0.7 % of its peg."""


def check_base(days: Sequence[DayRates], symbols: Collection[str], requested: str) -> None:
    """Check that the days of one response are in the base that they name.

    - The base costs exactly 1 on each day that has a rate for it. Fixer sends the number 1.
    - At least one day has a rate for the base if it was requested: by `symbols`, or with all currencies if
      that is empty.
    - If the base is not the euro, the euro must not cost exactly 1 on every day: then the rates are in euro.
      A day is exempt if the euro really was worth one unit of the base, as on 2022-08-31: the base is
      sent as 1, and a currency pegged to the dollar has its usual rate.

    Any other currency may cost exactly 1. Some are pegged to the base at 1 (BMD, BSD, PAB and CUC to USD, BTN
    to INR), and others reach it by chance.

    Raise MislabelledBase.
    """
    if not days:
        return
    base = days[0].base
    own = {day.rates[base] for day in days if base in day.rates}
    if own - {1.0}:
        raise MislabelledBase(f"the response's rates are not in {base}, the base it names", requested)
    if not own and (not symbols or base in symbols):
        raise MislabelledBase(f"the response has no rate for {base}, the base it names", requested)
    if base != PROVIDER_BASE and all(_is_in_euro(day) for day in days):
        raise MislabelledBase(
            f"the response's rates are in {PROVIDER_BASE}, not in {base}, the base it names", requested
        )


def _is_in_euro(day: DayRates) -> bool:
    proven = day.base == "USD" and day.base in day.rates and _has_pegged_rate(day)
    return day.rates.get(PROVIDER_BASE) == 1.0 and not proven


def _has_pegged_rate(day: DayRates) -> bool:
    return any(abs(day.rates.get(code, 0) / rate - 1) < 0.01 for code, rate in _USD_PEGS.items())
