"""Finds the operation of a path."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from fx_pipeline.api.endpoints.operation import Operation
from fx_pipeline.api.endpoints.parameters import quoted
from fx_pipeline.api.errors import INVALID_API_FUNCTION, ApiError

_PARAMETER = re.compile(r"\{(\w+)\}")
_WITH_FORMAT = re.compile(r"(.*(?:[^.]|\.\.))\.[A-Za-z]+")
"""A path with an extension. A range without an end ends in two dots."""


class Routes:
    """The paths under ``/rates/``, made from the paths of the operations.

    If several match, one without parameters wins; otherwise, the one with the most letters outside its
    parameters.
    """

    def __init__(self, operations: Iterable[Operation[Any]]) -> None:
        routed = (one for one in operations if one.is_about_rates and not one.has_own_view)
        closest_first = sorted(routed, key=lambda one: ("{" in one.path, -len(_PARAMETER.sub("", one.path))))
        self._routes = [(_pattern(one.path), one) for one in closest_first]

    def find(self, path: str) -> tuple[Operation[Any], dict[str, str]]:
        """Return the operation of a path under ``/rates/``, and the values of the parameters in the path.

        Raise ApiError if there is none.
        """
        if found := self._match(path):
            return found
        others = " and ".join(self._other_formats(path))
        hint = f"There is {others}." if others else "See /rates/ for the list."
        raise ApiError(INVALID_API_FUNCTION, f"There is no endpoint /rates/{_shown(path)}. {hint}")

    def _other_formats(self, path: str) -> Iterator[str]:
        if with_format := _WITH_FORMAT.fullmatch(path):
            for ending in ("", ".json", ".csv"):
                if found := self._match(with_format[1] + ending):
                    format_ = "CSV" if found[0].response == "Csv" else "JSON"
                    yield f"/rates/{_shown(with_format[1] + ending)} ({format_})"

    def _match(self, path: str) -> tuple[Operation[Any], dict[str, str]] | None:
        for pattern, operation in self._routes:
            if match := pattern.fullmatch(path):
                return operation, match.groupdict()
        return None


def _shown(path: str) -> str:
    return quoted(path)[1:-1]


def _pattern(path: str) -> re.Pattern[str]:
    """Return the pattern of a path below ``/rates/``. Its parameters are dates, or attempts at dates."""
    template = path.removeprefix("/rates/").removesuffix("/")
    parts = _PARAMETER.split(template)
    literals, names = map(re.escape, parts[::2]), parts[1::2]
    groups = (f"(?P<{name}>[0-9.-]*?)" for name in names)
    return re.compile("".join(part for pair in zip(literals, [*groups, ""], strict=True) for part in pair))
