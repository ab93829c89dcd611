"""How fast the provider and the runs have been: measured from the responses in the table `fetches`."""

import datetime as dt

from fx_pipeline.sqlite import sqlite3

MEASURED, ENOUGH = 1000, 20
"""The newest responses that show the pace, and how many are needed."""

LONGEST_PAUSE = dt.timedelta(minutes=1)
"""A run waits no longer for a response. The next run of a backfill starts sooner."""


def seconds_per_response(connection: sqlite3.Connection, endpoint: str) -> float | None:
    """Return the seconds from one response of an endpoint to the next; None if too few are stored.

    Those of the newest MEASURED responses count. After more than LONGEST_PAUSE, nothing was fetched.
    """
    query = """
        SELECT count(*), sum(seconds) FILTER (WHERE seconds BETWEEN 0 AND ?) FROM (
            SELECT (julianday(fetched_at) - julianday(lag(fetched_at, 1, asked_at) OVER (ORDER BY id)))
                * 86400 AS seconds
            FROM fetches WHERE endpoint = ? AND status = 'ok' ORDER BY id DESC LIMIT ?
        )
    """
    parameters = [LONGEST_PAUSE.total_seconds(), endpoint, MEASURED]
    ((count, seconds),) = connection.execute(query, parameters)
    return seconds / count if count >= ENOUGH and seconds else None
