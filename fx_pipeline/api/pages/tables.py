"""The parts that several pages share: the table of rates, the table of revisions, the common context."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fx_pipeline.api.pages import figures
from fx_pipeline.api.pages.page import PageRequest, Span


class RateRow(NamedTuple):
    """A currency in a table of rates.

    The change is that of the base, in percent. The trend has one value for each day, None if it is missing.
    """

    code: str
    name: str
    rate: float
    change: float | None
    trend: Sequence[float | None]


def page_context(request: PageRequest, span: Span, base: str) -> dict[str, Any]:
    """Return the part of the context that all pages about rates have."""
    return {
        "newest": span.newest,
        "oldest": span.oldest,
        "today": request.today.isoformat(),
        "first_day": min(request.start.isoformat(), span.oldest),
        "last_day": request.yesterday.isoformat(),
        "base": base,
        "base_query": f"?base={base}" if span.base_parameter(base) else "",
    }


def rate_rows(
    names: Mapping[str, str],
    base: str,
    rates: Mapping[str, float],
    before: Mapping[str, float],
    days: Sequence[Mapping[str, float]] = (),
) -> list[RateRow]:
    """Return the rates of a day, with their change from those in `before` and their trend over `days`."""
    return [
        RateRow(
            code,
            names.get(code, code),
            rate,
            figures.change_percent(before[code], rate) if code in before else None,
            [day.get(code) for day in days],
        )
        for code, rate in rates.items()
        if code != base
    ]


def revision_rows(rows: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Return the rows of a query for revisions as dictionaries, with the change in percent."""
    names = ("date", "currency", "was", "became", "known_from", "replaced_at")
    return [
        {**dict(zip(names, row, strict=True)), "change": figures.change_percent(row[2], row[3])}
        for row in rows
    ]


def currency_names(names: Mapping[str, str], codes: Iterable[str]) -> dict[str, str]:
    """Return the names of `codes`, in alphabetical order of the codes."""
    return {code: names.get(code, code) for code in sorted(codes)}
