"""How templates and Datasette's tables show values: the filters of templates, and the cells of tables."""

from collections.abc import Callable

from markupsafe import Markup

from fx_pipeline.api.pages import docs, figures
from fx_pipeline.api.pages.links import currency_path, day_path
from fx_pipeline.rates import as_number, counted, is_code, is_date

FILTERS: dict[str, Callable[..., object]] = {
    "rate": figures.shown_rate,
    "change": figures.shown_change,
    "direction": figures.direction,
    "date": figures.shown_date,
    "weekday": figures.weekday,
    "timestamp": figures.shown_timestamp,
    "instant": figures.shown_instant,
    "heading": figures.shown_column,
    "counted": counted,
    "number_columns": figures.number_columns,
    "line": figures.line,
    "prose": docs.prose,
    "as_sent": docs.as_sent,
}
"""The filters of templates, by name."""


def cell(value: object, column: str, prefix: str) -> str | None:
    """Return a cell of Datasette's tables; None to let Datasette show it.

    Days and currencies link to their pages. A reference to another row is only its number, because that row
    may not be public. `prefix` begins each link.
    """
    if isinstance(value, dict):
        return str(value["value"])
    if isinstance(value, float):
        return repr(as_number(value))
    if isinstance(value, int) and column == "timestamp":
        return Markup('<span title="{}">{}</span>').format(value, figures.shown_timestamp(value))
    if isinstance(value, str) and column in ("date", "nearest_before", "nearest_after") and is_date(value):
        return Markup('<a href="{}{}">{}</a>').format(prefix, day_path(value), value)
    if isinstance(value, str) and column in ("currency", "code") and is_code(value):
        return Markup('<a href="{}{}">{}</a>').format(prefix, currency_path(value), value)
    return None
