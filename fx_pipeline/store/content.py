"""How many currencies changed from each stored day to the next."""

import datetime as dt
from collections.abc import Iterable

from fx_pipeline.content_age import ContentAge, newest_content
from fx_pipeline.sqlite import sqlite3

STEPS = """
    WITH ordered AS (SELECT date, base, lag(date) OVER (ORDER BY date) AS before FROM days)
    SELECT date, before, (
      SELECT iif(count(*) = 0, 1, sum(now.rate <> old.rate))
      FROM rates AS now JOIN rates AS old ON old.date = before AND old.currency = now.currency
      WHERE now.date = ordered.date AND now.currency <> base
    ) AS changed
    FROM ordered WHERE before IS NOT NULL AND date >= :start_date ORDER BY date
"""
"""The steps of `content_age`. Days without a common currency count as changed.

The API runs the same SQL, as the canned query `content_changes`. A test compares them.
"""


def stored_content_age(connection: sqlite3.Connection) -> ContentAge | None:
    """Judge how long the newest rates have been unchanged; None if fewer than two days are stored."""

    def read(since: str) -> Iterable[tuple[str, str, int]]:
        return connection.execute(STEPS, {"start_date": since})

    ((newest,),) = connection.execute("SELECT max(date) FROM days")
    return newest_content(read, dt.date.fromisoformat(newest) if newest else None)
