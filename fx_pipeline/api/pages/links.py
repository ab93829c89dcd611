"""The URLs that pages link to: other pages and the API."""

from urllib.parse import urlencode


def day_path(date: str, base: str = "", as_of: str = "") -> str:
    """Return the link to the page of a day. An empty base means the stored base."""
    return f"/fx/rates_by_date?{_query(date=date, base=base, as_of=as_of)}"


def currency_path(code: str, **parameters: str) -> str:
    """Return the link to the page of a currency, with the parameters that are not empty."""
    query = _query(**parameters)
    return f"/currency/{code}/{'?' if query else ''}{query}"


def api_path(path: str, **parameters: str) -> str:
    """Return the link to a path under ``/rates/``, with the parameters that are not empty."""
    slash = "" if path.endswith(".csv") or path == "latest" else "/"
    query = _query(**parameters)
    return f"/rates/{path}{slash}{'?' if query else ''}{query}"


def _query(**parameters: str) -> str:
    return urlencode({name: value for name, value in parameters.items() if value}, safe=",:")
