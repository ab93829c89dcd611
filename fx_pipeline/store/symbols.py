"""Currencies in FX_SYMBOLS that the provider does not know, or has no rate for."""

import datetime as dt
import json
from collections.abc import Collection, Iterable, Sequence

from sqlite_utils import Database

from fx_pipeline.clock import instant_text, parse_instant


def refuse(db: Database, codes: Iterable[str], at: dt.datetime) -> None:
    """Note that the provider does not know these codes. Keep the date if already noted."""
    db.conn.executemany(
        "INSERT OR IGNORE INTO refused_symbols (code, refused_at) VALUES (?, ?)",
        [(code, instant_text(at)) for code in codes],
    )


def accept(db: Database, codes: Collection[str]) -> None:
    """Note that the provider knows these codes."""
    db.execute(
        "DELETE FROM refused_symbols WHERE code IN (SELECT value FROM json_each(?))", [json.dumps([*codes])]
    )


def refused(db: Database) -> dict[str, dt.date]:
    """Return the codes that the provider does not know, each with the day (UTC) on which that was noted."""
    rows = db.execute("SELECT code, refused_at FROM refused_symbols ORDER BY code")
    return {code: parse_instant(at).date() for code, at in rows}


def missing(db: Database, codes: Sequence[str]) -> dict[str, str]:
    """Return the codes that are unknown to the provider or missing on the newest day, with the reason."""
    unknown = refused(db)
    (newest,) = db.execute("SELECT max(date) FROM days").fetchone()
    rows = db.execute(
        """
        SELECT asked.value, symbols.last_date FROM json_each(?) AS asked
        LEFT JOIN symbols ON symbols.code = asked.value ORDER BY asked.key
        """,
        [json.dumps(codes)],
    )
    found: dict[str, str] = {}
    for code, last in rows:
        until = f"; its last rate is for {last}" if last else "; no rate is stored"
        if code in unknown:
            found[code] = f"the provider does not know it (checked on {unknown[code]}){until}"
        elif newest is not None and last != newest:
            found[code] = f"no rate for {newest}, the newest day{until}"
    return found
