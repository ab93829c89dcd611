"""The name under which a request is counted: its operation, or the part of the site that its path is in."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from fx_pipeline.api.contract.routes import Routes
from fx_pipeline.api.endpoints.operation import Operation
from fx_pipeline.api.errors import ApiError

OTHER = "other"
LONGEST_REMEMBERED_PATH = 200

_PAGES = {
    "/": "home_page",
    "/coverage": "coverage_page",
    "/public": "public_page",
    "/fx/rates_by_date": "day_page",
    "/-/login": "login",
    "/-/logout": "login",
    "/-/mcp": "mcp",
}
_FOLDERS = {"/currency/": "currency_page", "/static/": "static", "/fx": "tables"}


class OperationNames:
    """The names of requests. There are few, whatever clients send."""

    def __init__(self, operations: Iterable[Operation[Any]], routes: Routes) -> None:
        self._by_path = {**_PAGES, **{one.path.rstrip("/"): one.name for one in operations}}
        self._paths = {one.name: one.path for one in operations}
        self._routes = routes
        self._remembered = lru_cache(maxsize=1_000)(self._find)

    def of(self, path: str) -> str:
        """Return the name for a path without a slash at its end."""
        return self._remembered(path) if len(path) <= LONGEST_REMEMBERED_PATH else self._find(path)

    def route_of(self, name: str) -> str | None:
        """Return the path of an operation, with its parameters, such as `/rates/{date}/`; None for a page."""
        return self._paths.get(name)

    def _find(self, path: str) -> str:
        if name := self._by_path.get(path):
            return name
        if path.startswith("/rates/"):
            try:
                return self._routes.find(path.removeprefix("/rates/"))[0].name
            except ApiError:
                return OTHER
        return next((name for start, name in _FOLDERS.items() if path.startswith(start)), OTHER)
