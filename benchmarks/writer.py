"""A backfill that only writes: it stores days of 170 currencies through RateStore for some seconds.

It writes at twice the pace of a backfill in `benchmarks.ingest`: 16 days in a transaction, 48 days a second.
"""

import datetime as dt
import sys
import time
from pathlib import Path

from benchmarks.databases import CODES, LAST
from fx_pipeline.fetch import Fetch
from fx_pipeline.rates import DayRates
from fx_pipeline.store.store import RateStore

BATCH = 16
BATCHES_PER_SECOND = 3


def main() -> None:
    """Store days, newest first, in the database named on the command line."""
    path, seconds = Path(sys.argv[1]), float(sys.argv[2])
    end = time.monotonic() + seconds
    date = LAST - dt.timedelta(days=400)
    with RateStore(path) as store:
        while (started := time.monotonic()) < end:
            days = []
            for _ in range(BATCH):
                date -= dt.timedelta(days=1)
                rates = {code: 1 + index / 7 for index, code in enumerate(CODES)}
                days.append(DayRates(date=date, base="EUR", timestamp=0, rates={**rates, "EUR": 1.0}))
            store.record([_answer(day) for day in days])
            time.sleep(max(0, started + 1 / BATCHES_PER_SECOND - time.monotonic()))


def _answer(day: DayRates) -> Fetch:
    return Fetch(
        endpoint="historical",
        base="EUR",
        symbols=(),
        start_date=day.date,
        end_date=day.date,
        asked_at=dt.datetime.now(dt.timezone.utc),
        status="ok",
        body=b"",
        days=(day,),
    )


if __name__ == "__main__":
    main()
