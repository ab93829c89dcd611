"""Whether rates really are in the base that their answer names. A provider can echo the base it was asked for
over rates of its own."""

from collections.abc import Collection, Sequence

from fx_pipeline.fixer.errors import MislabelledBase
from fx_pipeline.rates import DayRates

PROVIDER_BASE = "EUR"
"""The base that every plan of Fixer's has, and in which a provider answers that ignores `base`."""

_FIXED_TO_USD = {
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
"""Currencies with a fixed rate to the dollar. Hong Kong's moves within 0.7 % of it."""


def check_base(days: Sequence[DayRates], symbols: Collection[str], asked_for: str) -> None:
    """Check that the rates of an answer, all of its days together, are in the base that they name.

    - One unit of the base costs exactly 1, on each day that has a rate of it: Fixer sends the number 1.
    - At least one day has it, where it was asked for: by name in `symbols`, or with all currencies if that is
      empty.
    - Where the base is not the euro, the euro must not cost exactly 1 on every day: those are rates in euro.
      This covers answers to questions without the base, and those that add it as 1 to rates of another. A day
      on which the euro truly was worth one unit of the base is believed where the base is sent as 1 and a
      currency fixed to the dollar stands at its rate, as on 2022-08-31.

    Any other currency may cost exactly 1: some are fixed at 1 to the base (BMD, BSD, PAB and CUC to USD, BTN
    to INR), and others come to it by chance.

    Raises MislabelledBase.
    """
    if not days:
        return
    base = days[0].base
    own = {day.rates[base] for day in days if base in day.rates}
    if own - {1.0}:
        raise MislabelledBase(f"the answer's rates are not in {base}, the base that it names", asked_for)
    if not own and (not symbols or base in symbols):
        raise MislabelledBase(f"the answer has no rate of {base}, the base that it names", asked_for)
    if base != PROVIDER_BASE and all(_is_in_euro(day) for day in days):
        raise MislabelledBase(
            f"the answer's rates are in {PROVIDER_BASE}, not in {base}, the base that it names", asked_for
        )


def _is_in_euro(day: DayRates) -> bool:
    proven = day.base == "USD" and day.base in day.rates and _has_a_fixed_rate(day)
    return day.rates.get(PROVIDER_BASE) == 1.0 and not proven


def _has_a_fixed_rate(day: DayRates) -> bool:
    return any(abs(day.rates.get(code, 0) / rate - 1) < 0.01 for code, rate in _FIXED_TO_USD.items())
