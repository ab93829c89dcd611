"""Reads a stored fetch back from its row, with the response as it was received."""

import datetime as dt
import zlib
from collections.abc import Mapping
from typing import Any

from fx_pipeline.clock import parse_instant
from fx_pipeline.fetch import Fetch
from fx_pipeline.store.database import RESTORE, StoreError


def fetch_of_row(row: Mapping[str, Any]) -> Fetch:
    """Return the fetch in a row of `fetches`, without days and names.

    Raise StoreError if the row is damaged.
    """
    try:
        return _fetch(row)
    except (ValueError, zlib.error) as error:
        raise StoreError(f"The response of fetch {row['id']} is damaged ({error}). {RESTORE}") from error


def _fetch(row: Mapping[str, Any]) -> Fetch:
    start, end = (row[name] and dt.date.fromisoformat(row[name]) for name in ("start_date", "end_date"))
    return Fetch(
        endpoint=row["endpoint"],
        base=row["base"],
        symbols=tuple(row["symbols"].split(",")) if row["symbols"] else (),
        start_date=start,
        end_date=end,
        asked_at=parse_instant(row["asked_at"]),
        status=row["status"],
        body=zlib.decompress(row["body"]),
        calls=row["calls"],
        provider=row["provider"],
        fetch_id=row["id"],
    )
