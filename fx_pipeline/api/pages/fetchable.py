"""Which days can be fetched, and why others cannot."""

import datetime as dt

from fx_pipeline.api.pages.figures import shown_date


def why_not_fetchable(date: dt.date, start: dt.date, today: dt.date) -> str:
    """Return why a day cannot be fetched; an empty text if it can. `start` is FX_START_DATE."""
    if date < start:
        return f"Only days from {shown_date(str(start))} on are fetched (FX_START_DATE)."
    if date >= today:
        next_day = shown_date(str(date + dt.timedelta(days=1)))
        return f"This day is not over yet. It can be fetched from 00:00 UTC on {next_day}."
    return ""
