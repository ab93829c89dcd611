"""A writer whose commits are numbered: `python -m ... DATABASE FIRST`, until a signal.

Commit n stores a day and revises FIXED, so that all rates of both are n. It prints n and the time after each.
"""

import datetime as dt
import itertools
import string
import sys
import time
from pathlib import Path

from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.fixer_days import day_of

FIXED = dt.date(2000, 1, 1)
CODES = tuple("".join(letters) for letters in itertools.product("X", string.ascii_uppercase, "ABCDEF"))
PAUSE = 0.1


def main(database: str, first: str) -> None:
    with RateStore(Path(database)) as store:
        for number in itertools.count(int(first)):
            rates = dict.fromkeys(CODES, float(number))
            days = (FIXED, FIXED + dt.timedelta(days=number))
            store.record([day_of(day, rates) for day in days])
            print(number, time.time(), flush=True)
            time.sleep(PAUSE)


if __name__ == "__main__":
    main(*sys.argv[1:])
