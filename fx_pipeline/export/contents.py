"""The contents of an export: which file holds which response of the API.

| file | response |
|---|---|
| `rates/2026-01-31` | `/rates/2026-01-31/` |
| `rates/latest`, `rates/symbols`, `rates/currencies` | `/rates/latest`, and so on |
| `history/USD/2025` | `/rates/2025-01-01..2025-12-31/?symbols=USD` |
| `history/USD/2026`, the year of the latest day | `/rates/2026-01-01../?symbols=USD` |

A history is split by year, because each new day changes the newest file of every currency: 1.5 MB for 170
currencies, and 50 MB if each had one file.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator

from fx_pipeline.api import replies
from fx_pipeline.api.endpoints import handlers
from fx_pipeline.api.endpoints.inputs import DayInput, NoInput, RangeInput
from fx_pipeline.api.endpoints.operation import Context
from fx_pipeline.api.endpoints.parameters import RateQuery
from fx_pipeline.api.errors import ApiError
from fx_pipeline.api.replies import as_json
from fx_pipeline.rates import contiguous

DAYS, HISTORY = "rates", "history"
"""The folders of an export."""

LISTS = ("latest", "symbols", "currencies")
"""The files in `rates` besides the days."""

INDEX, HEADERS = "index.json", "_headers"


class Contents:
    """The responses of the API in one state of the database, with the stored days."""

    def __init__(self, context: Context, days: Iterable[str]) -> None:
        self._context = context
        self.days = sorted(days)
        self.newest = self.days[-1]
        self.days_by_year = dict(Counter(day[:4] for day in self.days))
        """The number of stored days in each year."""
        self.lifespans = {
            code: (first, last) for code, _, first, last in context.queries.rows("currencies") if first
        }
        self.incomplete: set[str] = set()
        """The histories that name the first and the last day of their currency, which may change."""

    def of_days(self, days: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the file of each day."""
        for day in days:
            yield f"{DAYS}/{day}", self._day(dt.date.fromisoformat(day))

    def of_year(self, year: str, code: str) -> tuple[str, bytes | None]:
        """Return the file with a currency's history in a year; None in place of one without rates."""
        path = f"{HISTORY}/{code}/{year}"
        start = dt.date(int(year), 1, 1)
        # The API refuses an end in the future.
        end = None if year == self.newest[:4] else start.replace(month=12, day=31)
        wanted = RateQuery(symbols=(code,))
        parsed = RangeInput(start, end, wanted, None, False, self._context.now.date())
        try:
            reply = handlers.series(self._context, parsed)
        except ApiError:  # no rate in this year
            return path, None
        if replies.MISSING in reply.headers:
            self.incomplete.add(path)
        return path, reply.body

    def of_the_rest(self) -> Iterator[tuple[str, bytes]]:
        """Yield the files that any change of the database may change."""
        yield f"{DAYS}/latest", self._day(None)
        yield f"{DAYS}/symbols", handlers.symbols(self._context, NoInput()).body
        yield f"{DAYS}/currencies", handlers.currencies(self._context, NoInput()).body
        yield INDEX, self._index()
        yield HEADERS, self._headers()

    def years_of(self, code: str) -> set[str]:
        """Return the years in which a currency may have rates."""
        first, last = (int(date[:4]) for date in self.lifespans[code])
        return {str(year) for year in range(first, last + 1)}

    def _day(self, date: dt.date | None) -> bytes:
        return handlers.day(self._context, DayInput(date, RateQuery(), None, False)).body

    def _index(self) -> bytes:
        [[_, _, base]] = self._context.queries.rows("latest_date")
        names = handlers.names(self._context)
        ranges = contiguous(map(dt.date.fromisoformat, self.days))
        document = {
            "base": base,
            "latest_date": self.newest,
            "days": [[str(first), str(last)] for first, last in ranges],
            "currencies": {
                code: {"name": names[code], "first_date": first, "last_date": last}
                for code, (first, last) in self.lifespans.items()
            },
            "files": {
                **{name: f"/{DAYS}/{name}" for name in LISTS},
                "day": f"/{DAYS}/{{date}}",
                "history": f"/{HISTORY}/{{currency}}/{{year}}",
            },
        }
        return as_json(document)

    def _headers(self) -> bytes:
        """Return the headers of all files, in the form that Netlify and Cloudflare read.

        All rules that match are applied, and joined if they set the same header. Cloudflare reads 100 rules.
        """
        rules = ["/*\n  Access-Control-Allow-Origin: *"]
        for folder in (DAYS, HISTORY):
            rules.append(f"/{folder}/*\n  Content-Type: {replies.JSON}")
        for year in self.days_by_year:
            path, control = f"/{DAYS}/{year}-*", self._context.cache_control(f"{year}-12-31", None)
            rules.append(f"{path}\n  Cache-Control: {control}")
        for path in (f"/{INDEX}", *(f"/{DAYS}/{name}" for name in LISTS)):
            rules.append(f"{path}\n  Cache-Control: {replies.recent()}")
        rules.append(f"/{HISTORY}/*\n  Cache-Control: {replies.recent()}")
        return ("\n".join(rules) + "\n").encode()
